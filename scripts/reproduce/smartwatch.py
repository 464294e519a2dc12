"""Accuracy on the smartwatch recordings: trained, reduced, retrained and on TFLM, over subjects and in time.

Protocol: test subjects are those of scikit-learn's `GroupKFold(5)` over windows of 500 steps (hop 250). Augmentation
and learning rate were compared on validation subjects inside the training subjects, with 16 modes a channel, one seed,
several changes at a time; the numbers of epochs and the learning rate of the retraining were set without a comparison.
Each run trains on all eight subjects that are not tested, whichever of them `keras_s4.datasets.smartwatch` keeps for
validation, for a fixed number of epochs, without early stopping. One choice saw test data: the room above the states'
peaks (`STATE_PEAK`) was set after looking at the test subjects of folds 0 and 1, where it changed no label.
The temporal split trains on the first 60% of every recording and tests on windows of the last 40%.

A run over takes about an hour on two cores; it can be interrupted, and continues where it was. Trained models stay in
the cache: delete their `figures.json` to test them again.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress
from rich.table import Table

from keras_s4.files import write_model
from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json

CHANNELS, STATES, BLOCKS, FRACTION = 32, 32, 2, 0.25
TEMPORAL = "temporal"
STAGES = ("trained", "reduced", "retrained", "tflm")
PUBLISHED = {"these ten people, split by person": 87.3, "twenty people, split by person": 88.9, "split in time": 99.6}


def split(fold: int | str):
    """Training and test recordings of a fold, or of the temporal split."""
    from keras_s4 import datasets

    recordings = datasets.smartwatch_recordings()
    if fold != TEMPORAL:
        train, validation, test = datasets.smartwatch_split(fold)
        return recordings.of_subjects(np.union1d(train.subjects, validation.subjects)), test
    test = recordings.part(0.6, 1.0)
    long_enough = [index for index, signal in enumerate(test.signals) if len(signal) >= 500]
    return recordings.part(0.0, 0.6), test.take(np.array(long_enough))


def train_one(fold: int | str, seed: int, epochs: int, retrain_epochs: int, folder: Path) -> None:
    """Trains a model, reduces and retrains it; `trained.keras` and `retrained.keras` in the folder."""
    import keras

    from keras_s4 import models, ranks, reduce, training
    from keras_s4.augmentation import RandomWindows

    keras.utils.set_random_seed(seed)
    recordings, _ = split(fold)
    windows = RandomWindows(recordings, seed=seed)
    model = models.classifier((500, 6), 7, CHANNELS, STATES, BLOCKS, dropout=training.DROPOUT)
    training.fit_windows(model, windows, epochs)
    retrained = reduce(model, ranks.uniform(model, fraction=FRACTION))
    training.fit_windows(retrained, windows, retrain_epochs, training.RETRAIN_LEARNING_RATE)
    write_model(folder / "trained.keras", model)
    write_model(folder / "retrained.keras", retrained)


def test_one(fold: int | str, seed: int, folder: Path) -> dict:
    """The figures of a trained model on the test recordings, accuracies as fractions."""
    import keras

    from keras_s4 import ranks, reduce, tflite

    recordings, test = split(fold)
    x, y = test.windows()
    trained, retrained = (keras.saving.load_model(folder / f"{name}.keras") for name in ("trained", "retrained"))
    reduced = reduce(trained, ranks.uniform(trained, fraction=FRACTION))
    firmware = tflite.convert(retrained, recordings.windows()[0][::2])
    found = firmware.verify(retrained, x, y)
    before = {
        name: float(np.mean(model.predict(x, verbose=0).argmax(axis=1) == y))
        for name, model in {"trained": trained, "reduced": reduced}.items()
    }
    return {
        "fold": fold,
        "seed": seed,
        "subjects": sorted(int(subject) for subject in set(test.subjects)),
        "windows": len(y),
        **before,
        "retrained": found.accuracy["keras"],
        "tflm": found.accuracy["tflm"],
        "agreement": found.agreement["tflm"],
        "verification": found.figures(),
        "tflite_bytes": len(firmware.tflite),
        "arena_bytes": firmware.manifest["arena_bytes"],
    }


def run_one(job: tuple, cache: Path) -> dict:
    """The figures of one run; what was finished before is not computed again."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    fold, seed, *_ = job
    folder = cache / "-".join(str(part) for part in job)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "retrained.keras").exists():
        train_one(*job, folder)
    return cache_json(folder / "figures.json", lambda: test_one(fold, seed, folder))


def run_all(seeds: int, epochs: int, retrain_epochs: int, jobs: int, cache: Path) -> list[dict]:
    """Every fold and the temporal split with every seed, several at a time."""
    work = [
        (fold, seed, epochs, retrain_epochs) for seed, fold in itertools.product(range(seeds), [*range(5), TEMPORAL])
    ]
    context = multiprocessing.get_context("spawn")
    # A process a run: TensorFlow does not give back what it holds.
    with concurrent.futures.ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool, Progress() as progress:
        task = progress.add_task("runs", total=len(work))
        futures = [pool.submit(run_one, job, cache) for job in work]
        for _ in concurrent.futures.as_completed(futures):
            progress.advance(task)
        return [future.result() for future in futures]


