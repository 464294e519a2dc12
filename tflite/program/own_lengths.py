"""Padded sequences on a device, which never sees padding: each is run to its own length, and read there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.padded_sequences import hold_between, move_real_steps_first


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
    for rows in group_by_length(counts, most):
        outputs = run([array[rows, : counts[rows[0]]] for array in arrays])
        if not found:
            length = arrays[0].shape[1]
            found = [np.zeros((len(counts), length, *array.shape[2:]), array.dtype) for array in outputs]
        for array, part in zip(found, outputs, strict=True):
            array[rows] = hold_last(part, array.shape[1])
    return found


def group_by_length(counts: np.ndarray, most: int) -> list[np.ndarray]:
    """The numbers of sequences `[b]`, at most so many at once, those of one length together."""
    groups = [np.flatnonzero(counts == count) for count in np.unique(counts)]
    return [rows[start : start + most] for rows in groups for start in range(0, len(rows), most)]


def hold_last(values: np.ndarray, length: int) -> np.ndarray:
    """`[B, n, ...]` with the last value again and again, `[B, L, ...]`."""
    return values[:, np.minimum(np.arange(length), values.shape[1] - 1)]


def keep_real_steps(arrays: Sequence[np.ndarray], real: np.ndarray | None) -> list[np.ndarray]:
    """Sequences without what is in front of their real steps, or between; behind them the last one is repeated."""
    return list(arrays) if real is None else [move_real_steps_first(array, real) for array in arrays]


def put_back(values: np.ndarray, real: np.ndarray | None) -> np.ndarray:
    """A sequence of outputs at the places of the samples; a padded step has the value of the real one before it.

    Behind layers that drop steps, where sequences have padding at their end alone, it stays as it is.
    """
    if real is None or values.shape[1] != real.shape[1]:
        return values
    return hold_between(values, real[: len(values)])


def count_blocks(real: np.ndarray, steps: int, name: str) -> np.ndarray:
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
