"""Batches of another data set, of which something is changed."""

from __future__ import annotations

import abc
from collections.abc import Callable

import keras
import numpy as np


class WrappedBatches(keras.utils.PyDataset, abc.ABC):
    """Batches of another data set, changed as a subclass says.

    Args:
        batches: yields `(x, y)` or `(x, y, weights)`, and has an attribute `epoch`.
    """

    def __init__(self, batches: keras.utils.PyDataset, **kwargs):
        super().__init__(**kwargs)
        self.batches = batches

    @abc.abstractmethod
    def change(self, x: np.ndarray, y: np.ndarray, *weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """What becomes of a batch."""

    @property
    def epoch(self) -> int:
        """Chooses the order and the variations."""
        return self.batches.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.batches.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch."""
        return self.change(*self.batches[index])

    def on_epoch_begin(self) -> None:
        """What the other data set does then."""
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """What the other data set does then."""
        self.batches.on_epoch_end()


class ChangedTargets(WrappedBatches):
    """Batches of another data set, whose targets are changed.

    Args:
        batches: see `WrappedBatches`.
        change_targets: what becomes of targets.
    """

    def __init__(self, batches: keras.utils.PyDataset, change_targets: Callable[[np.ndarray], np.ndarray], **kwargs):
        super().__init__(batches, **kwargs)
        self.change_targets = change_targets

    def change(self, x, y, *weights):
        """`x`, other `y`, and the weights."""
        return (x, self.change_targets(y), *weights)
