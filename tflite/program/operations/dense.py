"""Products with a matrix."""

from __future__ import annotations

import dataclasses

from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class FullyConnected(Operation):
    """`q_out = requantize(accumulator, s_in * s_weights / s_out) + zero_point_out`: a dense layer.

    `accumulator = sum_i (q_in[i] - zero_point_in) * weights[o, i] + bias[o]`. `input` and `output` are both int8, or
    both int16 (then the accumulator has 64 bits and `requantize_reduced` rounds it); `weights` is int8 `[out, in]` with
    one scale, or int4 where `input` is int8; `bias` is int32 `[out]` with scale `s_in * s_weights`.
    """

    input: Tensor = read()
    weights: Tensor = read()
    bias: Tensor = read()
    output: Tensor = written(rounded=True)

    def multiply_accumulates(self) -> int:
        """A product for each weight, in each row."""
        return self.rows * self.weights.data.size
