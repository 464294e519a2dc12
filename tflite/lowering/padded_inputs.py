"""Padded sequences in `convert`: the mask that the Keras model makes, and whether a stream can do without it."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_s4.surgery.padding import padding_of
from keras_s4.surgery.padding_proof import Proof


class PaddedInputs:
    """What a converted model knows of padding: the mask that the Keras model makes, and that the program may heed it.

    Args:
        model: that masks padded steps.
    """

    def __init__(self, model: keras.Model):
        self._padding = padding_of(model)
        self._proof = Proof(self._padding, "convert")

    @classmethod
    def of(cls, model: keras.Model) -> PaddedInputs | None:
        """None for a model that makes no mask."""
        return None if padding_of(model) is None else cls(model)

    def real_steps(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Which steps are real, bool `[B, L]`.

        Args:
            arrays: for each input of the model `[B, L, ...]`.

        Raises:
            ValueError: sequences without a real step; inputs that are padded in different ways; padding with which the
                model gives something else than for the real steps alone.
        """
        real = self._padding.real_steps(arrays)
        self._proof.check(arrays, real)
        return real

    def mask(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """`real_steps` without the last refusal."""
        return self._padding.real_steps(arrays)

    def is_real(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """`real_steps` of sequences that may be padding throughout."""
        return self._padding.mask_of(arrays)

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Refuses a model that computes with padding at the end of sequences.

        Raises:
            ValueError: see `real_steps`.
        """
        self._proof.check_end(arrays)
