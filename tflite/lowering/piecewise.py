"""Functions of one int16 value as straight lines, for `operations.Interpolate`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from keras_s4.brief import Brief

INT16_VALUES = np.arange(-(2**15), 2**15)
# Lines from which to choose, the fewest that do; 512 take 1.5 KB.
ROW_COUNTS = tuple(2**k for k in range(1, 10))
# In units of the output, before its rounding.
TOLERANCE = 1.0
LARGEST_SLOPE = 127
FINEST_SLOPE_BITS = 8
# With so many, slopes go up to 2, and no coarser output is tried.
ENOUGH_SLOPE_BITS = 6
COARSER_SCALES = 4
# Two balanced digits of a table hold this much, and the factor of the upper one must fit int16.
LARGEST_OFFSET = 127 * 256 + 127
LARGEST_OFFSET_GAIN = 64
# Lines go on a little beyond the range of the output, so that they do not bend before it ends.
CLIPPED = 1.05 * 2**15


@dataclasses.dataclass(frozen=True, repr=False)
class Lines(Brief):
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

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """The lines at int16 values, in units of the output before its rounding."""
        row = (q.astype(np.int64) + 2**15) * len(self.slope) // 2**16
        return (q * self.slope[row] + self.offset[row] * self.offset_gain) * 2.0**-self.slope_bits


def choose_lines(
    function: Callable[[np.ndarray], np.ndarray], scale_in: float, scale_out: float, sample: np.ndarray
) -> tuple[Lines, float]:
    """Lines, and the scale of their output that loses least on a sample.

    Where a function is steep, slopes of 8 bits are coarse, and so are all lines. An output of larger units is less
    steep, and then holds little more than the rounding of its argument anyway.

    Args:
        function: of float64 arrays.
        scale_in: of the argument's units.
        scale_out: the finest of the result's.
        sample: arguments, int16.
    """
    exact, best = function(sample * scale_in), (np.inf, None, scale_out)
    for scale in scale_out * 2.0 ** np.arange(COARSER_SCALES + 1):
        lines = fit_lines(function, scale_in, scale)
        rounded = np.clip(np.rint(lines(sample)), -(2**15), 2**15 - 1) * scale
        error = float(np.mean((rounded - exact) ** 2))
        if error < best[0]:
            best = error, lines, float(scale)
        if lines.slope_bits >= ENOUGH_SLOPE_BITS:
            break
    return best[1:]


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
