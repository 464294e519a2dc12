"""Epochs whose randomness is their own, so that trainings can be stopped and continued."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np


class SeededEpochs(keras.callbacks.Callback):
    """Gives each epoch randomness of its own, so that a continued training is the same as one in a single go.

    Args:
        windows: what is trained on, with an attribute `epoch` that chooses its order and its variations.
        seed: whole number of at least 0.
    """

    def __init__(self, windows: keras.utils.PyDataset, seed: int):
        super().__init__()
        self._windows = windows
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the windows, their order and the dropout."""
        self._windows.epoch = epoch
        source = np.random.default_rng((self._seed, epoch))
        random.seed(int(source.integers(2**63)))  # Keras shuffles the batches with it
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                variable.assign(source.integers(2**32, size=2, dtype=np.uint32))
