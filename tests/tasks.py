"""A made-up task: sines whose frequency is the class, or is to be measured."""

import numpy as np

from keras_s4.datasets import Recordings, Sensor, Splits, Task

LENGTH, CLASSES = 60, 7


def make_recordings(subjects, seed, quantities=False):
    """One recording a class and subject."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(CLASSES), len(subjects))
    times = np.arange(200)[:, None]
    signals = [
        np.sin(times * (0.05 + 0.1 * index) + random.uniform(0, 6, 6)) + 0.1 * random.normal(size=(200, 6))
        for index in classes
    ]
    labels = classes / CLASSES if quantities else classes
    return Recordings([signal.astype(np.float32) for signal in signals], labels, np.tile(subjects, CLASSES))


def sines(**changes):
    """The task, or one that differs from it."""
    quantities = bool(changes.get("targets"))
    facts = {
        "name": "sines",
        "title": "Seven sines told apart",
        "purpose": "to recognise which of seven sines a wave is",
        "read": lambda: Splits(*(make_recordings(*part, quantities) for part in (([1, 2], 0), ([3], 1), ([4], 2)))),
        "length": LENGTH,
        "hop": 250,
        "sensors": (Sensor("height", ("a", "b", "c"), "m"), Sensor("speed", ("a", "b", "c"), "m/s")),
        "classes": () if quantities else tuple("ABCDEFG"),
        "rate": 20.0,
        "group": "buoy",
        "choices": {"fold": 0},
        "meanings": {"A": "slow", "G": "fast"},
    }
    return Task(**facts | changes)
