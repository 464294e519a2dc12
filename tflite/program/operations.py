"""The operations of an integer program, each with its exact arithmetic, in which `q` stands for stored integers.

`requantize(q, multiplier)` is TensorFlow Lite's: multiplication by a real multiplier, stored as a 31-bit mantissa and a
power of two, rounded twice, then clamped to the range of the output's type. `requantize_reduced(q, multiplier)` has a
15-bit mantissa and rounds once: kernels that multiply int16 by int8 do so. Both are in `fixed_point.py`, with the
functions that give the multiplier of each operation: scales are rounded to float32 first.
"""

from __future__ import annotations

import dataclasses

from keras_s4.tflite.program.tensors import Tensor


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
    every input value. `input` is int8, int16 or int32. An int32 `output` has `accumulator_scale`.
    """

    input: Tensor
    gain: Tensor
    offset: Tensor
    accumulator_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class DiagonalStep:
    """One step of a DSS layer in delta form; the state is `[2, N, H]` (real part, imaginary part).

    In a block of R steps `input`, `hidden`, `partial` and `output` have a leading axis of R, and the steps follow each
    other: `state` is the one before the first of them, `next_state` the one after the last.

    ::

        h       = requantize(state, s_state / s_hidden)                      int16, s_hidden / s_state is 2**15
        y       = requantize_reduced(sum_{k, n} h[k, n, :] * readout[k, n, :], s_hidden * s_readout / s_partial)  int16
        q_out   = requantize(y * partial_gain + u * feedthrough, accumulator_scale / s_out) + zero_point_out
        next_re = clamp(state_re + input_gain_re * u + decay * h_re - rotation * h_im)
        next_im = clamp(state_im + input_gain_im * u + decay * h_im + rotation * h_re)

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
        limit: `clamp` keeps the next state from `-limit` to `limit - 1`; 0 where no input can bring it there, and
            nothing is clamped. At a `limit` of `s_hidden / s_state * 2**15`, where h saturates too, the sums before it
            stay below 1.5 times the limit and the input's term: a stable pole turns the state, but does not stretch it.
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
    limit: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Lookup:
    """`q_out = table[q_in + 128]`: any function of one int8 value. `table` is int8 `[256]`."""

    input: Tensor
    table: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Squash:
    """`q_out = sigmoid(q_in)` or `tanh(q_in)`: a table, interpolated, as `sigmoid_int16` and `tanh_int16` compute it.

    Both functions are in `sigmoid.py`. `function` is "sigmoid" or "tanh". `input` is int16 of scale 2**-12 or 2**-11;
    `output` is int16 of scale 2**-15.
    """

    function: str
    input: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Interpolate:
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

    input: Tensor
    slope: Tensor
    offset: Tensor
    offset_gain: int
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Embed:
    """`q_out = table[q_in]`: a row of a table.

    `input` is int32 `[.., 1]`, the row's number; `table` is int8 `[V, H]` with the scale of `output`, int8 `[.., H]`.
    A number outside 0 .. V - 1 is an error: TensorFlow Lite Micro's GATHER refuses it, and `Invoke()` fails.
    """

    input: Tensor
    table: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Multiply:
    """`q_out = (q_a - zero_point_a) * (q_b - zero_point_b)`, int32, exact; the scale is the product of the inputs'.

    The inputs are int8 or int16; of an int32 input the lowering proves that the product fits 32 bits (a gate whose
    values are 0 and 1, a difference of int16 values). They have equally many axes, and where one has size 1 its value
    serves for the whole axis of the other.
    """

    a: Tensor
    b: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Add:
    """`q_out = requantize((q_a - zero_point_a) * gain_a + (q_b - zero_point_b) * gain_b, accumulator_scale / s_out)`.

    The gains are whole numbers, powers of two where the scales allow it, that bring both inputs (int8, int16 or int32)
    to `accumulator_scale`; a negative one subtracts. The inputs have equally many axes, and where one has size 1 its
    value serves for the whole axis of the other. An int32 `output` has `accumulator_scale`.
    """

    a: Tensor
    b: Tensor
    gain_a: int
    gain_b: int
    accumulator_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Maximum:
    """`q_out = max(q_a - zero_point_a, q_b - zero_point_b)`, int32; all have one scale.

    `b` may be a constant, and then have fewer axes. Otherwise axes are as those of `Multiply`.
    """

    a: Tensor
    b: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum:
    """`q_out = min(q_a - zero_point_a, q_b - zero_point_b)`, int32; all have one scale.

    `b` may be a constant, and then have fewer axes. Otherwise axes are as those of `Multiply`.
    """

    a: Tensor
    b: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenate:
    """`q_out = [q_0, q_1, ...]` along the last axis; all have one type, scale and zero point."""

    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """`q_out = q_in[start : start + H_out]` along the last axis: same type, scale and zero point."""

    input: Tensor
    start: int
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Reshape:
    """`q_out = q_in` in another shape: same type, scale, zero point and order of elements."""

    input: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """The inputs of a few steps, which a convolution or a pooling over time reads.

    ::

        window     = [state, q_in]          the last inputs, oldest first
        q_out      = every `dilation`-th input of window: [K * H]
        next_state = window without its oldest input

    All tensors have one type (int8 or int16) and scale, and no zero point: zeros stand for what came before the first
    step. The state holds the last inputs one after the other in one axis. A back-end may keep it as a ring.

    In a block of R inputs there are R / stride outputs: the last input that output r reads is number
    `r * stride + offset` of the block.

    Args:
        input: `[H]`, or `[R, H]`.
        state: `[(K - 1) * dilation * H]`, or less where the first output of a block reads as much from the block; None
            where it reads nothing else.
        next_state: the same.
        dilation: steps from one input that is read to the next.
        output: `[K * H]`, the latest input last, or `[R / stride, K * H]`.
        stride: inputs from one output to the next.
        offset: see above.
    """

    input: Tensor
    state: Tensor | None
    next_state: Tensor | None
    dilation: int
    output: Tensor
    stride: int = 1
    offset: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class DepthwiseProduct:
    """Each channel's inputs of a window times weights of its own.

    `q_out[c] = requantize_reduced(sum_k q_in[k * H + c // m] * weights[k, c] + bias[c], s_in * s_weights[c] / s_out)`.
    `input` is int16 `[.., K * H]` from a `Window`; `weights` is int8 `[K, H * m]`, one scale a column; `bias` is int32
    `[H * m]` with scale `s_in * s_weights`; `output` is int16 `[.., H * m]`.
    """

    input: Tensor
    weights: Tensor
    bias: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class WindowMaximum:
    """`q_out[h] = max_k q_in[k * H + h]`: `input` is `[.., K * H]` from a `Window`, int8 or int16, as is `output`."""

    input: Tensor
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Normalize:
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

    input: Tensor
    coarse: Tensor
    fine: Tensor
    coarse_gain: Tensor
    fine_gain: Tensor
    level: Tensor
    table: Tensor
    part: Tensor
    weights: Tensor
    bias: Tensor
    root: Tensor
    root_scale: float
    output: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Accumulate:
    """`next_state = state + (q_in - zero_point_in)`: the running sum of pooling over time, int32 `[H]`.

    Of a block, `input` is `[R, H]`, and all its rows are added.
    """

    input: Tensor
    state: Tensor
    next_state: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Requantize:
    """`q_out = requantize(q_in - zero_point_in, s_in / s_out) + zero_point_out`."""

    input: Tensor
    output: Tensor


