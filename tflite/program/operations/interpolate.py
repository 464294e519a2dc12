"""Straight lines that stand for a function of one int16 value."""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Interpolate(Operation):
    """Any function of one int16 value as straight lines: each of R rows holds a slope and an offset.

    ::

        row   = floor((q_in + 2**15) / (2**16 / R))
        q_out = requantize_reduced(q_in * slope[row] + offset[row] * offset_gain, s_in * s_slope / s_out)

    Args:
        input: int16.
        slope: int8 `[R]`; R is a power of two, 2 to 512. The scales make the multiplier a power of two, so that it
            rounds exactly.
        offset: int16 `[R]`, at most 32,639 (two signed digits with a base of 256), of scale
            `s_in * s_slope * offset_gain`.
        offset_gain: a power of two, at most 64.
        output: int16, of the shape of the input.
    """

    input: Tensor = read()
    slope: Tensor = read()
    offset: Tensor = read()
    offset_gain: int
    output: Tensor = written(rounded=True)

    elementwise = True

    def multiply_accumulates(self) -> int:
        """A slope for each value."""
        return math.prod(self.output.shape)
