"""Operations on each element: tables, gains, products, sums, the larger and the smaller, other scales."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import sigmoid
from keras_s4.tflite.program.operations import Add, Affine, Lookup, Maximum, Minimum, Multiply, Requantize, Squash


@compiles(Affine)
def compile_affine(operation: Affine, arithmetic: Arithmetic) -> Run:
    rescale = arithmetic.rescaler(operation.accumulator_scale, operation.output)
    gain, offset = arithmetic.wide(operation.gain.data), arithmetic.wide(operation.offset.data)

    def run(values: Values):
        accumulator = arithmetic.wide(values[operation.input.name], operation.input.zero_point) * gain + offset
        values[operation.output.name] = rescale(arithmetic.guard(accumulator, f"{operation.output.name} (accumulator)"))

    return run


@compiles(Lookup)
def compile_lookup(operation: Lookup, arithmetic: Arithmetic) -> Run:
    table = operation.table.data

    def run(values: Values):
        values[operation.output.name] = table[values[operation.input.name].astype(np.int16) + 128]

    return run


@compiles(Squash)
def compile_squash(operation: Squash, arithmetic: Arithmetic) -> Run:
    function = {"sigmoid": sigmoid.sigmoid_int16, "tanh": sigmoid.tanh_int16}[operation.function]
    input, output = operation.input, operation.output
    sigmoid.check_scales(input, output)

    def run(values: Values):
        values[output.name] = function(values[input.name], input.scale)

    return run


@compiles(Multiply)
def compile_multiply(operation: Multiply, arithmetic: Arithmetic) -> Run:
    a, b, output = operation.a, operation.b, operation.output

    def run(values: Values):
        product = arithmetic.wide(values[a.name], a.zero_point) * arithmetic.wide(values[b.name], b.zero_point)
        values[output.name] = arithmetic.guard(product, output.name).astype(np.int32)

    return run


@compiles(Maximum, Minimum)
def compile_extremum(operation: Maximum | Minimum, arithmetic: Arithmetic) -> Run:
    choose = np.maximum if isinstance(operation, Maximum) else np.minimum
    a, b = operation.a, operation.b

    def run(values: Values):
        second = values[b.name] if b.data is None else b.data
        chosen = choose(arithmetic.wide(values[a.name], a.zero_point), arithmetic.wide(second, b.zero_point))
        values[operation.output.name] = chosen.astype(np.int32)

    return run


@compiles(Add)
def compile_add(operation: Add, arithmetic: Arithmetic) -> Run:
    a, b, output = operation.a, operation.b, operation.output
    rescale = arithmetic.rescaler(operation.accumulator_scale, output)

    def run(values: Values):
        first = arithmetic.wide(values[a.name], a.zero_point) * arithmetic.accumulator(operation.gain_a)
        second = arithmetic.wide(values[b.name], b.zero_point) * arithmetic.accumulator(operation.gain_b)
        arithmetic.guard(first, f"{output.name} (first term)")
        arithmetic.guard(second, f"{output.name} (second term)")
        values[output.name] = rescale(arithmetic.guard(first + second, f"{output.name} (accumulator)"))

    return run


@compiles(Requantize)
def compile_requantize(operation: Requantize, arithmetic: Arithmetic) -> Run:
    input, output = operation.input, operation.output
    if operation.is_copy:
        return lambda values: values.update({output.name: values[input.name]})
    rescale = arithmetic.rescaler(input.scale, output)

    def run(values: Values):
        values[output.name] = rescale(arithmetic.wide(values[input.name], input.zero_point))

    return run
