"""Straight lines that stand for a function of one int16 value."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Interpolate


@compiles(Interpolate)
def compile_interpolate(operation: Interpolate, arithmetic: Arithmetic) -> Run:
    input, output, slope = operation.input, operation.output, operation.slope
    multiplier = fixed_point.product_multiplier(slope.scale, input.scale, output.scale)
    slopes = slope.data.astype(np.int64)
    offsets = operation.offset.data.astype(np.int64) * operation.offset_gain
    step = 2**16 // len(slopes)

    def run(values: Values):
        q = values[input.name].astype(np.int64)
        row = (q + 2**15) // step
        values[output.name] = fixed_point.requantize_reduced(q * slopes[row] + offsets[row], multiplier, output.type)

    return run
