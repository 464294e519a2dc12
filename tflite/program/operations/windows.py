"""The inputs of the last few steps, and what is computed from them channel by channel."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Window(Operation):
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
        next_state: the state after the step, of the same shape.
        dilation: steps from one input that is read to the next.
        output: `[K * H]`, the latest input last, or `[R / stride, K * H]`.
        stride: inputs from one output to the next.
        offset: number of the block's input that its first output reads last.
    """

    input: Tensor = read()
    state: Tensor | None = read()
    next_state: Tensor | None = written()
    dilation: int
    output: Tensor = written()
    stride: int = 1
    offset: int = 0

    holds_state = True

    def positions(self) -> np.ndarray:
        """Which inputs each output reads, `[R / stride, K]`, counted from the first of the state."""
        channels = self.input.shape[-1]
        taps = np.arange(1 - self.output.shape[-1] // channels, 1) * self.dilation
        outputs = np.arange(self.rows) * self.stride
        kept = 0 if self.state is None else self.state.shape[0] // channels
        return kept + self.offset + outputs[:, None] + taps


@dataclasses.dataclass(frozen=True, eq=False)
class DepthwiseProduct(Operation):
    """Each channel's inputs of a window times weights of its own.

    `q_out[c] = requantize_reduced(sum_k q_in[k * H + c // m] * weights[k, c] + bias[c], s_in * s_weights[c] / s_out)`.
    `input` is int16 `[.., K * H]` from a `Window`; `weights` is int8 `[K, H * m]`, one scale a column; `bias` is int32
    `[H * m]` with scale `s_in * s_weights`; `output` is int16 `[.., H * m]`.
    """

    input: Tensor = read()
    weights: Tensor = read()
    bias: Tensor = read()
    output: Tensor = written(rounded=True)

    def multiply_accumulates(self) -> int:
        """A product for each weight, in each row."""
        return self.rows * self.weights.data.size


@dataclasses.dataclass(frozen=True, eq=False)
class WindowMaximum(Operation):
    """`q_out[h] = max_k q_in[k * H + h]`: `input` is `[.., K * H]` from a `Window`, int8 or int16, as is `output`."""

    input: Tensor = read()
    output: Tensor = written()
