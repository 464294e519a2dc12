"""Functions of one int16 value as straight lines."""

from __future__ import annotations

import math

from keras_s4.tflite.c99.expressions import mantissa_and_shift
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Interpolate


def _does(operation: Interpolate) -> str:
    return f"a function as {operation.slope.data.size} straight lines"


@translates(Interpolate, does=_does)
def translate_interpolate(operation: Interpolate, source: Translation) -> None:
    x, slope, output = operation.input, operation.slope, operation.output
    mantissa, shift = mantissa_and_shift(fixed_point.product_multiplier(slope.scale, x.scale, output.scale))
    lines = source.constants.struct(
        "s4_lines",
        output.name,
        slope=source.pointer(slope),
        offset=source.pointer(operation.offset),
        offset_gain=operation.offset_gain,
        mantissa=mantissa,
        shift=f"{shift}U",
        row_shift=f"{16 - (slope.data.size.bit_length() - 1)}U",
    )
    ends = source.pointer(x), source.pointer(output)
    source.call("gates", "s4_interpolate", lines, *ends, f"{math.prod(output.shape)}U")
