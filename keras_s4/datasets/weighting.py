"""Batches in which all classes count alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_s4.recordings import UNLABELLED


class WeightedBatches(keras.utils.PyDataset):
    """The batches of another data set with a weight for each label, that of its class.

    Args:
        batches: of `(x, y)` or `(x, y, weights)`; y whole numbers of any shape, one a window or step, or shares of
            the classes, `[B, ..., C]`. Weights that are there are multiplied.
        weights: of each class `[C]`, as `keras_s4.recordings.class_weights` gives them.
    """

    def __init__(self, batches: keras.utils.PyDataset, weights: np.ndarray, **kwargs):
        super().__init__(**kwargs)
        self.batches = batches
        self.weights = np.asarray(weights, np.float32)

    @property
    def epoch(self) -> int:
        """Which variations there are."""
        return self.batches.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.batches.epoch = value

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Batch `index`: `x`, `y` and the weights of its labels; 0 of `UNLABELLED`."""
        x, y, *rest = self.batches[index]
        weights = self._weigh(np.asarray(y))
        return x, y, weights * rest[0] if rest else weights

    def on_epoch_begin(self) -> None:
        """What the other data set does then."""
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """What the other data set does then."""
        self.batches.on_epoch_end()

    def __getattr__(self, name: str) -> Any:
        # What a data set offers besides, such as its settings.
        if name.startswith("_") or name == "batches":
            raise AttributeError(name)
        return getattr(self.batches, name)

    def _weigh(self, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind == "f":
            return y @ self.weights
        return np.where(y == UNLABELLED, 0.0, self.weights[y]).astype(np.float32)
