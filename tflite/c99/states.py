"""Diagonal steps of DSS layers, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_s4.tflite.c99.expressions import Expression, add, address_of, index_of, multiply
from keras_s4.tflite.c99.names import short_name
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.diagonal_kernel import check_supported, plain_modes
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import Accumulate, DiagonalStep
from keras_s4.tflite.program.tensors import Tensor


def sums_of_channels(operation: DiagonalStep) -> Tensor:
    """Where the kernel leaves what it reads out of each channel."""
    return Tensor(f"{operation.output.name} (sums)", operation.feedthrough.shape, "int32")


@translates(DiagonalStep, does="a step of its modes, read out", looks_up=True, helper=sums_of_channels)
def translate_diagonal_step(operation: DiagonalStep, source: Translation) -> None:
    """A channel's modes lie side by side, real and imaginary part of each together."""
    check_supported(operation)
    x, output = operation.input, operation.output
    _, modes, channels = operation.state.shape
    name, constants = short_name(output.name), source.constants
    of_16_bits = "modes, the first ones, whose decay has 16 bits"
    layer = constants.struct(
        "s4_diagonal",
        output.name,
        constants=constants.array(f"{name} modes", _modes(operation), "int32_t", note="channels, modes", words=4),
        plain=constants.array(f"{name} plain modes", plain_modes(operation), "uint8_t", note=of_16_bits),
        channels=f"{channels}U",
        modes=f"{modes}U",
        clamped=int(operation.limit > 0),
    )
    sums = source.helper(operation, "sums")
    read_out = _partial_sum(operation, sums, source)
    largest = 2**15 * (abs(operation.partial_gain) + source.magnitude(operation.feedthrough))
    with source.loop("row", math.prod(x.shape) // channels) as row:
        origin = address_of(source.pointer(x), (row, channels))
        source.call("diagonal", "s4_diagonal_step", layer, source.pointer(operation.state), origin, sums)
        with source.loop("i", channels) as i:
            index = index_of((row, channels), (i, 1))
            partial = source.name_long("partial", read_out(i))
            total = multiply(partial, Expression(constant=operation.partial_gain))
            if np.any(operation.feedthrough.data):
                direct = multiply(source.element(x, index), source.element(operation.feedthrough, i))
                total = add(total, direct)
            source.assign(output, index, source.rescale(total, operation.accumulator_scale, output, largest))


@translates(Accumulate, does="running sum")
def translate_accumulate(operation: Accumulate, source: Translation) -> None:
    """The rows of a block one after the other."""
    x, total = operation.input, operation.next_state
    size = math.prod(total.shape)
    # The sums of the steps of a block are tensors of their own where all of them are read.
    before, rows = operation.state, math.prod(x.shape) // size
    for row in range(rows):
        with source.loop("i", size) as i:
            value = add(source.element(before, i), source.element(x, index_of((i, 1), first=row * size)))
            source.assign(total, i, _clamped(value, operation.limit) if row == rows - 1 else value)
        before = total


def _clamped(total: Expression, limit: int) -> Expression:
    if limit == 2**30:
        return Expression(f"s4_saturate_31({total})")
    return Expression(f"s4_clamp({total}, {-limit}, {limit - 1})")


def _partial_sum(operation: DiagonalStep, sums: str, source: Translation) -> Callable[[str], Expression]:
    """What is read out of a channel as int16, from the sum over its modes; a function of the channel's index."""
    name = short_name(operation.partial.name)
    for left in range(_bits_above(operation) + 1):
        mantissas = partial_mantissas(operation, left)
        if mantissas is not None:
            array = source.constants.array(f"{name} mantissas", mantissas, "int32_t")
            doubled = f" * {2**left}" if left else ""
            return lambda i: Expression(f"s4_saturate_16(s4_multiply_high({sums}[{i}]{doubled}, {array}[{i}]))")
    multiplier = _partial_multiplier(operation)
    mantissas = fixed_point.reduced_mantissa(multiplier.mantissa)
    array = source.constants.array(f"{name} mantissas", mantissas, "int16_t")
    shifts = source.constants.array(f"{name} shifts", 15 - np.asarray(multiplier.shift), "uint8_t")
    return lambda i: Expression(f"s4_saturate_16(s4_scale_once({sums}[{i}], {array}[{i}], {shifts}[{i}]))")


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
