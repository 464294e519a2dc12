"""The loops that numpy's broadcasting takes in C."""

from __future__ import annotations

from collections.abc import Sequence


def loops_over(shape: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> tuple[list[int], list[list[int]]]:
    """The fewest nested loops over an array, and the strides of all arrays in them.

    Args:
        shape: of the array that is written.
        others: shapes that broadcast to it.

    Returns:
        The counts of the loops, outermost first; for the array and each other its stride in every loop.
    """
    rows = [_strides(other, shape) for other in (shape, *others)]
    counts, kept = [shape[-1]], [[row[-1]] for row in rows]
    for axis in reversed(range(len(shape) - 1)):
        if all(row[axis] == strides[0] * counts[0] for row, strides in zip(rows, kept, strict=True)):
            counts[0] *= shape[axis]
            continue
        counts.insert(0, shape[axis])
        for row, strides in zip(rows, kept, strict=True):
            strides.insert(0, row[axis])
    return counts, kept


def _strides(shape: tuple[int, ...], whole: tuple[int, ...]) -> list[int]:
    """Of an array of `shape` that is broadcast to `whole`."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    strides, step = [], 1
    for size in reversed(padded):
        strides.insert(0, 0 if size == 1 else step)
        step *= size
    return strides
