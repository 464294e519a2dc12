"""Padded sequences on a device, which never sees padding: each is run to its own length, and read there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.surgery.padding import held_between, moved_to_the_front, padding_of
from keras_s4.surgery.padding_proof import Proof
from keras_s4.tflite.program.operations import Embed
from keras_s4.tflite.program.program import Program

Integers = np.ndarray | tuple[np.ndarray, ...]


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


def run_to_own_lengths(
    run: Callable[[list[np.ndarray]], Sequence[np.ndarray]], arrays: list[np.ndarray], counts: np.ndarray, most: int
) -> list[np.ndarray]:
    """Runs sequences of one length after the other.

    Args:
        run: outputs `[b, n, ...]` from inputs `[b, n, ...]` of equally long sequences.
        arrays: for each input `[B, L, ...]`, the real steps first.
        counts: steps of each sequence, `[B]`.
        most: sequences at once.

    Returns:
        For each output `[B, L, ...]`; behind a sequence's end its last value stays.
    """
    found: list[np.ndarray] = []
    for rows in of_equal_length(counts, most):
        outputs = run([array[rows, : counts[rows[0]]] for array in arrays])
        if not found:
            length = arrays[0].shape[1]
            found = [np.zeros((len(counts), length, *array.shape[2:]), array.dtype) for array in outputs]
        for array, part in zip(found, outputs, strict=True):
            array[rows] = held(part, array.shape[1])
    return found


def of_equal_length(counts: np.ndarray, most: int) -> list[np.ndarray]:
    """The numbers of sequences `[b]`, at most so many at once, those of one length together."""
    groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]
    return [rows[start : start + most] for rows in groups for start in range(0, len(rows), most)]


def held(values: np.ndarray, length: int) -> np.ndarray:
    """`[B, n, ...]` with the last value again and again, `[B, L, ...]`."""
    return values[:, np.minimum(np.arange(length), values.shape[1] - 1)]


def real_steps_first(arrays: Sequence[np.ndarray], real: np.ndarray | None) -> list[np.ndarray]:
    """Sequences without what is in front of their real steps, or between; behind them the last one is repeated."""
    return list(arrays) if real is None else [moved_to_the_front(array, real) for array in arrays]


def at_their_places(values: np.ndarray, real: np.ndarray | None) -> np.ndarray:
    """A sequence of outputs at the places of the samples; a padded step has the value of the real one before it.

    Behind layers that drop steps, where sequences have padding at their end alone, it stays as it is.
    """
    if real is None or values.shape[1] != real.shape[1]:
        return values
    return held_between(values, real[: len(values)])


def facts_of_padding(program: Program) -> dict[str, Any]:
    """What a firmware project must know of the padding that the Keras model masks; for the manifest.

    `counted_steps` is after how many steps an average over time stops counting, None if there is none.
    """
    states = {state.before.name for state in program.states}
    counts = [len(op.table.data) for op in program.operations if isinstance(op, Embed) and op.input.name in states]
    return {
        "on_the_device": "none: it is given the real steps of a sequence, and read after the last one",
        "counted_steps": max(counts, default=None),
    }


def blocks_of(real: np.ndarray, steps: int, name: str) -> np.ndarray:
    """How many blocks of so many steps each sequence has, `[B]`.

    Raises:
        ValueError: a sequence that ends inside a block.
    """
    counts = real.sum(axis=1)
    if np.any(counts % steps):
        odd = int(np.argmax(counts % steps != 0))
        raise ValueError(
            f"Program {name!r} takes {steps} steps at once, but sequence {odd} has {counts[odd]} real steps and would "
            f"end inside a block. Cut or pad the sequences so that each has a multiple of {steps} real steps, or "
            "convert the model with fewer: convert(model, data, steps=...)."
        )
    return counts // steps
