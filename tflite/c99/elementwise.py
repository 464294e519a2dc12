"""Operations on each element, in loops of their own: the compiler knows every scale."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.expressions import Expression, add, add_multiples, multiply
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import sigmoid
from keras_s4.tflite.program.operations import (
    Add,
    Affine,
    Lookup,
    Maximum,
    Minimum,
    Multiply,
    Requantize,
    Squash,
)


@translates(Affine, does="gain * input + offset", looks_up=True)
def translate_affine(operation: Affine, source: Translation) -> None:
    x, gain, offset, output = operation.input, operation.gain, operation.offset, operation.output
    largest = source.magnitude(x) * source.magnitude(gain) + source.magnitude(offset)

    def value(i: str, g: str, o: str) -> Expression:
        total = multiply(source.element(x, i), source.element(gain, g))
        if np.any(offset.data):
            total = add(total, source.element(offset, o))
        return source.rescale(total, operation.accumulator_scale, output, largest)

    source.elementwise(output, [x, gain, offset], value)


@translates(Lookup, does="a function by its table", inlined=True)
def translate_lookup(operation: Lookup, source: Translation) -> None:
    x, table = operation.input, source.pointer(operation.table)

    def value(i: str) -> Expression:
        # The table begins with what belongs to the least integer, whatever the zero point is.
        return Expression(f"{table}[{source.element(x, i).plus(128 + x.zero_point)}]")

    source.elementwise(operation.output, [x], value)


@translates(Multiply, does="product", inlined=True, inlines=True)
def translate_multiply(operation: Multiply, source: Translation) -> None:
    a, b = operation.a, operation.b
    source.largest[operation.output.name] = min(source.magnitude(a) * source.magnitude(b), 2**31)
    source.elementwise(operation.output, [a, b], lambda i, j: multiply(source.element(a, i), source.element(b, j)))


@translates(Add, does=lambda operation: "difference" if operation.gain_b < 0 else "sum", inlines=True)
def translate_add(operation: Add, source: Translation) -> None:
    a, b, gain_a, gain_b = operation.a, operation.b, operation.gain_a, operation.gain_b
    largest = source.magnitude(a) * abs(gain_a) + source.magnitude(b) * abs(gain_b)

    def value(i: str, j: str) -> Expression:
        total = add_multiples(source.element(a, i), gain_a, source.element(b, j), gain_b)
        return source.rescale(total, operation.accumulator_scale, operation.output, largest)

    source.elementwise(operation.output, [a, b], value)


@translates(Maximum, Minimum, does=lambda operation: type(operation).__name__.lower())
def translate_extremum(operation: Maximum | Minimum, source: Translation) -> None:
    function = f"s4_{type(operation).__name__.lower()}"
    a, b = operation.a, operation.b

    def value(i: str, j: str) -> Expression:
        return Expression(f"{function}({source.element(a, i)}, {source.element(b, j)})")

    source.elementwise(operation.output, [a, b], value)


@translates(
    Requantize,
    does=lambda operation: "copy" if operation.is_copy else "in other units",
    looks_up=lambda operation: not operation.is_copy,
)
def translate_requantize(operation: Requantize, source: Translation) -> None:
    x, output = operation.input, operation.output
    if operation.is_copy:
        source.copy(source.pointer(output), source.pointer(x), output)
        return
    largest = source.magnitude(x)
    source.elementwise(output, [x], lambda i: source.rescale(source.element(x, i), x.scale, output, largest))


@translates(Squash, does=lambda operation: operation.function)
def translate_squash(operation: Squash, source: Translation) -> None:
    sigmoid.check_scales(operation.input, operation.output)
    note = "at multiples of 1/24, in units of 2**-16"
    table = source.share("sigmoid table", sigmoid.sigmoid_table(), "uint16_t", note)
    factor = 3 << sigmoid.INPUT_SCALES.index(operation.input.scale)
    ends = source.pointer(operation.input), source.pointer(operation.output)
    source.call("gates", f"s4_{operation.function}", table, factor, *ends, f"{math.prod(operation.output.shape)}U")
