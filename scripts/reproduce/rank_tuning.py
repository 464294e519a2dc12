"""Rank-Tuning (Maison et al., arXiv 2310.12688) on recurrent networks: bytes against accuracy.

A GRU network learns Fashion-MNIST row by row, and the smartwatch recordings averaged to 10 Hz; plainly, with the
growing nuclear norm, with hard low-rank approximation every other epoch, and with both. Then its matrices are factored:
at uniform ranks, at ranks by an error threshold, and at ranks by Rank-Tuning on validation data. Nothing is trained
afterwards, but of two more networks: the plain one factored at the ranks of the hard approximation and trained once
more ("retrained"), and beside it the plain one trained once more as it is ("trained on"). Losses are relative to the
plainly trained, intact network; bytes are those of the arrays of weights (32-bit floats on both sides), biases
included.

A run over takes about half an hour on two cores; interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.files import write_bytes, write_model
from keras_s4.testing.experiment import Experiment, Figure, Measurement
from keras_s4.testing.processes import run_apart

UNITS, EPOCHS, STEPS_PER_EPOCH = 256, 10, {"rows": 100, "smartwatch": 40}
BATCH_SIZE = {"rows": 100, "smartwatch": 32}
LEARNING_RATE = 2e-3
ADAPTATIONS = ("none", "hard low rank", "retrained", "trained on", "nuclear norm", "both")
# Second trainings, of the plain network.
AGAIN = ("retrained", "trained on")
# Of the nuclear norm, in the first and in the last epoch.
PENALTIES = (1e-5, 2e-3)
# Hard approximation: ranks at which the weights take a fourteenth of their bytes, and epochs from one to the next.
HARD_RANKS = {
    "rows": {"gru/kernel": 5, "gru/recurrent_kernel": 7},
    "smartwatch": {"gru/kernel": 4, "gru/recurrent_kernel": 7},
}
HARD_EVERY = 2
FRACTIONS = (0.25, 0.0625, 0.04, 0.03, 0.02)
THRESHOLDS = (0.15, 0.2, 0.3, 0.4, 0.6)
LOSSES = (0.01, 0.014, 0.03, 0.06)
# Validation and test images of the rows; steps from one smartwatch window to the next.
VALIDATED, TESTED, HOP = 3_000, 5_000, 50
ALLOWED_LOSS, WANTED_COMPRESSION = 0.014, 14.0


def data_of(name: str, seed: int):
    """Training, validation and test arrays of a task."""
    from keras_s4.testing.sequence_tasks import TASKS

    task = TASKS[name]
    steps = EPOCHS * STEPS_PER_EPOCH[name]
    if name == "rows":
        x, y = task.batches(seed, steps * BATCH_SIZE[name] // task.batch_size)
        validation, test = task.evaluation("validation"), task.evaluation("test")
        return (x, y), tuple(part[:VALIDATED] for part in validation), tuple(part[:TESTED] for part in test)
    _, validation, test = task.recordings(seed)
    parts = task.batches(seed, steps), validation.windows(hop=HOP), test.windows(hop=HOP)
    # Five samples each: 10 Hz. A GRU has to take every step, and 100 of them are enough for arms.
    return tuple((x.reshape(len(x), -1, 5, x.shape[-1]).mean(axis=2), y) for x, y in parts)


def network(shape: tuple[int, int], classes: int, adaptation: str):
    """A GRU, its average over time, and a Dense layer; compiled."""
    import keras

    from keras_s4.regularizers import NuclearNorm

    def penalty():
        return NuclearNorm(PENALTIES[0]) if adaptation in ("nuclear norm", "both") else None

    gru = keras.layers.GRU(
        UNITS, return_sequences=True, kernel_regularizer=penalty(), recurrent_regularizer=penalty(), name="gru"
    )
    head = keras.layers.Dense(classes, activation="softmax", kernel_regularizer=penalty(), name="head")
    model = keras.Sequential([keras.Input(shape), gru, keras.layers.GlobalAveragePooling1D(), head])
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def train_or_load(name: str, adaptation: str, seed: int, cache: Path):
    """The network after training with an adaptation, from the cache where it is there."""
    import keras

    from keras_s4 import reduce
    from keras_s4.compression.callbacks import GrowingWeight, HardLowRank

    path = cache / f"{name}-{adaptation.replace(' ', '-')}-{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path)
    (x, y), _, _ = data_of(name, seed + 1000 if adaptation in AGAIN else seed)
    keras.utils.set_random_seed(seed)
    if adaptation == "retrained":
        model = reduce(train_or_load(name, "none", seed, cache), HARD_RANKS[name])
    else:
        model = network(x.shape[1:], int(y.max()) + 1, adaptation)
    if adaptation == "trained on":
        model.set_weights(train_or_load(name, "none", seed, cache).get_weights())
    falling = keras.callbacks.LearningRateScheduler(
        lambda epoch: LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
    )
    callbacks = [falling]
    if adaptation in ("nuclear norm", "both"):
        callbacks.append(GrowingWeight(*PENALTIES, epochs=EPOCHS, schedule="geometric"))
    if adaptation in ("hard low rank", "both"):
        callbacks.append(HardLowRank(HARD_RANKS[name], every=HARD_EVERY))
    size = BATCH_SIZE[name]
    # An epoch is a part of the data here, the next part each time: adaptations act between epochs.
    batches = ((x[start : start + size], y[start : start + size]) for start in range(0, len(x), size))
    model.fit(batches, steps_per_epoch=STEPS_PER_EPOCH[name], epochs=EPOCHS, verbose=0, callbacks=callbacks)
    write_model(path, model)
    return model


def weight_bytes(model) -> int:
    """Bytes of a model's weights as arrays."""
    return sum(weight.nbytes for weight in model.get_weights())