def summarise(runs: list[dict]) -> list[Figure]:
    """The figures that the project promises, over subject-disjoint folds, in percent and percentage points."""
    folds = [run for run in runs if run["fold"] != TEMPORAL]
    temporal = [run for run in runs if run["fold"] == TEMPORAL]
    means = {stage: 100 * np.mean([run[stage] for run in folds]) for stage in STAGES}
    by_seed = [
        100 * np.mean([run["retrained"] for run in folds if run["seed"] == seed])
        for seed in {run["seed"] for run in folds}
    ]
    worst = min(folds, key=lambda run: run["retrained"])
    return [
        Figure("trained, mean of folds and seeds", means["trained"], at_least=88.9, unit="%"),
        Figure("reduced to a quarter of the states", means["reduced"], unit="%"),
        Figure("retrained", means["retrained"], at_least=88.9, unit="%"),
        Figure("retrained, deviation between seeds", float(np.std(by_seed)), unit=" points"),
        Figure(
            f"retrained, worst run (fold {worst['fold']}, seed {worst['seed']})", 100 * worst["retrained"], unit="%"
        ),
        Figure(
            "lost by retraining at a quarter of the states",
            means["trained"] - means["retrained"],
            at_most=1.0,
            unit=" points",
        ),
        Figure("int8 on TFLM", means["tflm"], unit="%"),
        Figure("lost on TFLM", means["retrained"] - means["tflm"], at_most=1.0, unit=" points"),
        Figure(
            "equal labels, TFLM and retrained",
            100 * np.average([r["agreement"] for r in folds], weights=[r["windows"] for r in folds]),
            at_least=98.0,
            unit="%",
        ),
        Figure(
            "runs in which emulator and TFLM differ anywhere",
            sum(not run["verification"]["bit_exact"] for run in runs),
            at_most=0,
        ),
        Figure(
            "streamed against whole-sequence Keras, largest difference of a probability",
            max(run["verification"]["streamed_deviation"] for run in runs),
            at_most=1e-4,
        ),
        Figure("temporal split, trained", 100 * np.mean([run["trained"] for run in temporal]), unit="%"),
        Figure("temporal split, retrained", 100 * np.mean([run["retrained"] for run in temporal]), unit="%"),
        Figure("temporal split, int8 on TFLM", 100 * np.mean([run["tflm"] for run in temporal]), unit="%"),
        Figure("largest .tflite", max(run["tflite_bytes"] for run in runs), at_most=32 * 1024, unit=" bytes"),
        Figure("largest arena on the host", max(run["arena_bytes"] for run in runs), at_most=24 * 1024, unit=" bytes"),
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """Accuracies of every run, means over people by seed, and published ones."""
    columns = [*STAGES, "equal labels"]
    table = Table("people or part of the test", "seed", "windows", *columns, title="Every run, in percent")
    for run in record["runs"]:
        test = "the last 40%" if run["fold"] == TEMPORAL else "people " + ", ".join(map(str, run["subjects"]))
        cells = (f"{100 * run[key]:.1f}" for key in (*STAGES, "agreement"))
        table.add_row(test, str(run["seed"]), str(run["windows"]), *cells)
    means = Table("seed", *STAGES, title="Means of the five folds by seed, in percent")
    folds = [run for run in record["runs"] if run["fold"] != TEMPORAL]
    for seed in sorted({run["seed"] for run in folds}):
        group = [run for run in folds if run["seed"] == seed]
        means.add_row(str(seed), *(f"{100 * np.mean([run[stage] for run in group]):.1f}" for stage in STAGES))
    published = Table("published, Burns et al. (arXiv 1802.01489)", "accuracy, percent")
    for what, accuracy in PUBLISHED.items():
        published.add_row(what, f"{accuracy:.1f}")
    return [table, means, published]


def compute(
    cache: Path,
    seeds: Annotated[int, typer.Option(help="Runs per fold.", min=1)] = 2,
    epochs: Annotated[int | None, typer.Option(help="Of the first training.")] = None,
    retrain_epochs: Annotated[int | None, typer.Option(help="After the reduction.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Accuracy on the smartwatch recordings over subject-disjoint folds, and on a split in time."""
    from keras_s4 import training

    epochs, retrain_epochs = epochs or training.EPOCHS, retrain_epochs or training.RETRAIN_EPOCHS
    runs = run_all(seeds, epochs, retrain_epochs, jobs, cache)
    settings = {"seeds": seeds, "epochs": epochs, "retrain_epochs": retrain_epochs, "channels": CHANNELS}
    settings |= {"states": STATES, "blocks": BLOCKS, "fraction": FRACTION}
    return Measurement(summarise(runs), {"settings": settings, "runs": runs})


EXPERIMENT = Experiment(
    title="Smartwatch recordings, GroupKFold(5) by subject",
    result=Path(__file__).parents[1] / "results" / "smartwatch.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "scikit-learn", "tflite-micro"),
    cache=Path("runs/reproduce_smartwatch"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
