"""Operations that move values and change none."""

from __future__ import annotations

import dataclasses

from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenate(Operation):
    """`q_out = [q_0, q_1, ...]` along the last axis; all have one type, scale and zero point."""

    inputs: tuple[Tensor, ...] = read()
    output: Tensor = written()

    moves_values = True


@dataclasses.dataclass(frozen=True, eq=False)
class Slice(Operation):
    """`q_out = q_in[start : start + H_out]` along the last axis: same type, scale and zero point."""

    input: Tensor = read()
    start: int
    output: Tensor = written()

    moves_values = True


@dataclasses.dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """`q_out = q_in` in another shape: same type, scale, zero point and order of elements."""

    input: Tensor = read()
    output: Tensor = written()

    moves_values = True


@dataclasses.dataclass(frozen=True, eq=False)
class Embed(Operation):
    """`q_out = table[q_in]`: a row of a table.

    `input` is int32 `[.., 1]`, the row's number; `table` is int8 `[V, H]` with the scale of `output`, int8 `[.., H]`.
    A number outside 0 .. V - 1 is an error: TensorFlow Lite Micro's GATHER refuses it, and `Invoke()` fails.
    """

    input: Tensor = read()
    table: Tensor = read()
    output: Tensor = written()
