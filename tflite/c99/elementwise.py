"""Operations on each element, in loops of their own: the compiler knows every scale."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation, scaled_once
from keras_s4.tflite.program import fixed_point, sigmoid
from keras_s4.tflite.program.operations import (
    Accumulate,
    Add,
    Affine,
    Interpolate,
    Lookup,
    Maximum,
    Minimum,
    Multiply,
    Requantize,
    Squash,
)
from keras_s4.tflite.program.tensors import Tensor

SIGMOID_TABLE = "sigmoid in units of 2**-16"


@translates(Affine, looks_up=True)
def translate_affine(operation: Affine, source: Translation) -> None:
    """See `operations.Affine`."""
    x, gain, offset, output = operation.input, operation.gain, operation.offset, operation.output

    def value(i: str, g: str, o: str) -> str:
        product = f"s4_multiply({source.element(x, i)}, {source.element(gain, g)})"
        total = f"s4_add({product}, {source.element(offset, o)})" if np.any(offset.data) else product
        return source.stored(total, operation.accumulator_scale, output, largest)

    largest = source.magnitude(x) * source.magnitude(gain) + source.magnitude(offset)
    source.elementwise(output, [x, gain, offset], value)


@translates(Lookup, inlined=True)
def translate_lookup(operation: Lookup, source: Translation) -> None:
    """See `operations.Lookup`."""
    table = source.pointer(operation.table)
    whole = 128 + operation.input.zero_point
    source.elementwise(
        operation.output, [operation.input], lambda i: f"{table}[{source.element(operation.input, i)} + {whole}]"
    )


@translates(Multiply, inlined=True, inlines=True)
def translate_multiply(operation: Multiply, source: Translation) -> None:
    """See `operations.Multiply`."""
    a, b = operation.a, operation.b
    source.largest[operation.output.name] = min(source.magnitude(a) * source.magnitude(b), 2**31)
    source.elementwise(
        operation.output, [a, b], lambda i, j: f"s4_multiply({source.element(a, i)}, {source.element(b, j)})"
    )


@translates(Add, inlines=True)
def translate_add(operation: Add, source: Translation) -> None:
    """See `operations.Add`."""

    def term(tensor: Tensor, index: str, gain: int) -> str:
        value = source.element(tensor, index)
        return value if gain == 1 else f"s4_multiply({value}, {gain})"

    largest = source.magnitude(operation.a) * abs(operation.gain_a) + source.magnitude(operation.b) * abs(
        operation.gain_b
    )

    def value(i: str, j: str) -> str:
        a, b = term(operation.a, i, operation.gain_a), term(operation.b, j, operation.gain_b)
        return source.stored(f"s4_add({a}, {b})", operation.accumulator_scale, operation.output, largest)

    source.elementwise(operation.output, [operation.a, operation.b], value)


@translates(Maximum, Minimum)
def translate_extremum(operation: Maximum | Minimum, source: Translation) -> None:
    """See `operations.Maximum` and `operations.Minimum`."""
    function = "s4_maximum" if isinstance(operation, Maximum) else "s4_minimum"
    a, b = operation.a, operation.b
    source.elementwise(
        operation.output, [a, b], lambda i, j: f"{function}({source.element(a, i)}, {source.element(b, j)})"
    )


@translates(Requantize, looks_up=True)
def translate_requantize(operation: Requantize, source: Translation) -> None:
    """See `operations.Requantize`."""
    x, output = operation.input, operation.output
    if operation.is_copy:
        source.copy(source.pointer(output), source.pointer(x), output)
        return
    largest = source.magnitude(x)
    source.elementwise(output, [x], lambda i: source.stored(source.element(x, i), x.scale, output, largest))


@translates(Accumulate)
def translate_accumulate(operation: Accumulate, source: Translation) -> None:
    """See `operations.Accumulate`; the rows of a block one after the other."""
    x, total = operation.input, operation.next_state
    size = math.prod(total.shape)
    for row in range(math.prod(x.shape) // size):
        start = f" + {row * size}U" if row else ""
        # The sums of the steps of a block are tensors of their own where all of them are read.
        before = source.pointer(total if row else operation.state)
        source.elementwise(
            total,
            [total],
            lambda i, start=start, before=before: f"s4_add({before}[{i}], {source.element(x, i + start)})",
        )


@translates(Squash)
def translate_squash(operation: Squash, source: Translation) -> None:
    """See `operations.Squash`."""
    sigmoid.check_scales(operation.input, operation.output)
    table = source.placement.pointers.get(SIGMOID_TABLE)
    if table is None:
        table = source.array(SIGMOID_TABLE, sigmoid.sigmoid_table(), "uint16_t", note="at multiples of 1/24")
        source.placement.pointers[SIGMOID_TABLE] = table
    factor = 3 << sigmoid.INPUT_SCALES.index(operation.input.scale)
    ends = source.pointer(operation.input), source.pointer(operation.output)
    source.call("gates", f"s4_{operation.function}", table, str(factor), *ends, _count(operation.output))


@translates(Interpolate)
def translate_interpolate(operation: Interpolate, source: Translation) -> None:
    """See `operations.Interpolate`."""
    x, slope, output = operation.input, operation.slope, operation.output
    mantissa, shift = scaled_once(fixed_point.product_multiplier(slope.scale, x.scale, output.scale))
    lines = source.struct(
        "s4_lines",
        f"{output.name} lines",
        slope=source.pointer(slope),
        offset=source.pointer(operation.offset),
        offset_gain=operation.offset_gain,
        mantissa=mantissa,
        shift=f"{shift}U",
        row_shift=f"{16 - (slope.data.size.bit_length() - 1)}U",
    )
    source.call("gates", "s4_interpolate", lines, source.pointer(x), source.pointer(output), _count(output))


def _count(tensor: Tensor) -> str:
    return f"{math.prod(tensor.shape)}U"
