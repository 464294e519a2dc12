"""Steps of diagonal state spaces in delta form, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_s4.tflite.c99.expressions import SMALL, Expression, add, address_of, index_of, multiply
from keras_s4.tflite.c99.names import short_name
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.dense_kernel import MOST_RIGHT
from keras_s4.tflite.program.diagonal_kernel import (
    FED_BACK,
    LAST,
    LAST_PLAIN,
    Form,
    check_modal_step,
    check_supported,
    form_of,
    largest_sum,
    modal_words,
    mode_marks,
)
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import Accumulate, DiagonalStep, ModalStep
from keras_s4.tflite.program.tensors import Tensor

FUNCTIONS = {
    Form.FREE: "s4_diagonal_step",
    Form.CLAMPED: "s4_diagonal_step_clamped",
    Form.FED_BACK: "s4_diagonal_step_fed_back",
}


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
    layer = constants.struct(
        "s4_diagonal",
        output.name,
        constants=constants.array(f"{name} modes", _modes(operation), "int32_t", note="channels, modes", words=4),
        channels=f"{channels}U",
        modes=f"{modes}U",
    )
    sums = source.helper(operation, "sums")
    function = FUNCTIONS[form_of(operation)]
    read_out = _read_out_by_kernel(operation, sums, source) or _read_out_by_loop(operation, sums, source)
    with source.loop("row", math.prod(x.shape) // channels) as row:
        origin = address_of(source.pointer(x), (row, channels))
        source.call("diagonal", function, layer, source.pointer(operation.state), origin, sums)
        read_out(row)


def _read_out_by_kernel(operation: DiagonalStep, sums: str, source: Translation) -> Callable[[str], None] | None:
    """What appends the kernel's call for a row; None if the kernel might give something else."""
    x, output, gain, feedthrough = operation.input, operation.output, operation.partial_gain, operation.feedthrough
    multiplier = fixed_point.rescale_multiplier(operation.accumulator_scale, output.scale)
    mantissa, right, left = int(multiplier.mantissa), -int(multiplier.shift), _bits_above(operation)
    mantissas = _partial_mantissas_within(operation, left)
    lookup = source.table_behind(output)
    fits = 2**15 * (abs(gain) + source.magnitude(feedthrough)) < SMALL and source.magnitude(feedthrough) < 2**15
    if mantissas is None or not fits or not 1 <= right <= MOST_RIGHT or (output.type == "int8") != (lookup is not None):
        return None
    name, constants, channels = short_name(operation.partial.name), source.constants, feedthrough.data.size
    left, values = mantissas
    layer = constants.struct(
        "s4_readout",
        operation.partial.name,
        partial_mantissas=constants.array(f"{name} mantissas", values, "int32_t"),
        feedthrough=constants.array(feedthrough.name, feedthrough.data, "int16_t", feedthrough),
        gain=gain,
        mantissa=mantissa,
        channels=f"{channels}U",
        left=f"{left}U",
        right=f"{right}U",
    )

    def call(row: str) -> None:
        origin = address_of(source.pointer(x), (row, channels))
        if lookup is None:
            to = address_of(source.pointer(output), (row, channels))
            source.call("readout", "s4_read_out_int16", layer, sums, origin, to)
        else:
            to = address_of(source.pointer(lookup.output), (row, channels))
            table = source.pointer(lookup.table)
            source.call("readout", "s4_read_out_int8", layer, sums, origin, output.zero_point, table, to)

    return call


def _read_out_by_loop(operation: DiagonalStep, sums: str, source: Translation) -> Callable[[str], None]:
    """What appends a loop over the channels of a row."""
    x, output, gain, feedthrough = operation.input, operation.output, operation.partial_gain, operation.feedthrough
    partial_of = _partial_sum(operation, sums, source)
    largest = 2**15 * (abs(gain) + source.magnitude(feedthrough))

    def append(row: str) -> None:
        channels = feedthrough.data.size
        with source.loop("i", channels) as i:
            index = index_of((row, channels), (i, 1))
            partial = source.name_long("partial", partial_of(i))
            total = multiply(partial, Expression(constant=gain))
            if np.any(feedthrough.data):
                direct = multiply(source.element(x, index), source.element(feedthrough, i))
                total = add(total, direct)
            source.assign(output, index, source.rescale(total, operation.accumulator_scale, output, largest))

    return append


@translates(ModalStep, does="a step of its modes")
def translate_modal_step(operation: ModalStep, source: Translation) -> None:
    """The real parts of all modes, then the imaginary parts, of states as of what is read and written."""
    check_modal_step(operation)
    x, output, (_, modes) = operation.input, operation.output, operation.state.shape
    name, constants = short_name(output.name), source.constants
    layer = constants.struct(
        "s4_modal",
        output.name,
        constants=constants.array(f"{name} modes", modal_words(operation), "int32_t", note="gains, decay and rotation"),
        modes=f"{modes}U",
        fed_back=f"{operation.feedback}U",
    )
    function = "s4_modal_step_clamped" if operation.limit else "s4_modal_step"
    with source.loop("row", operation.rows) as row:
        ends = (address_of(source.pointer(end), (row, 2 * modes)) for end in (x, output))
        source.call("modal", function, layer, source.pointer(operation.state), *ends)


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
    source.largest[total.name] = operation.limit


def _clamped(total: Expression, limit: int) -> Expression:
    if limit == 2**30:
        return Expression(f"s4_saturate_31({total})")
    return Expression(f"s4_clamp({total}, {-limit}, {limit - 1})")


def _partial_sum(operation: DiagonalStep, sums: str, source: Translation) -> Callable[[str], Expression]:
    """What is read out of a channel as int16, from the sum over its modes; a function of the channel's index."""
    name = short_name(operation.partial.name)
    if found := _partial_mantissas_within(operation, _bits_above(operation)):
        left, mantissas = found
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
    marks = np.vectorize(_mark, otypes=[object])(mode_marks(operation)).T
    modes = [
        [f"S4_MODE({', '.join(map(str, mode))}, {mark})" for mode, mark in zip(channel, of_channel, strict=True)]
        for channel, of_channel in zip(values.tolist(), marks, strict=True)
    ]
    return np.array(modes, dtype=object)


def _mark(mark: int) -> str:
    """A mode's marks as `S4_MODE` takes them."""
    end = {0: "", LAST_PLAIN: "S4_LAST_PLAIN", LAST: "S4_LAST"}[mark & LAST]
    return " + ".join(filter(None, (end, "S4_FED_BACK" if mark & FED_BACK else ""))) or "0"


def _bits_above(operation: DiagonalStep) -> int:
    """By how many bits the sum of any channel's readout can be shifted to the left."""
    return 31 - largest_sum(operation).bit_length()


def _partial_mantissas_within(operation: DiagonalStep, bits: int) -> tuple[int, np.ndarray] | None:
    """The least shift to the left, up to so many bits, for which there are mantissas; and these."""
    found = ((left, partial_mantissas(operation, left)) for left in range(bits + 1))
    return next(((left, mantissas) for left, mantissas in found if mantissas is not None), None)


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
