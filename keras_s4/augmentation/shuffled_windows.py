"""Windows as they are, in a new order each epoch."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.checks import whole_number
from keras_s4.recordings import Recordings


class ShuffledArrays(keras.utils.PyDataset):
    """Batches of windows in another order in every epoch. Equal seeds and epochs give equal orders.

    Args:
        x: windows `[W, L, features]`.
        y: their targets `[W, ...]`.
        batch_size: B.
        seed: whole number.

    Attributes:
        epoch: chooses the order.

    Raises:
        ValueError: a batch size below 1, or a seed below 0.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int = 32, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        who = type(self).__name__
        self.batch_size = whole_number(batch_size, f"{who} got batch_size=")
        self.seed = whole_number(seed, f"{who} got seed=", 0)
        self.epoch = 0
        self._x, self._y = x, y

    def __len__(self) -> int:
        return -(-len(self._x) // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, L, features]` and targets `[B, ...]`."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self._x))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self._x[chosen], self._y[chosen]

    def on_epoch_end(self):
        """Makes the next epoch use another order."""
        self.epoch += 1


class ShuffledWindows(ShuffledArrays):
    """All windows of recordings, in another order in every epoch. Equal seeds and epochs give equal orders.

    Args:
        recordings: signals `[steps, features]`.
        length: steps of a window.
        hop: steps from one window to the next; by default half a window.
        batch_size: B.
        seed: whole number.

    Raises:
        ValueError: no recording holds a window; sizes below 1.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int,
        hop: int | None = None,
        batch_size: int = 32,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(*recordings.windows(length, hop or max(1, length // 2)), batch_size, seed, **kwargs)
