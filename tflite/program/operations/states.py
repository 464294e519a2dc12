"""Steps of diagonal state spaces in delta form, and running sums."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_s4.tflite.program.operations.operation import Operation, internal, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class DiagonalStep(Operation):
    """One step of a DSS layer in delta form; the state is `[2, N, H]` (real part, imaginary part).

    In a block of R steps `input`, `hidden`, `partial` and `output` have a leading axis of R, and the steps follow each
    other: `state` is the one before the first of them, `next_state` the one after the last.

    ::

        h       = requantize(state, s_state / s_hidden)                      int16, s_hidden / s_state is 2**15
        y       = requantize_reduced(sum_{k, n} h[k, n, :] * readout[k, n, :], s_hidden * s_readout / s_partial)  int16
        q_out   = requantize(y * partial_gain + u * feedthrough, accumulator_scale / s_out) + zero_point_out
        next_re = clamp(state_re + input_gain_re * u + decay * h_re - rotation * h_im)
        next_im = clamp(state_im + input_gain_im * u + decay * h_im + rotation * h_re)

    A mode whose `feedback` is true has besides, before it is clamped, what rounding took from it, so that it does not
    ring on when its input has ended::

        r        = saturated(state - 2**15 * h)                                   int16
        next_re += 2 * requantize((decay >> 1) * r_re - (rotation >> 1) * r_im, 2**-15)
        next_im += 2 * requantize((decay >> 1) * r_im + (rotation >> 1) * r_re, 2**-15)

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
        feedback: of which modes rounding errors are fed back, bool `[N, H]`, and then `limit` is not 0; None for none.
    """

    input: Tensor = read()
    state: Tensor = read()
    next_state: Tensor = written()
    decay: Tensor = read()
    rotation: Tensor = read()
    input_gain: Tensor = read()
    hidden: Tensor = internal(rounded=True)
    readout: Tensor = read()
    partial: Tensor = internal(rounded=True)
    partial_gain: int
    feedthrough: Tensor = read()
    accumulator_scale: float
    output: Tensor = written(rounded=True)
    limit: int = 0
    feedback: np.ndarray | None = None

    holds_state = True

    def check(self) -> None:
        """Refuse feedback of errors that may have more than 16 bits.

        Raises:
            ValueError: there is no limit, or the hidden state has other units than 2**15 of the state's.
        """
        _check_feedback(self, self.feedback is not None)

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """What errors are fed back by: half of `decay` and of `rotation`, rounded down, 0 of other modes; int32."""
        return _halves(self, np.zeros(self.decay.shape, bool) if self.feedback is None else self.feedback)

    def multiply_accumulates(self) -> int:
        """A mode costs eight: four for the pole, two for the input, two for the readout."""
        return self.rows * (8 * self.decay.data.size + self.feedthrough.data.size)


@dataclasses.dataclass(frozen=True, eq=False)
class ModalStep(Operation):
    """One step of a bank of modes in delta form, each with a drive of its own; the state is `[2, N]` (real, imaginary).

    What reads several inputs into the modes, and what is read out of them, are products with matrices before and behind
    it. In a block of R steps `input` and `output` have a leading axis of R, and the steps follow each other: `state` is
    the one before the first of them, `next_state` the one after the last.

    ::

        h       = requantize(state, s_state / s_output)                      int16, s_output / s_state is 2**15
        next_re = clamp(state_re + input_gain_re * u_re + decay * h_re - rotation * h_im)
        next_im = clamp(state_im + input_gain_im * u_im + decay * h_im + rotation * h_re)
        q_out   = requantize(next, s_state / s_output)                       [re, im]

    The last `feedback` modes have besides, before they are clamped, what rounding took from them, so that they do not
    ring on when their input has ended::

        r        = saturated(state - 2**15 * h)                                   int16
        next_re += 2 * requantize((decay >> 1) * r_re - (rotation >> 1) * r_im, 2**-15)
        next_im += 2 * requantize((decay >> 1) * r_im + (rotation >> 1) * r_re, 2**-15)

    `decay + i rotation` is `pole - 1` on a grid of 2**-15.

    Args:
        input: u, real parts and then imaginary parts, int16 `[2 * N]`.
        state: the state before the step, int32 `[2, N]`.
        next_state: the state after the step, int32, same shape and scale.
        decay: int32 `[N]`, scale 2**-15.
        rotation: int32 `[N]`, scale 2**-15.
        input_gain: int32 `[2, N]`, scale `s_state / s_input`.
        hidden: the rounded state before the step, int16 `[2, N]`, of the output's scale.
        output: the rounded state after the step, real parts and then imaginary parts, int16 `[2 * N]`.
        limit: `clamp` keeps the next state from `-limit` to `limit - 1`; 0 where no input can bring it there, and
            nothing is clamped. At a `limit` of `s_output / s_state * 2**15`, where h saturates too, the sums before it
            stay below 1.5 times the limit and the input's term: a stable pole turns the state, but does not stretch it.
        feedback: of how many of the last modes rounding errors are fed back, and then `limit` is not 0.
    """

    input: Tensor = read()
    state: Tensor = read()
    next_state: Tensor = written()
    decay: Tensor = read()
    rotation: Tensor = read()
    input_gain: Tensor = read()
    hidden: Tensor = internal()
    output: Tensor = written(rounded=True)
    limit: int = 0
    feedback: int = 0

    holds_state = True

    def check(self) -> None:
        """Refuse feedback of errors that may have more than 16 bits, or of more modes than there are.

        Raises:
            ValueError: there is no limit, the hidden state has other units than 2**15 of the state's, or `feedback` is
                no number of modes.
        """
        if not 0 <= self.feedback <= self.decay.shape[0]:
            raise ValueError(
                f"{self.next_state.name!r} feeds the errors of {self.feedback} modes back, and has "
                f"{self.decay.shape[0]}; give a number of modes, 0 for none."
            )
        _check_feedback(self, self.feedback > 0)

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """What errors are fed back by: half of `decay` and of `rotation`, rounded down, 0 of other modes; int32."""
        modes = self.decay.shape[0]
        return _halves(self, np.arange(modes) >= modes - self.feedback)

    def multiply_accumulates(self) -> int:
        """A mode costs six: four for the pole, two for the input."""
        return self.rows * 6 * self.decay.data.size


@dataclasses.dataclass(frozen=True, eq=False)
class Accumulate(Operation):
    """`next_state = clamp(state + (q_in - zero_point_in))`: the running sum of pooling over time, int32 `[H]`.

    `clamp` keeps it from `-limit` to `limit - 1`, so that a stream that nobody resets stays there, and never wraps: the
    limit leaves room in 32 bits for what a step adds. Of a block, `input` is `[R, H]`, and all its rows are added
    before the sum is clamped.
    """

    input: Tensor = read()
    state: Tensor = read()
    next_state: Tensor = written()
    limit: int

    holds_state = True

    def check(self) -> None:
        """Refuse a limit behind which a block of full scale may wrap.

        Raises:
            ValueError: it may.
        """
        # What is gated in int32 has values of 16 bits.
        largest = 2**8 if self.input.type == "int8" else 2**15
        added = largest * math.prod(self.input.shape) // math.prod(self.next_state.shape)
        if self.limit + added > 2**31:
            raise ValueError(
                f"{self.next_state.name!r} is limited to {self.limit:,}, and a run adds up to {added:,}, which may "
                "leave 32 bits; use shorter windows, or blocks of fewer steps."
            )


def _check_feedback(step: DiagonalStep | ModalStep, feeds: bool) -> None:
    """Refuse feedback of errors that may have more than 16 bits.

    Raises:
        ValueError: there is some without a limit, or with a hidden state of other units than 2**15 of the state's.
    """
    if feeds and not (step.limit and step.hidden.scale == 2**15 * step.state.scale):
        raise ValueError(
            f"{step.next_state.name!r} feeds rounding errors back, at a limit of {step.limit} and with a hidden "
            f"state of {step.hidden.scale / step.state.scale:g} of its units; that wants a limit, and 2**15 units."
        )


def _halves(step: DiagonalStep | ModalStep, fed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of `decay` and of `rotation`, rounded down, of the modes that are fed back; 0 of others."""
    return tuple(np.where(fed, tensor.data.astype(np.int32) >> 1, 0) for tensor in (step.decay, step.rotation))