def run_one(name: str, adaptation: str, seed: int, cache: Path) -> dict:
    """All ways to choose ranks for one trained network; what was finished before is not computed again."""
    from keras_s4 import reduce
    from keras_s4.compression import parts_of
    from keras_s4.compression.metrics import accuracy_on

    path = cache / f"{name}-{adaptation.replace(' ', '-')}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    _, validation, test = data_of(name, seed)
    validate, tested = accuracy_on(*validation, 500), accuracy_on(*test, 500)
    plain = train_or_load(name, "none", seed, cache)
    model = train_or_load(name, adaptation, seed, cache)
    goal = validate(plain)
    parts = parts_of(model)
    if adaptation in AGAIN:
        chosen = [("as trained", 0.0, {name: part.max_rank for name, part in parts.items()})]
    else:
        chosen = _chosen_ranks(model, parts, validate, goal, cache / f"{path.stem}-evaluations.json")
    found = []
    for way, setting, ranks in chosen:
        small = reduce(model, ranks)
        found.append(
            {
                "way": way,
                "setting": setting,
                "ranks": ranks,
                "bytes": weight_bytes(small),
                "validation": validate(small),
                "test": tested(small),
            }
        )
        print(f"{name}, {adaptation}, {seed}: {way} {setting} {found[-1]['test']:.4f}", flush=True)
    result = {
        "task": name,
        "adaptation": adaptation,
        "seed": seed,
        "bytes": weight_bytes(plain),
        "plain": {"validation": goal, "test": tested(plain)},
        "intact": {"validation": validate(model), "test": tested(model)},
        "reduced": found,
    }
    write_bytes(path, json.dumps(result).encode())
    return result


