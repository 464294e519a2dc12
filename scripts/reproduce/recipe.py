"""The recipe of `keras_s4.compile_classifier` beside plain `compile("adam")` and beside its neighbours.

Three tasks at small sizes: the smartwatch recordings at 12.5 Hz (people of fold 0), 2,000 pictures of Fashion-MNIST row
by row, and keywords of a speech synthesiser, one utterance of each word by each voice. One model for all, an S4 block
of 16 channels with 8 modes, trained for as many gradient steps, in batches of 32. Each setting differs from the recipe
in one thing; some are trained four times as long as well. Settings are compared by the mean accuracy on validation data
over tasks and seeds; test data is looked at for the recipe and for plain Adam alone. No windows are varied, and nothing
is chosen by epoch.

A run over takes about half an hour of one idle core; interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json

CHANNELS, STATES, BLOCKS, BATCH = 16, 8, 1, 32
TASKS = ("smartwatch", "clothes", "keywords")
PLAIN, RECIPE, LONG = "compile('adam')", "recipe", "four times the steps"
# What each setting changes: arguments of compile_classifier, dropout, or how many times the gradient steps.
SETTINGS: dict[str, dict[str, float]] = {
    PLAIN: {},
    f"{PLAIN}, learning rate 1e-2": {},
    RECIPE: {},
    "a third of the learning rate": {"learning_rate": 3e-3},
    "three times the learning rate": {"learning_rate": 3e-2},
    "no weight decay": {"weight_decay": 0.0},
    "no smoothing": {"label_smoothing": 0.0},
    "poles at a quarter of the rate": {"pole_rate": 0.25},
    "no dropout": {"dropout": 0.0},
    "dropout 0.2": {"dropout": 0.2},
    "twice the steps": {"longer": 2},
    f"{PLAIN}, {LONG}": {"longer": 4},
    f"{PLAIN}, learning rate 1e-2, {LONG}": {"longer": 4},
    f"{RECIPE}, {LONG}": {"longer": 4},
    f"three times the learning rate, {LONG}": {"longer": 4, "learning_rate": 3e-2},
}
DROPOUT = 0.1


def read(task: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Windows and labels for training, validation and test."""
    from keras_s4 import datasets

    if task == "smartwatch":
        parts = [(x[:, ::4], y) for x, y in datasets.smartwatch(0)]
    elif task == "clothes":
        sizes = (2_000, 1_000, 2_000)
        parts = [(x[:n], y[:n]) for (x, y), n in zip(datasets.fashion_mnist("rows"), sizes, strict=True)]
    else:
        parts = datasets.keywords(utterances=1)
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def compiled(setting: str, shape: tuple[int, int], classes: int, steps: int):
    """A model as a setting compiles it."""
    import keras

    import keras_s4

    changes = dict(SETTINGS[setting])
    dropout, _ = changes.pop("dropout", DROPOUT), changes.pop("longer", 1)
    model = keras_s4.models.classifier(shape, classes, CHANNELS, STATES, BLOCKS, dropout=dropout)
    if setting.startswith(PLAIN):
        optimizer = keras.optimizers.Adam(1e-2) if "1e-2" in setting else "adam"
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    else:
        keras_s4.compile_classifier(model, steps, jit_compile=False, **changes)
    return model


