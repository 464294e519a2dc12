"""Division by the root of the sum of squares."""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.program.operations.operation import Operation, internal, read, written
from keras_s4.tflite.program.tensors import Tensor

# What is added to the root, whose int16 stand for positive numbers.
ROOT_OFFSET = 1 << 15


@dataclasses.dataclass(frozen=True, eq=False)
class Normalize(Operation):
    """Divides by the root of the sum of squares along the last axis, which may differ a thousandfold from step to step.

    ::

        energy = requantize_reduced(sum_h q_in[h]**2, s_in**2 / s_energy)                  int16, coarse and fine
        level  = requantize(coarse * coarse_gain[j] + fine * fine_gain[j], 1 / s_level) + zero_point_level  int8 [J]
        part   = table[256 * j + level[j] + 128]                                           int8 [J]
        root   = requantize_reduced(sum_j part[j] * weights[j] + bias, 1)                  int16 [1]
        q_out  = requantize(q_in * (root + 2**15), s_in * root_scale / s_out)

    `(root + 2**15) * root_scale` is the reciprocal root as a function of the energy, put together from J tables, each
    of which rises where the energy is in its own range and is constant elsewhere, as its level is clamped there. The
    ranges get finer by a factor of 4 as the energy sinks, so that the quotient is equally precise over all of them. The
    energy comes in two scales, the fine one clamped where the coarse one is in charge: 16 bits do not span its range.

    Args:
        input: int16 `[.., H]`.
        coarse: the energy, int16 `[.., 1]`.
        fine: the energy, with a scale that is a power of two finer.
        coarse_gain: int32 `[J]`, 0 where the fine energy is read.
        fine_gain: int32 `[J]`, 0 where the coarse energy is read.
        level: int8 `[.., J]`.
        table: int8 `[256 * J]`.
        part: int8 `[.., J]`.
        weights: int8 `[1, J]`.
        bias: int32 `[1]`.
        root: int16 `[.., 1]`.
        root_scale: real value of one unit of `root`.
        output: int8 or int16 `[.., H]`.
    """

    input: Tensor = read()
    coarse: Tensor = internal(rounded=True)
    fine: Tensor = internal(rounded=True)
    coarse_gain: Tensor = read()
    fine_gain: Tensor = read()
    level: Tensor = internal(rounded=True)
    table: Tensor = read()
    part: Tensor = internal()
    weights: Tensor = read()
    bias: Tensor = read()
    root: Tensor = internal(rounded=True)
    root_scale: float
    output: Tensor = written(rounded=True)

    def multiply_accumulates(self) -> int:
        """A square and a product for each value, and the weights of its tables."""
        return 2 * math.prod(self.output.shape) + self.rows * self.weights.data.size
