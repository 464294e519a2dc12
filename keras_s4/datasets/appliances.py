"""Currents of appliances when they are switched on: the UCR archive's PLAID, in recordings of many lengths."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np

from keras_s4.datasets.places import require_folder
from keras_s4.datasets.task import Sensor, Task
from keras_s4.recordings import Recordings, Splits
from keras_s4.recordings.leaks import signal_hashes
from keras_s4.recordings.splitting import hold_back

APPLIANCES = (
    "air conditioner",
    "compact fluorescent lamp",
    "fan",
    "fridge",
    "hairdryer",
    "heater",
    "incandescent light bulb",
    "laptop",
    "microwave",
    "vacuum",
    "washing machine",
)
# Steps a second, of what was recorded at 30 kHz: the ripple of the mains, twice 60 Hz, has five steps in these series.
APPLIANCE_RATE = 600.0
LONGEST = 1_344
FOLDER_VARIABLE = "KERAS_S4_PLAID"
TRAIN_FILE, TEST_FILE = "PLAID_TRAIN.ts", "PLAID_TEST.ts"
FOLDS = 5
ADVICE = (
    "Install the package that carries it, of which only the files are read: pip install --no-deps sktime==1.2.0. "
    f"Or name a folder with {TRAIN_FILE} and {TEST_FILE}, of timeseriesclassification.com, by the variable "
    f"{FOLDER_VARIABLE}."
)


def appliances(fold: int = 0, folder: Path | str | None = None) -> Splits:
    """1,074 recordings of 11 kinds of appliances from over 55 homes, each of its own length from 100 to 1,344 steps.

    One feature, the strength of the current. Units differ from recording to recording by powers of ten, so each is
    divided by its largest value: a device records first and decides then. The test is that of the UCR archive. Of its
    537 recordings for training 5 are left out, which are in the test too, number by number; of the others a fifth of
    each class validates.

    Args:
        fold: which fifth, 0 to 4; the test is the same in all.
        folder: with the two `.ts` files; by default that of the variable KERAS_S4_PLAID, or the one inside of the
            package sktime, which is not imported.

    Returns:
        Recordings whose labels index `APPLIANCES`. The files do not say which home or appliance they are of.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: a damaged file, or another fold.

    Source: Gao et al. 2014 (doi 10.1145/2674061.2675032); UCR archive (arXiv 1810.07758).
    """
    place = require_folder(folder, FOLDER_VARIABLE, _installed(), TRAIN_FILE, ADVICE)
    signals, labels = _read_ts(place / TRAIN_FILE)
    test_signals, test_labels = _read_ts(place / TEST_FILE)
    count = len(signals) + len(test_signals)
    everything = Recordings(signals + test_signals, np.concatenate([labels, test_labels]), np.arange(count))
    # Copies are one group, whose number is that of the last of them; signals at rest are nobody's copies.
    signatures = [signature or number for number, signature in enumerate(signal_hashes(everything))]
    last = {signature: number for number, signature in enumerate(signatures)}
    everything = dataclasses.replace(everything, subjects=np.array([last[signature] for signature in signatures]))
    known = everything.take(np.flatnonzero(everything.subjects < len(signals)))
    train, validation = hold_back(known, fold, FOLDS, names=APPLIANCES, by_steps=False)
    return Splits(train, validation, everything.take(np.arange(len(signals), count)))


def appliances_task(fold: int = 0, folder: Path | str | None = None) -> Task:
    """The appliances as a task of mixed lengths; the arguments are those of `appliances`."""
    return Task(
        name="appliances",
        title="Eleven kinds of appliances told apart",
        purpose="to recognise which of eleven kinds of appliances is switched on, from the strength of its current",
        read=lambda: appliances(fold, folder),
        length=LONGEST,
        hop=LONGEST,
        sensors=(Sensor("current, of its largest", ("",)),),
        classes=APPLIANCES,
        mixed_lengths=True,
        balance=True,
        rate=APPLIANCE_RATE,
        folds=FOLDS,
        choices={"fold": fold},
    )


def _installed() -> list[Path]:
    # Only the file is wanted: importing sktime would need packages with upper bounds.
    package = importlib.util.find_spec("sktime")
    return [Path(package.origin).parent / "datasets" / "data" / "PLAID"] if package and package.origin else []


def _read_ts(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Signals `[steps, 1]`, the largest value of each 1, and labels.

    A line is a recording, `value,value,...:class`; those that begin with # or @ describe the file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.parent} does not hold {path.name}. {ADVICE}") from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] not in "#@"]
    if not rows:
        raise ValueError(f"{path.name} holds no recording; expected a line for each: values with commas, colon, class.")
    signals, labels = [], []
    for number, line in rows:
        values, _, label = line.rpartition(":")
        try:
            signal, index = np.array([float(value) for value in values.split(",")]), int(label)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}, is damaged ({error}). Get the file again.") from error
        if not np.isfinite(signal).all() or not np.abs(signal).max() > 0 or index not in range(len(APPLIANCES)):
            raise ValueError(
                f"{path.name}, line {number}, has {len(signal)} values and class {index}; expected finite values, "
                f"not all of them 0, and a class from 0 to {len(APPLIANCES) - 1}. Get the file again."
            )
        signals.append((signal / np.abs(signal).max()).astype(np.float32)[:, None])
        labels.append(index)
    return signals, np.array(labels)
