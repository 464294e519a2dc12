"""Division by the root of a sum of squares, in integers: see `operations.Normalize`.

Why one operation: the sum of squares needs more than 32 bits, which BATCH_MATMUL has inside and nothing gives as a
result; so its scale, its rounding and the table that reads it belong together. A back-end in C adds the squares in 64
bits and looks up one of the tables. What goes around it (mean, centred values, gain and offset) is composed of
`FullyConnected`, `Add` and `Affine`.

The reciprocal root of an energy E is put together from ranges, each with the 192 upper levels of a table of 256 between
a quarter of its upper end and that end. There the error is largest: half a level is 1/128 of E, and so 1/256 of
the quotient at worst, 53 dB in the mean; the table's 8 bits add as much at most.
"""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.fixed_point import agreeing_energy_scale
from keras_s4.tflite.program.operations import Normalize

LEVELS = 256
# Of a range's upper end to its lower end.
RANGE_RATIO = 4
COARSE_RANGES = 4
# Above the largest energy in calibration, and below the smallest.
ENERGY_HEADROOM, ENERGY_FOOTROOM = 1.5, 16.0
FINE_RATIO = 2.0**8
# Without an epsilon to speak of, the reciprocal root does not rise below this level of the last range.
LEAST_LEVEL = 16


def add_normalize(name: str, signal: Signal, factor: float, epsilon: float, builder: ProgramBuilder) -> Signal:
    """`x / sqrt(factor * sum(x**2) + epsilon)` along the last axis, with an int16 result.

    Args:
        name: for the tensors.
        signal: int16.
        factor: 1 / H for the mean of the squares.
        epsilon: not negative.
        builder: takes the operation.
    """
    tensor, lead = signal.tensor, signal.tensor.shape[:-1]
    energy = (signal.values**2).sum(axis=-1, keepdims=True)
    values = signal.values / np.sqrt(np.maximum(factor * energy + epsilon, np.finfo(float).tiny))
    seen = builder.observed(energy)
    # Not finer than the square of one unit, which matters for signals that are always zero.
    coarse_scale = max(power_of_two_scale(float(seen.max()), 16, ENERGY_HEADROOM), tensor.scale**2)
    coarse_scale = agreeing_energy_scale(coarse_scale, tensor.scale)
    # The fine energy must not wrap at 32 bits before it is clamped to 16, if all channels are at full scale.
    ratio = min(FINE_RATIO, 2.0 ** np.floor(np.log2(2.0 * coarse_scale / (tensor.scale**2 * tensor.shape[-1]))))
    ratio = max(ratio, 1.0)
    tops = _tops_of_ranges(seen, epsilon / factor, coarse_scale, ratio)
    reads_fine = RANGE_RATIO ** np.arange(len(tops)) >= ratio
    gains = RANGE_RATIO ** np.arange(len(tops)) / np.where(reads_fine, ratio, 1.0)
    table, weights, bias, root_scale = _tables(tops * coarse_scale, factor, epsilon)
    ranges = (*lead, len(tops))
    scale = max(power_of_two_scale(builder.peak(values), 16), tensor.scale * root_scale)
    operation = Normalize(
        input=tensor,
        coarse=builder.tensor(f"{name}/coarse", (*lead, 1), "int16", coarse_scale),
        fine=builder.tensor(f"{name}/fine", (*lead, 1), "int16", coarse_scale / ratio),
        coarse_gain=builder.constant(f"{name}/coarse_gain", np.where(reads_fine, 0, gains), "int32"),
        fine_gain=builder.constant(f"{name}/fine_gain", np.where(reads_fine, gains, 0), "int32"),
        level=builder.tensor(f"{name}/level", ranges, "int8", float(tops[0] / LEVELS), -LEVELS // 2),
        table=builder.constant(f"{name}/table", table.ravel(), "int8"),
        part=builder.tensor(f"{name}/part", ranges, "int8", 1.0),
        weights=builder.constant(f"{name}/weights", weights[None], "int8"),
        bias=builder.constant(f"{name}/bias", [bias], "int32"),
        root=builder.tensor(f"{name}/root", (*lead, 1), "int16", 1.0),
        root_scale=root_scale,
        output=builder.tensor(f"{name}/normalized", tensor.shape, "int16", scale),
    )
    builder.add(operation)
    return Signal(operation.output, values)


def _tops_of_ranges(energy: np.ndarray, floor: float, coarse_scale: float, ratio: float) -> np.ndarray:
    """The upper end of each range, in units of the coarse energy: down to the smallest energy that matters."""
    smallest = energy[energy > 0].min(initial=energy.max() + coarse_scale) / ENERGY_FOOTROOM
    depth = np.log2(2.0**15 * coarse_scale / max(smallest, floor)) / np.log2(RANGE_RATIO)
    # In its lowest range, an energy in steps of one unit moves by half a level at each.
    most = COARSE_RANGES + int(np.log2(ratio) / np.log2(RANGE_RATIO))
    return 2.0**15 / float(RANGE_RATIO) ** np.arange(np.clip(np.ceil(depth), 1, most))


def _tables(tops: np.ndarray, factor: float, epsilon: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """What each range adds to the reciprocal root, for each level.

    Args:
        tops: upper ends of the ranges, real energies, the largest first.
        factor: see `add_normalize`.
        epsilon: see `add_normalize`.

    Returns:
        Tables `[J, 256]` and weights `[J]` of whole numbers; the bias; and the real value of one unit of the result.
    """

    def reciprocal_root(energies):
        return 1.0 / np.sqrt(factor * energies + epsilon)

    levels = np.arange(LEVELS) / LEVELS * tops[:, None]
    bottoms = np.append(tops[1:], 0.0)
    if epsilon / factor < levels[-1, LEAST_LEVEL]:
        bottoms[-1] = levels[-1, LEAST_LEVEL]
    rises = reciprocal_root(np.maximum(levels, bottoms[:, None])) - reciprocal_root(tops)[:, None]
    rises[:, -1] = 0.0  # also of all larger energies, where the level is clamped
    largest = rises.max(axis=1)
    unit = float(max(largest.max() / (127 * (LEVELS - 1)), (largest.sum() + reciprocal_root(tops[0])) / (2**16 - 1)))
    weights = np.clip(np.ceil(largest / ((LEVELS - 1) * unit)), 1, 127)
    table = np.rint(rises / (weights[:, None] * unit)) - LEVELS // 2
    bias = LEVELS // 2 * weights.sum() + reciprocal_root(tops[0]) / unit - 2**15
    return table, weights, float(np.rint(bias)), unit
