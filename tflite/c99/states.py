"""Diagonal steps of DSS layers."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import INDENT, Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.diagonal_kernel import check_supported, plain_modes
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.tensors import Tensor


def sums_of_channels(operation: DiagonalStep) -> Tensor:
    """Where the kernel leaves what it reads out of each channel."""
    return Tensor(f"{operation.output.name} (sums)", operation.feedthrough.shape, "int32")


@translates(DiagonalStep, looks_up=True, helper=sums_of_channels)
def translate_diagonal_step(operation: DiagonalStep, source: Translation) -> None:
    """See `operations.DiagonalStep`. A channel's modes lie side by side, real and imaginary part of each together."""
    check_supported(operation)
    layer = source.struct(
        "s4_diagonal",
        f"{operation.output.name} layer",
        constants=source.array(
            f"{operation.output.name} modes", _modes(operation), "int32_t", note="channels, modes", words=4
        ),
        plain=source.array(f"{operation.output.name} plain modes", plain_modes(operation), "uint8_t"),
        channels=f"{operation.state.shape[-1]}U",
        modes=f"{operation.state.shape[1]}U",
        clamped=int(operation.limit > 0),
    )
    _step_and_rescale(operation, source, layer)


def _step_and_rescale(operation: DiagonalStep, source: Translation, layer: str) -> None:
    """A call, and a loop over the channels of its result; both in a loop over the rows of a block."""
    channels, x, output = operation.state.shape[-1], operation.input, operation.output
    sums = source.placement.helpers[output.name]
    rows = math.prod(x.shape) // channels
    row = f"row * {channels}U" if rows > 1 else ""
    origin = f"&{source.pointer(x)}[{row}]" if row else source.pointer(x)
    partial = f"s4_multiply({_partial(operation, f'{sums}[i]', source)}, {operation.partial_gain})"
    index = f"{row} + i" if row else "i"
    direct = f"s4_multiply({source.pointer(x)}[{index}], {source.element(operation.feedthrough, 'i')})"
    total = f"s4_add({partial}, {direct})" if np.any(operation.feedthrough.data) else partial
    largest = 2**15 * (abs(operation.partial_gain) + source.magnitude(operation.feedthrough))
    value = source.stored(total, operation.accumulator_scale, output, largest)
    source.kernels.add("diagonal")
    lines = [
        f"s4_diagonal_step({layer}, {source.pointer(operation.state)}, {origin}, {sums});",
        f"for (uint32_t i = 0; i < {channels}U; ++i) {{",
        f"{INDENT}{source.assignment(output, index, value)}",
        "}",
    ]
    if row:
        lines = [f"for (uint32_t row = 0; row < {rows}U; ++row) {{", *(INDENT + line for line in lines), "}"]
    source.statements += lines


def _partial(operation: DiagonalStep, total: str, source: Translation) -> str:
    """The readout's sum as int16."""
    name = operation.partial.name
    for left in range(_bits_above(operation) + 1):
        mantissas = partial_mantissas(operation, left)
        if mantissas is not None:
            array = source.array(f"{name} mantissa", mantissas, "int32_t")
            shifted = f"{total} * {2**left}" if left else total
            return f"s4_saturate_16(s4_multiply_high({shifted}, {array}[i]))"
    multiplier = _partial_multiplier(operation)
    mantissa = source.array(f"{name} mantissa", fixed_point.reduced_mantissa(multiplier.mantissa), "int16_t")
    shift = source.array(f"{name} shift", 15 - np.asarray(multiplier.shift), "uint8_t")
    return f"s4_saturate_16(s4_scale_once({total}, {mantissa}[i], {shift}[i]))"


def _modes(operation: DiagonalStep) -> np.ndarray:
    """The initialiser of each mode's constants, `[H, N]`."""
    rows = [*operation.input_gain.data, operation.decay.data, operation.rotation.data, operation.readout.data[0]]
    values = np.stack([row.T for row in rows], axis=-1)
    modes = [[f"S4_MODE({', '.join(map(str, mode))})" for mode in channel] for channel in values.tolist()]
    return np.array(modes, dtype=object)


def _bits_above(operation: DiagonalStep) -> int:
    """By how many bits the sum of any channel's readout can be shifted to the left."""
    largest = 2**15 * int(np.abs(operation.readout.data.astype(np.int64)).sum(axis=(0, 1)).max())
    return 31 - largest.bit_length()


def partial_mantissas(operation: DiagonalStep, left: int = 0) -> np.ndarray | None:
    """What `s4_multiply_high` takes for the sum of each channel's readout, shifted to the left by some bits.

    Returns:
        int32 `[H]`; None if a shift is too short, as where modes cancel so that their sum is not much larger than what
        is read out of one, or too long.
    """
    multiplier = _partial_multiplier(operation)
    shifts = 15 - np.asarray(multiplier.shift) + left
    if np.any((shifts <= 16) | (shifts > 32)):
        return None
    return fixed_point.reduced_mantissa(multiplier.mantissa) << (32 - shifts)


def _partial_multiplier(operation: DiagonalStep) -> Multiplier:
    scales = np.broadcast_to(operation.readout.scale, operation.state.shape[-1:])
    return fixed_point.product_multiplier(operation.hidden.scale, scales, operation.partial.scale)
