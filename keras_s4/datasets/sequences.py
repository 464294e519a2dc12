"""Square pictures as sequences, pixel by pixel or row by row."""

from __future__ import annotations

import numpy as np

from keras_s4.datasets.task import Sensor
from keras_s4.recordings import Recordings

SIDE = 28
SHAPES = {"pixels": (SIDE * SIDE, 1), "rows": (SIDE, SIDE)}


def as_sequences(images: np.ndarray, order: str) -> np.ndarray:
    """Grey levels from 0 to 255, `[W, 28, 28]`, as float32 from -1 to 1, `[W, 784, 1]` or `[W, 28, 28]`."""
    return (images.astype(np.float32) / 127.5 - 1.0).reshape(len(images), *SHAPES[order])


def as_recordings(x: np.ndarray, y: np.ndarray) -> Recordings:
    """Each picture as a recording of its own."""
    return Recordings(list(x), y, np.arange(len(x)))


def sensor_of(order: str) -> Sensor:
    """The features of a step."""
    _, features = SHAPES[order]
    axes = tuple(f"column {column}" for column in range(1, features + 1)) if features > 1 else ("",)
    return Sensor("brightness", axes)
