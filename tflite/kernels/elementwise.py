"""Operations on each element: tables, products, sums, other scales."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.kernels.arithmetic import Arithmetic, Run, Values, kernel, same_scale
from keras_s4.tflite.program import Add, Lookup, Multiply, Requantize


@kernel(Lookup)
def compile_lookup(operation: Lookup, arithmetic: Arithmetic) -> Run:
    """See `program.Lookup`."""
    table = operation.table.data

    def run(values: Values):
        values[operation.output.name] = table[values[operation.input.name].astype(np.int16) + 128]

    return run


@kernel(Multiply)
def compile_multiply(operation: Multiply, arithmetic: Arithmetic) -> Run:
    """See `program.Multiply`."""
    a, b, output = operation.a, operation.b, operation.output

    def run(values: Values):
        product = arithmetic.wide(values[a.name], a.zero_point) * arithmetic.wide(values[b.name], b.zero_point)
        values[output.name] = product.astype(np.int32)

    return run


@kernel(Add)
def compile_add(operation: Add, arithmetic: Arithmetic) -> Run:
    """See `program.Add`."""
    a, b, output = operation.a, operation.b, operation.output
    rescale = arithmetic.rescaler(operation.accumulator_scale, output)

    def run(values: Values):
        first = arithmetic.wide(values[a.name], a.zero_point) * arithmetic.accumulator(operation.gain_a)
        second = arithmetic.wide(values[b.name], b.zero_point) * arithmetic.accumulator(operation.gain_b)
        arithmetic.guard(first, f"{output.name} (first term)")
        arithmetic.guard(second, f"{output.name} (second term)")
        values[output.name] = rescale(arithmetic.guard(first + second, f"{output.name} (accumulator)"))

    return run


@kernel(Requantize)
def compile_requantize(operation: Requantize, arithmetic: Arithmetic) -> Run:
    """See `program.Requantize`."""
    input, output = operation.input, operation.output
    if (input.type, input.zero_point) == (output.type, output.zero_point) and same_scale(input, output):
        return lambda values: values.update({output.name: values[input.name]})
    rescale = arithmetic.rescaler(input.scale, output)

    def run(values: Values):
        values[output.name] = rescale(arithmetic.wide(values[input.name], input.zero_point))

    return run