Operation = (
    FullyConnected
    | Affine
    | DiagonalStep
    | Lookup
    | Squash
    | Interpolate
    | Embed
    | Multiply
    | Add
    | Maximum
    | Minimum
    | Concatenate
    | Slice
    | Reshape
    | Window
    | DepthwiseProduct
    | WindowMaximum
    | Normalize
    | Accumulate
    | Requantize
)

_WRITTEN = ("output", "next_state", "hidden", "partial", "coarse", "fine", "level", "part", "root")


def tensors_of(value) -> list[Tensor]:
    """The tensors in a field of an operation: one, a tuple of them, or none."""
    values = value if isinstance(value, tuple) else (value,)
    return [tensor for tensor in values if isinstance(tensor, Tensor)]


def reads(operation: Operation) -> list[Tensor]:
    """The tensors that an operation reads, constants included."""
    fields = [field.name for field in dataclasses.fields(operation) if field.name not in _WRITTEN]
    return [tensor for name in fields for tensor in tensors_of(getattr(operation, name))]


def writes(operation: Operation) -> list[Tensor]:
    """The tensors that an operation writes."""
    fields = [field.name for field in dataclasses.fields(operation) if field.name in _WRITTEN]
    return [tensor for name in fields for tensor in tensors_of(getattr(operation, name))]
