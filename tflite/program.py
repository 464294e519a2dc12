"""The integer program: what every back-end (emulator, .tflite, C) reads, and nothing else.

A program computes one step: it reads one sample and the states, and writes the outputs and the next states.
Every number that a back-end needs is in here. The arithmetic of each operation is written in its docstring with
`q` for stored integers; all of it is exact integer arithmetic, and a back-end that differs in one bit is wrong.

`requantize(q, multiplier)` is TensorFlow Lite's: multiplication by a real multiplier, stored as a 31-bit mantissa and a
power of two, rounded twice, then clamped to the range of the output's type. `requantize_reduced(q, multiplier)` has a
15-bit mantissa and rounds once: kernels that multiply int16 by int8 do so. Both are in `fixed_point.py`, with the
functions that give the multiplier of each operation: scales are rounded to float32 first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

TYPES = ("int8", "int16", "int32", "int64")


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a program: an activation, a state, or (when `data` is set) a constant.

    Args:
        name: unique in its program; names the Keras layer that it came from.
        shape: without a batch axis: `[H]` for activations, `[2, N, H]` (real and imaginary part) for DSS states.
        type: "int8", "int16", "int32" or "int64".
        scale: real value of one unit; an array `[H]` for weights quantised per channel.
        zero_point: the integer that stands for 0.0. Only int8 activations may have another than 0.
        data: the constant's integers, of this shape and type.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scale: float | np.ndarray = 1.0
    zero_point: int = 0
    data: np.ndarray | None = None

    def __post_init__(self):
        if self.type not in TYPES:
            raise ValueError(f"Tensor {self.name!r} has type {self.type!r}; expected one of {', '.join(TYPES)}.")
        if self.zero_point and self.type != "int8":
            raise ValueError(
                f"Tensor {self.name!r} is {self.type} with zero point {self.zero_point}; only int8 may have one."
            )
        if self.data is not None and (self.data.shape != self.shape or self.data.dtype != self.type):
            raise ValueError(
                f"Tensor {self.name!r} is declared {self.type}{list(self.shape)}, but its data is "
                f"{self.data.dtype}{list(self.data.shape)}."
            )
        if not np.all(np.isfinite(self.scale)) or np.any(np.asarray(self.scale) <= 0):
            raise ValueError(f"Tensor {self.name!r} has scale {self.scale}; expected finite positive numbers.")


@dataclasses.dataclass(frozen=True, eq=False)
class FullyConnected:
    """`q_out = requantize(accumulator, s_in * s_weights / s_out) + zero_point_out`: a dense layer.

    `accumulator = sum_i (q_in[i] - zero_point_in) * weights[o, i] + bias[o]`. `input` and `output` are both int8, or
    both int16 (then the accumulator has 64 bits and `requantize_reduced` rounds it); `weights` is int8 `[out, in]` with
    one scale; `bias` is int32 `[out]` with scale `s_in * s_weights`.
    """

    input: Tensor
    weights: Tensor
    bias: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """`q_out = requantize((q_in - zero_point_in) * gain + offset, accumulator_scale / s_out) + zero_point_out`.

    `gain` and `offset` are int32 `[H]`, one each channel; the lowering proves that the accumulator fits 32 bits for
    every input value.
    """

    input: Tensor
    gain: Tensor
    offset: Tensor
    accumulator_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class DiagonalStep:
    """One step of a DSS layer in delta form; the state is `[2, N, H]` (real part, imaginary part).

    ::

        h       = requantize(state, s_state / s_hidden)                      int16, s_hidden / s_state is 2**15
        y       = requantize_reduced(sum_{k, n} h[k, n, :] * readout[k, n, :], s_hidden * s_readout / s_partial)  int16
        q_out   = requantize(y * partial_gain + u * feedthrough, accumulator_scale / s_out) + zero_point_out
        next_re = state_re + input_gain_re * u + decay * h_re - rotation * h_im
        next_im = state_im + input_gain_im * u + decay * h_im + rotation * h_re

    The readout is taken from the *old* state (`readout` holds 2 Re(c pole), -2 Im(c pole); `feedthrough` holds
    d + 2 Re(c b)), which saves a rounding. `decay + i rotation` is `pole - 1` on a grid of 2**-15.

    Args:
        input: u, int16 `[H]`.
        state: the state before the step, int32 `[2, N, H]`.
        next_state: the state after the step, int32, same shape and scale.
        decay: int32 `[N, H]`, scale 2**-15.
        rotation: int32 `[N, H]`, scale 2**-15.
        input_gain: int32 `[2, N, H]`, scale `s_state / s_input`.
        hidden: the rounded state, int16 `[2, N, H]`.
        readout: int8 `[2, N, H]`, one scale a channel.
        partial: the readout's sum, int16 `[H]`.
        partial_gain: a power of two.
        feedthrough: int32 `[H]`, scale `accumulator_scale / s_input`.
        accumulator_scale: `s_partial / partial_gain`.
        output: int8 or int16 `[H]`.
    """

    input: Tensor
    state: Tensor
    next_state: Tensor
    decay: Tensor
    rotation: Tensor
    input_gain: Tensor
    hidden: Tensor
    readout: Tensor
    partial: Tensor
    partial_gain: int
    feedthrough: Tensor
    accumulator_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Lookup:
    """`q_out = table[q_in + 128]`: any function of one int8 value. `table` is int8 `[256]`."""

    input: Tensor
    table: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Multiply:
    """`q_out = (q_a - zero_point_a) * (q_b - zero_point_b)`, int32, exact; int8 inputs; the scale is their product."""

    a: Tensor
    b: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Add:
    """`q_out = requantize((q_a - zero_point_a) * gain_a + (q_b - zero_point_b) * gain_b, accumulator_scale / s_out)`.

    The gains are powers of two that bring both inputs (int8, int16 or int32) to `accumulator_scale`.
    """

    a: Tensor
    b: Tensor
    gain_a: int
    gain_b: int
    accumulator_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Accumulate:
    """`next_state = state + (q_in - zero_point_in)`: the running sum of pooling over time, int32 `[H]`."""

    input: Tensor
    state: Tensor
    next_state: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Requantize:
    """`q_out = requantize(q_in - zero_point_in, s_in / s_out) + zero_point_out`."""

    input: Tensor
    output: Tensor


Operation = FullyConnected | Affine | DiagonalStep | Lookup | Multiply | Add | Accumulate | Requantize


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """A tensor that lives from step to step: `after` of one step is `before` of the next. It starts at 0."""

    before: Tensor
    after: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """One step of a model in integers.

    Args:
        name: of the Keras model.
        inputs: what the sensor delivers each step.
        outputs: what is read each step.
        states: zeroed at the start and by a reset.
        operations: in the order in which they run.
        output_activation: "linear", or "softmax" where the model ends in one: it keeps the order of the classes, so a
            device is spared it, and the host applies it to the dequantised outputs.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...]
    operations: tuple[Operation, ...]
    output_activation: str = "linear"

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor once, in the order in which the operations name them."""
        seen: set[int] = set()
        for operation in self.operations:
            for field in dataclasses.fields(operation):
                value = getattr(operation, field.name)
                if isinstance(value, Tensor) and id(value) not in seen:
                    seen.add(id(value))
                    yield value

    def check(self) -> None:
        """Check what every back-end relies on: names, the order of operations, and equal ends of states.

        Raises:
            ValueError: when two tensors share a name, when something is read before it is written, or when the two ends
                of a state differ in shape, type, scale or zero point.
        """
        names: dict[str, Tensor] = {}
        for tensor in self.tensors():
            if names.setdefault(tensor.name, tensor) is not tensor:
                raise ValueError(
                    f"Two tensors of program {self.name!r} are named {tensor.name!r}; names must be unique."
                )
        known = {tensor.name for tensor in self.inputs} | {state.before.name for state in self.states}
        for operation in self.operations:
            for tensor in reads(operation):
                if tensor.data is None and tensor.name not in known:
                    kind = type(operation).__name__
                    raise ValueError(f"{kind} reads {tensor.name!r} before it is written; reorder the operations.")
            known |= {tensor.name for tensor in writes(operation)}
        for tensor in (*self.outputs, *(state.after for state in self.states)):
            if tensor.name not in known:
                raise ValueError(f"No operation of program {self.name!r} writes {tensor.name!r}.")
        for state in self.states:
            ends = [(end.shape, end.type, end.scale, end.zero_point) for end in (state.before, state.after)]
            if ends[0] != ends[1]:
                raise ValueError(f"State {state.before.name!r} starts a step as {ends[0]} and ends it as {ends[1]}.")


_WRITTEN = ("output", "next_state", "hidden", "partial")


def reads(operation: Operation) -> list[Tensor]:
    """The tensors that an operation reads, constants included."""
    fields = [field.name for field in dataclasses.fields(operation) if field.name not in _WRITTEN]
    return [value for name in fields if isinstance(value := getattr(operation, name), Tensor)]


def writes(operation: Operation) -> list[Tensor]:
    """The tensors that an operation writes."""
    return [getattr(operation, field.name) for field in dataclasses.fields(operation) if field.name in _WRITTEN]
