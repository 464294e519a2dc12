"""Shoulder exercises recorded with a smartwatch: the recordings that the package seglearn brings along."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold

from keras_s4 import extras
from keras_s4.augmentation import RandomWindows
from keras_s4.datasets.live import Live
from keras_s4.datasets.task import Sensor, Task
from keras_s4.recordings import Labelled, Recordings, Splits, hold_out

SMARTWATCH_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
SMARTWATCH_RATE = 50.0
SMARTWATCH_EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
SMARTWATCH_CLASSES = tuple(SMARTWATCH_EXERCISES)
# How the time constant was chosen is told in scripts/reproduce/streams.py.
SMARTWATCH_LIVE = Live(pooling="recent", seconds=1.5, every=0.5, tolerance=2.0)
# Those of `RandomWindows`, for windows of streams.
SMARTWATCH_VARIATIONS = {"warp": 1.4, "mirror": True, "rotation": 0.5, "gain": 1.2}
FOLDS = 5


def smartwatch_recordings() -> Recordings:
    """140 recordings of 10 subjects doing 7 shoulder exercises with a smartwatch: 6 channels at 50 Hz.

    Channels: acceleration x, y, z in g and angular velocity x, y, z in rad/s. Labels index `SMARTWATCH_CLASSES`.
    Source: Burns et al. (arXiv 1802.01489); the array that the package seglearn carries.

    Raises:
        ModuleNotFoundError: seglearn is not installed.
        ValueError: the file is not the one whose checksum is known; it is not opened then, since it is pickled.
    """
    # Only the file is wanted: importing seglearn would need packages that it does not declare.
    extras.require("data", "The smartwatch recordings", "seglearn")
    package = importlib.util.find_spec("seglearn")
    return _read_smartwatch(Path(package.origin).parent / "data" / "watch_dataset.npy")


def smartwatch(fold: int = 0, length: int = 500, hop: int = 250) -> tuple[Labelled, Labelled, Labelled]:
    """Windows of the smartwatch recordings, split by subject into train, validation and test.

    Test and validation have the subjects of two folds of scikit-learn's `GroupKFold(5)` over all windows, `fold` and
    the next one: over the five, each of the ten people tests once and validates once. Up to version 0.1 two people
    validated in four of the five, and folds 0 and 1 were one training with validation and test exchanged; older figures
    were measured so. The people of the test, and all of fold 0, are the same.

    Args:
        fold: 0 to 4.
        length: steps of a window.
        hop: steps from one window to the next.

    Returns:
        `(x, y), (x_validation, y_validation), (x_test, y_test)`: x float32 `[W, length, 6]`, y integers `[W]`.
    """
    train, validation, test = smartwatch_split(fold, length, hop)
    return train.windows(length, hop), validation.windows(length, hop), test.windows(length, hop)


def smartwatch_split(fold: int = 0, length: int = 500, hop: int = 250) -> Splits:
    """The recordings behind `smartwatch(fold)`: train, validation and test, no subject in two of them."""
    _check_fold(fold)
    recordings = smartwatch_recordings()
    # How the folds fall depends on how many windows each subject has.
    subjects = np.repeat(recordings.subjects, recordings.window_counts(length, hop))
    parts = [np.unique(subjects[part]) for _, part in GroupKFold(FOLDS).split(subjects, groups=subjects)]
    return hold_out(recordings, validation=parts[(fold + 1) % FOLDS], test=parts[fold])


def smartwatch_task(fold: int = 0, live: Live | None = SMARTWATCH_LIVE) -> Task:
    """The smartwatch recordings as a task: which exercise it is, every half second of a stream without a reset.

    Windows have 10 s; what is trained on has the variations of `RandomWindows`.

    Args:
        fold: which subjects are held out, 0 to 4; see `smartwatch`.
        live: what a decision is in a live stream; None for a model that is asked at the end of a window and then
            reset.
    """
    _check_fold(fold)
    axes = ("x", "y", "z")
    return Task(
        name="smartwatch",
        title="Seven exercises told apart",
        purpose="to recognise which of seven shoulder exercises a person does, from the accelerometer and gyroscope of "
        "a smartwatch",
        read=lambda: smartwatch_split(fold),
        length=500,
        hop=250,
        sensors=(
            Sensor("acceleration", axes, "g", vector="polar"),
            Sensor("angular velocity", axes, "rad/s", vector="axial"),
        ),
        classes=SMARTWATCH_CLASSES,
        live=live,
        rate=SMARTWATCH_RATE,
        group="subject",
        folds=FOLDS,
        choices={"fold": int(fold)},
        meanings=SMARTWATCH_EXERCISES,
        settings={"normalize": False},  # the recipe was chosen without it, and both units are about 1
        augmentation=SMARTWATCH_VARIATIONS,
        augment=RandomWindows if live is None else None,
    )


def _check_fold(fold: int) -> None:
    if fold not in range(FOLDS):
        raise ValueError(f"smartwatch got fold={fold!r}; expected a whole number from 0 to {FOLDS - 1}.")


def _read_smartwatch(path: Path) -> Recordings:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SMARTWATCH_SHA256:
        raise ValueError(
            f"{path.name} has SHA-256 {digest}, expected {SMARTWATCH_SHA256}. It is pickled, so it was not opened. "
            "Reinstall it with: pip install --force-reinstall seglearn"
        )
    table = np.load(io.BytesIO(content), allow_pickle=True).item()
    return Recordings(
        [np.asarray(signal, np.float32) for signal in table["X"]],
        np.asarray(table["y"], np.int64),
        np.asarray(table["subject"], np.int64),
    )
