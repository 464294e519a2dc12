"""Operations on each element: tables, gains, products, sums, the larger and the smaller, other scales."""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


class Joining(Operation):
    """An operation on two tensors, `a` and `b`, element by element; where one has size 1 its value serves for all."""

    elementwise = True

    def check(self) -> None:
        """Refuse different numbers of axes: readers put a batch, or the steps of a block, in front.

        Raises:
            ValueError: when `b` has other axes, and is no constant with fewer.
        """
        a, b = self.a, self.b
        if len(b.shape) > len(a.shape) or (len(b.shape) < len(a.shape) and b.data is None):
            raise ValueError(
                f"{type(self).__name__} joins {a.name!r} of shape {list(a.shape)} and {b.name!r} of shape "
                f"{list(b.shape)}; give them equally many axes with a Reshape."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Affine(Operation):
    """`q_out = requantize((q_in - zero_point_in) * gain + offset, accumulator_scale / s_out) + zero_point_out`.

    `gain` and `offset` are int32 `[H]`, one each channel; the lowering proves that the accumulator fits 32 bits for
    every input value. `input` is int8, int16 or int32. An int32 `output` has `accumulator_scale`.
    """

    input: Tensor = read()
    gain: Tensor = read()
    offset: Tensor = read()
    accumulator_scale: float
    output: Tensor = written(rounded=True)

    elementwise = True

    def multiply_accumulates(self) -> int:
        """A gain for each value."""
        return math.prod(self.output.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Lookup(Operation):
    """`q_out = table[q_in + 128]`: any function of one int8 value. `table` is int8 `[256]`."""

    input: Tensor = read()
    table: Tensor = read()
    output: Tensor = written()

    elementwise = True


@dataclasses.dataclass(frozen=True, eq=False)
class Squash(Operation):
    """`q_out = sigmoid(q_in)` or `tanh(q_in)`: a table, interpolated, as `sigmoid_int16` and `tanh_int16` compute it.

    Both functions are in `sigmoid.py`. `function` is "sigmoid" or "tanh". `input` is int16 of scale 2**-12 or 2**-11;
    `output` is int16 of scale 2**-15.
    """

    function: str
    input: Tensor = read()
    output: Tensor = written(rounded=True)

    elementwise = True


@dataclasses.dataclass(frozen=True, eq=False)
class Multiply(Joining):
    """`q_out = (q_a - zero_point_a) * (q_b - zero_point_b)`, int32, exact; the scale is the product of the inputs'.

    The inputs are int8 or int16; of an int32 input the lowering proves that the product fits 32 bits (a gate whose
    values are 0 and 1, a difference of int16 values). They have equally many axes, and where one has size 1 its value
    serves for the whole axis of the other.
    """

    a: Tensor = read()
    b: Tensor = read()
    output: Tensor = written()

    def multiply_accumulates(self) -> int:
        """A product for each value."""
        return math.prod(self.output.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Add(Joining):
    """`q_out = requantize((q_a - zero_point_a) * gain_a + (q_b - zero_point_b) * gain_b, accumulator_scale / s_out)`.

    The gains are whole numbers, powers of two where the scales allow it, that bring both inputs (int8, int16 or int32)
    to `accumulator_scale`; a negative one subtracts. The inputs have equally many axes, and where one has size 1 its
    value serves for the whole axis of the other. An int32 `output` has `accumulator_scale`.
    """

    a: Tensor = read()
    b: Tensor = read()
    gain_a: int
    gain_b: int
    accumulator_scale: float
    output: Tensor = written(rounded=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Maximum(Joining):
    """`q_out = max(q_a - zero_point_a, q_b - zero_point_b)`, int32; all have one scale.

    `b` may be a constant, and then have fewer axes. Otherwise axes are as those of `Multiply`.
    """

    a: Tensor = read()
    b: Tensor = read()
    output: Tensor = written()


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum(Joining):
    """`q_out = min(q_a - zero_point_a, q_b - zero_point_b)`, int32; all have one scale.

    `b` may be a constant, and then have fewer axes. Otherwise axes are as those of `Multiply`.
    """

    a: Tensor = read()
    b: Tensor = read()
    output: Tensor = written()


@dataclasses.dataclass(frozen=True, eq=False)
class Requantize(Operation):
    """`q_out = requantize(q_in - zero_point_in, s_in / s_out) + zero_point_out`."""

    input: Tensor = read()
    output: Tensor = written(rounded=True)

    elementwise = True

    @property
    def is_copy(self) -> bool:
        """Whether the integers stay as they are."""
        x, output = self.input, self.output
        same = (x.type, x.zero_point) == (output.type, output.zero_point)
        return same and fixed_point.rescale_multiplier(x.scale, output.scale) == fixed_point.UNIT