def train(data: dict, setting: str, seeds: int, steps: int) -> list[dict[str, float]]:
    """Accuracies after trainings that begin with other weights and have other orders, as fractions.

    They share a compiled step: weights and the optimizer's variables are set back in between.
    """
    import keras

    x, y = data["train"]
    steps, classes = steps * int(SETTINGS[setting].get("longer", 1)), int(y.max()) + 1
    model = compiled(setting, x.shape[1:], classes, steps)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
    found = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        fresh = compiled(setting, x.shape[1:], classes, steps)
        values = [*(keras.ops.convert_to_numpy(variable) for variable in fresh.variables), *start]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        order = np.random.default_rng(seed)
        rows = np.concatenate([order.permutation(len(x)) for _ in range(-(-steps * BATCH // len(x)))])[: steps * BATCH]
        model.fit(x[rows], y[rows], batch_size=BATCH, shuffle=False, verbose=0)
        found.append({part: accuracy(model, *data[part]) for part in ("validation", "test")})
    return found


def accuracy(model, x: np.ndarray, y: np.ndarray) -> float:
    """Of a model on windows, as a fraction."""
    outputs = [np.asarray(model(x[first : first + 200])) for first in range(0, len(x), 200)]
    return float(np.mean(np.concatenate(outputs).argmax(axis=1) == y))


def compute(
    cache: Path,
    seeds: Annotated[int, typer.Option(help="Trainings of each setting on each task.", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="Gradient steps of a training.", min=1)] = 200,
) -> Measurement:
    """Accuracies of every setting on every task."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    data = {task: read_once(task, cache) for task in TASKS}
    runs = []
    for number, setting in enumerate(SETTINGS):
        for task in TASKS:
            path = cache / f"{task}-{number}-{seeds}-{steps}.json"
            found = cache_json(path, lambda s=setting, t=task: train(data[t], s, seeds, steps))
            runs += [{"task": task, "setting": setting, "seed": seed, **each} for seed, each in enumerate(found)]
    settings = {
        "seeds": seeds,
        "steps": steps,
        "channels": CHANNELS,
        "states": STATES,
        "blocks": BLOCKS,
        "batch": BATCH,
    }
    return Measurement(summarise(runs), {"settings": settings, "runs": runs})


def read_once(task: str, cache: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`read`, from the cache where it is there: keywords take minutes to speak."""
    path = cache / f"{task}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        parts = read(task)
        np.savez(
            path,
            **{f"{part}_{name}": value for part, pair in parts.items() for name, value in zip("xy", pair, strict=True)},
        )
    with np.load(path) as arrays:
        return {part: (arrays[f"{part}_x"], arrays[f"{part}_y"]) for part in ("train", "validation", "test")}


def mean(runs: list[dict], part: str, **wanted: str) -> float:
    """The mean accuracy of some runs, in percent."""
    return 100.0 * float(np.mean([run[part] for run in runs if wanted.items() <= run.items()]))


def summarise(runs: list[dict]) -> list[Figure]:
    """The recipe beside plain Adam, and beside the best of its neighbours."""
    means = {setting: mean(runs, "validation", setting=setting) for setting in SETTINGS}
    best = max((setting for setting in means if "longer" not in SETTINGS[setting]), key=means.get)
    best_long = max((setting for setting in means if LONG in setting), key=means.get)
    figures = [
        Figure("validation, recipe, mean of tasks", means[RECIPE], unit="%"),
        Figure("validation, compile('adam'), mean of tasks", means[PLAIN], unit="%"),
        Figure(f"validation, best setting of as many steps ({best}), mean of tasks", means[best], unit="%"),
        Figure(f"validation, {RECIPE}, {LONG}, mean of tasks", means[f"{RECIPE}, {LONG}"], unit="%"),
        Figure(f"validation, best setting of {LONG} ({best_long}), mean of tasks", means[best_long], unit="%"),
    ]
    for task in TASKS:
        gained = mean(runs, "test", setting=RECIPE, task=task) - mean(runs, "test", setting=PLAIN, task=task)
        figures.append(Figure(f"test, {task}: gained over compile('adam')", gained, at_least=0.0, unit=" points"))
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """Every setting on validation data, and the recipe and plain Adam on test data."""
    runs = record["runs"]
    table = Table("validation, percent", *TASKS, "mean", "lowest and highest seed", title="Settings")
    seeds = sorted({run["seed"] for run in runs})
    for setting in SETTINGS:
        by_seed = [mean(runs, "validation", setting=setting, seed=seed) for seed in seeds]
        cells = [mean(runs, "validation", setting=setting, task=task) for task in TASKS]
        cells.append(mean(runs, "validation", setting=setting))
        table.add_row(setting, *(f"{cell:.1f}" for cell in cells), f"{min(by_seed):.1f} to {max(by_seed):.1f}")
    test = Table("test, percent", *TASKS, title="The recipe and plain Adam")
    for setting in (PLAIN, RECIPE):
        test.add_row(setting, *(f"{mean(runs, 'test', setting=setting, task=task):.1f}" for task in TASKS))
    return [table, test]


EXPERIMENT = Experiment(
    title="The recipe beside plain Adam and its neighbours",
    result=Path(__file__).parents[1] / "results" / "recipe.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy"),
    cache=Path("runs/reproduce_recipe"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
