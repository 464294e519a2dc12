"""Batches of windows that are there already, in another order in every epoch."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np


class ShuffledArrays(keras.utils.PyDataset):
    """Batches of windows in another order in every epoch. Equal seeds and epochs give equal orders.

    Args:
        x: windows `[W, L, features]`.
        y: their targets `[W, ...]`.
        weights: what a window, or each of its steps, counts for, `[W]` or `[W, L]`; None for 1.
        batch_size: B.
        seed: whole number.

    Attributes:
        epoch: chooses the order.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, batch_size: int = 32,
                 seed: int = 0, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self._arrays = (x, y) if weights is None else (x, y, weights)

    def __len__(self) -> int:
        return -(-len(self._arrays[0]) // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._arrays[0]))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return tuple(array[chosen] for array in self._arrays)

    def on_epoch_end(self):
        """Makes the next epoch use another order."""
        self.epoch += 1


class ChangedTargets(keras.utils.PyDataset):
    """Batches of another dataset, whose targets are changed.

    Args:
        batches: yields `(x, y)` or `(x, y, weights)`, and has an attribute `epoch`.
        change: what becomes of targets.
    """

    def __init__(self, batches: keras.utils.PyDataset, change: Callable[[np.ndarray], np.ndarray], **kwargs):
        super().__init__(**kwargs)
        self._batches, self._change = batches, change

    @property
    def epoch(self) -> int:
        """Chooses the order and the variations."""
        return self._batches.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._batches.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch."""
        x, y, *weights = self._batches[index]
        return (x, self._change(y), *weights)

    def on_epoch_end(self):
        """Tells the other dataset."""
        self._batches.on_epoch_end()