def _chosen_ranks(model, parts, validate, goal: float, evaluations: Path) -> list[tuple[str, float, dict]]:
    from keras_s4 import ranks
    from keras_s4.compression.rank_tuning import rank_tuning

    chosen = [("uniform", value, ranks.uniform(model, fraction=value, parts=parts)) for value in FRACTIONS]
    for value in THRESHOLDS:
        chosen.append(("error threshold", value, _within(parts, value)))
    for loss in LOSSES:
        try:
            tuning = rank_tuning(
                model, validate, target=(1 - loss) * goal, parts=parts, cache=evaluations, progress=False
            )
        except ValueError as error:  # the adaptation alone has lost more
            print(f"rank-tuning at {loss}: {error}", flush=True)
            continue
        chosen.append(("Rank-Tuning", loss, tuning.ranks))
    return chosen


def _within(parts, threshold: float) -> dict[str, int]:
    """For each part the lowest rank whose error is within the threshold, or all of it."""
    return {
        name: next(rank for rank in part.choices if rank == part.max_rank or part.error_bound(rank) <= threshold)
        for name, part in parts.items()
    }


def run_task(name: str, seeds: int, adaptations: list[str], cache: Path) -> list[dict]:
    """All networks of a task, on one core."""
    from keras_s4.testing.sequence_tasks import use_one_thread

    use_one_thread()
    return [run_one(name, adaptation, seed, cache) for seed in range(seeds) for adaptation in adaptations]


def compression(run: dict, reduced: dict) -> float:
    """How many times fewer bytes the weights take."""
    return run["bytes"] / reduced["bytes"]


def relative_loss(run: dict, reduced: dict, part: str) -> float:
    """What is lost of the accuracy of the plain network, as a fraction of it."""
    return 1.0 - reduced[part] / run["plain"][part]


def best_of(runs: list[dict], way: str) -> tuple[dict, dict]:
    """The smallest network of a way whose loss on validation data is within what is allowed."""
    candidates = [
        (run, reduced)
        for run in runs
        for reduced in run["reduced"]
        if reduced["way"] == way and relative_loss(run, reduced, "validation") <= ALLOWED_LOSS
    ]
    return max(candidates, key=lambda pair: compression(*pair)) if candidates else (None, None)


def tables(record: dict[str, Any]) -> list[Table]:
    """The largest compression within the allowed loss of validation accuracy, by task, adaptation and way."""
    runs = record["runs"]
    columns = ("task", "adaptation", "intact test", *(f"{way}: times, test loss" for way in _ways(runs)))
    title = (
        f"Smallest networks that lose at most {ALLOWED_LOSS:.1%} of validation accuracy, and their loss on test data"
    )
    table = Table(*columns, title=title)
    for name in dict.fromkeys(run["task"] for run in runs):
        for adaptation in ADAPTATIONS:
            group = [run for run in runs if run["task"] == name and run["adaptation"] == adaptation]
            if not group:
                continue
            cells = []
            for way in _ways(runs):
                run, reduced = best_of(group, way)
                cells.append(
                    "none"
                    if run is None
                    else f"{compression(run, reduced):.1f}, {relative_loss(run, reduced, 'test'):.2%}"
                )
            intact = np.mean([run["intact"]["test"] for run in group])
            table.add_row(name, adaptation, f"{intact:.2%}", *cells)
    return [table, _all_networks(runs)]


def _all_networks(runs: list[dict]) -> Table:
    """Every factored network: how many times fewer bytes, and what it loses."""
    title = "All factored networks, losses relative to the plain network"
    table = Table("task", "adaptation", "ranks by", "setting", "times", "validation loss", "test loss", title=title)
    for run in runs:
        for reduced in run["reduced"]:
            losses = (f"{relative_loss(run, reduced, part):.2%}" for part in ("validation", "test"))
            setting, times = f"{reduced['setting']:g}", f"{compression(run, reduced):.1f}"
            table.add_row(run["task"], run["adaptation"], reduced["way"], setting, times, *losses)
    return table


def _ways(runs: list[dict]) -> list[str]:
    return list(dict.fromkeys(reduced["way"] for run in runs for reduced in run["reduced"]))


