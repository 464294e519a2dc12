"""Products with a matrix."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import FullyConnected


@compiles(FullyConnected)
def compile_fully_connected(operation: FullyConnected, arithmetic: Arithmetic) -> Run:
    input, output = operation.input, operation.output
    multiplier = fixed_point.product_multiplier(input.scale, operation.weights.scale, output.scale)
    # Sums of products stay far below 2**53, where float64 is exact and its matrix product fast.
    weights = operation.weights.data.T.astype(np.float64)
    bias = operation.bias.data.astype(np.int64)

    def run(values: Values):
        centred = values[input.name].astype(np.float64) - input.zero_point
        accumulator = (centred @ weights).astype(np.int64) + bias
        if input.type == "int16":
            if arithmetic.check_overflow:
                arithmetic.guard(accumulator * multiplier.real, f"{output.name} (before saturation)")
            values[output.name] = fixed_point.requantize_reduced(accumulator, multiplier, output.type)
            return
        arithmetic.guard(accumulator << max(multiplier.shift, 0), f"{output.name} (accumulator)")
        # The kernel's accumulator has 32 bits.
        wrapped = accumulator.astype(np.int32)
        values[output.name] = fixed_point.requantize(wrapped, multiplier, output.type, output.zero_point)

    return run
