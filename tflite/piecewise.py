"""Functions of one int16 value as straight lines, for `program.Interpolate`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

INT16_VALUES = np.arange(-(2**15), 2**15)
# Lines from which to choose, the fewest that do; 512 take 1.5 KB.
ROW_COUNTS = tuple(2**k for k in range(1, 10))
# In units of the output, before its rounding.
TOLERANCE = 1.0
LARGEST_SLOPE = 127
FINEST_SLOPE_BITS = 8
# Two balanced digits of a table hold this much, and the factor of the upper one must fit int16.
LARGEST_OFFSET = 127 * 256 + 127
LARGEST_OFFSET_GAIN = 64
# Lines go on a little beyond the range of the output, so that they do not bend before it ends.
CLIPPED = 1.05 * 2**15


@dataclasses.dataclass(frozen=True)
class Lines:
    """`(q * slope[row] + offset[row] * offset_gain) * 2**-slope_bits` with `row = (q + 2**15) * rows // 2**16`.

    Args:
        slope: whole numbers `[rows]` of int8.
        offset: whole numbers `[rows]` of int16, at most `LARGEST_OFFSET`.
        offset_gain: a power of two.
        slope_bits: of the fraction.
        error: the largest, in units, where the function is in the range of int16.
    """

    slope: np.ndarray
    offset: np.ndarray
    offset_gain: int
    slope_bits: int
    error: float


def steepest(function: Callable[[np.ndarray], np.ndarray], scale: float, largest: float) -> float:
    """The steepest slope that a function of int16 values has where neither it nor its argument is beyond `largest`."""
    arguments = INT16_VALUES * scale
    with np.errstate(over="ignore"):
        values = function(arguments[np.abs(arguments) <= largest])
    return float(np.abs(np.diff(values)).max(initial=0.0)) / scale


def fit_lines(function: Callable[[np.ndarray], np.ndarray], scale_in: float, scale_out: float) -> Lines:
    """Lines through a function, the fewest that keep within `TOLERANCE`, or the most there may be.

    Args:
        function: of float64 arrays.
        scale_in: of the argument's units.
        scale_out: of the result's.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        exact = np.nan_to_num(function(INT16_VALUES * scale_in) / scale_out, posinf=CLIPPED, neginf=-CLIPPED)
    clipped = np.clip(exact, -CLIPPED, CLIPPED)
    for rows in ROW_COUNTS:
        lines = _fitted(clipped.reshape(rows, -1), np.abs(exact).reshape(rows, -1) < 2**15)
        if lines.error <= TOLERANCE:
            break
    return lines


def _fitted(target: np.ndarray, counts: np.ndarray) -> Lines:
    """Lines through the rows of `[rows, 2**16 / rows]`; the error is taken where `counts` holds."""
    q = INT16_VALUES.reshape(target.shape).astype(np.float64)
    centred = q - q.mean(axis=1, keepdims=True)
    ideal = (centred * target).sum(axis=1) / (centred**2).sum(axis=1)
    steep = np.abs(ideal).max()
    bits = min(FINEST_SLOPE_BITS, math.floor(math.log2((LARGEST_SLOPE + 0.5) / max(steep, 1e-9))))
    while True:
        slope = _best_slopes(q, target, ideal, bits)
        rest = target - slope[:, None] * 2.0**-bits * q
        middle = (rest.max(axis=1) + rest.min(axis=1)) / 2.0 * 2.0**bits
        gain = 2 ** max(0, math.ceil(math.log2(max(np.abs(middle).max(), 1.0) / LARGEST_OFFSET)))
        if gain <= LARGEST_OFFSET_GAIN:
            break
        bits -= 1
    offset = np.rint(middle / gain)
    error = np.abs(rest - (offset * gain * 2.0**-bits)[:, None])
    return Lines(slope, offset, gain, bits, float(np.max(error, where=counts, initial=0.0)))


def _best_slopes(q: np.ndarray, target: np.ndarray, ideal: np.ndarray, bits: int) -> np.ndarray:
    """Of the whole numbers around the ideal slope of each row, the one whose line errs least."""
    best, least = np.zeros_like(ideal), np.full(ideal.shape, np.inf)
    for step in (-1, 0, 1):
        slope = np.clip(np.rint(ideal * 2.0**bits) + step, -LARGEST_SLOPE, LARGEST_SLOPE)
        rest = target - slope[:, None] * 2.0**-bits * q
        spread = rest.max(axis=1) - rest.min(axis=1)
        best, least = np.where(spread < least, slope, best), np.minimum(spread, least)
    return best