def summarise(runs: list[dict]) -> list[Figure]:
    """Compression and test loss of what validation data chose."""
    figures = []
    for name in dict.fromkeys(run["task"] for run in runs):
        for way in _ways(runs):
            run, reduced = best_of([run for run in runs if run["task"] == name], way)
            if run is None:
                continue
            label = f"{name}, {run['adaptation']}, {way}"
            times, loss = compression(run, reduced), 100 * relative_loss(run, reduced, "test")
            figures.append(Figure(f"{label}: times fewer bytes", times, at_least=WANTED_COMPRESSION))
            figures.append(Figure(f"{label}: relative loss on test data", loss, at_most=100 * ALLOWED_LOSS, unit="%"))
        figures.extend(_against_trained_on(name, runs))
    return figures


def _against_trained_on(name: str, runs: list[dict]) -> list[Figure]:
    """What the retrained network loses against the plain one that was trained for as many steps."""
    mean = {
        again: np.mean([run["intact"]["test"] for run in found])
        for again in AGAIN
        if (found := [run for run in runs if (run["task"], run["adaptation"]) == (name, again)])
    }
    if len(mean) < len(AGAIN):
        return []
    loss = 100 * (1 - mean["retrained"] / mean["trained on"])
    return [Figure(f"{name}, retrained: relative loss on test data, of the plain network trained on", loss, unit="%")]


def draw(record: dict[str, Any], path: Path) -> None:
    """Relative loss against compression: a panel a task, a colour a way, a marker an adaptation."""
    import matplotlib.pyplot as plt

    from keras_s4 import plots

    runs = record["runs"]
    names = list(dict.fromkeys(run["task"] for run in runs))
    figure, axes = plt.subplots(1, len(names), figsize=(6 * len(names), 4.5), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for color, way in zip(("tab:gray", "tab:orange", "tab:blue", "tab:red"), _ways(runs), strict=False):
            for marker, adaptation in zip("osPvD*", ADAPTATIONS, strict=True):
                points = sorted(
                    (compression(run, reduced), 100 * relative_loss(run, reduced, "test"))
                    for run in runs
                    for reduced in run["reduced"]
                    if (run["task"], run["adaptation"], reduced["way"]) == (name, adaptation, way)
                )
                if points:
                    label = f"{way}, {adaptation}"
                    axis.plot(*zip(*points, strict=True), marker=marker, color=color, lw=0.7, ms=5, label=label)
        axis.axhline(100 * ALLOWED_LOSS, color="black", lw=0.5, ls=":")
        axis.axvline(WANTED_COMPRESSION, color="black", lw=0.5, ls=":")
        axis.set(xscale="log", ylim=(-7, 20), title=name, xlabel="times fewer bytes", ylabel="relative test loss, %")
    axes[0][-1].legend(fontsize=6)
    figure.tight_layout()
    write_bytes(path, plots.draw(figure, path.suffix.removeprefix(".") or "svg"))


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Comma-separated: rows, smartwatch.")] = "rows,smartwatch",
    seeds: Annotated[int, typer.Option(help="Networks per task and adaptation.", min=1)] = 1,
    adaptations: Annotated[str, typer.Option(help="Comma-separated; also: both.")] = ",".join(ADAPTATIONS[:-1]),
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Uniform ranks, error threshold and Rank-Tuning, with and without training adaptations."""
    work = {name: (name, seeds, adaptations.split(","), cache) for name in tasks.split(",")}
    runs = [run for results in run_apart(run_task, work, jobs).values() for run in results]
    settings = {"units": UNITS, "epochs": EPOCHS, "penalties": PENALTIES, "hard_ranks": HARD_RANKS}
    return Measurement(summarise(runs), {"settings": settings, "runs": runs})


EXPERIMENT = Experiment(
    title="Rank-Tuning of recurrent networks",
    result=Path(__file__).parents[1] / "results" / "rank_tuning.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy"),
    cache=Path("runs/rank_tuning"),
    tables=tables,
    draw=draw,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
