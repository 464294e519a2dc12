"""A bank of diagonal systems in tensors: convolution mode, recurrence, and the state that both share.

What `keras_s4.systems.DiagonalSystem` is in numpy, this is for layers that train.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss import kernels, masks
from keras_s4.dss.angles import SplitAngle
from keras_s4.dss.complex_pairs import ComplexPair
from keras_s4.dss.convolution import causal_convolution

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Modes:
    """`x <- p x + g u` and `y = Re sum_n w x + feedthrough u` in every channel.

    Args:
        log_poles: logarithms of the discrete poles p, `[H, N]`.
        gains: input gains g, `[H, N]`.
        weights: w, `[H, N]`.
        feedthrough: `[H]`.
        angles: of the poles, `[H, N]`, where they are known better than by their logarithms.
    """

    log_poles: ComplexPair
    gains: ComplexPair
    weights: ComplexPair
    feedthrough: Tensor
    angles: SplitAngle | None = None

    def kernel(self, length: int | Tensor) -> Tensor:
        """The impulse response, feedthrough included, `[H, length]`."""
        kernel = kernels.exponential_sum(self.log_poles, pairs.multiply(self.gains, self.weights), length, self.angles)
        # Here and not as a product of its own, whose gradient would be a sum over all samples of a batch.
        return ops.concatenate([kernel[:, :1] + self.feedthrough[:, None], kernel[:, 1:]], axis=1)

    def run(
        self, signal: Tensor, state: Tensor | None, mask: Tensor | None = None, return_state: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs `[B, L, H]` of `[B, L, H]` inputs, and the state after the last unmasked one `[B, H, N, 2]`.

        Args:
            signal: `[B, L, H]`, zero where it is masked.
            state: `[B, H, N, 2]` before the first step, or None for zero.
            mask: bool `[B, L]` or None; it says after which step the state is returned.
            return_state: whether it is; otherwise None stands for it.
        """
        return self.convolve(signal, state), self.state_after(signal, state, mask) if return_state else None

    def convolve(self, signal: Tensor, state: Tensor | None) -> Tensor:
        """Outputs for `[B, L, H]` inputs, from a state `[B, H, N, 2]` or from rest.

        With twice as many systems as inputs, those of the second half run backwards, from the input after the current
        one.
        """
        channels, length = signal.shape[2], signal.shape[1] or ops.shape(signal)[1]
        kernel = self.kernel(length)
        future_kernel = kernel[channels:] if kernel.shape[0] > channels else None
        outputs = causal_convolution(signal, kernel[:channels], future_kernel)
        if state is None:
            return outputs
        decayed = pairs.multiply(pairs.exp(self.log_poles), pairs.pair_of(state))
        ringing = kernels.exponential_sum(self.log_poles, pairs.multiply(decayed, self.weights), length, self.angles)
        return outputs + ops.transpose(ringing, (0, 2, 1))

    def state_after(self, signal: Tensor, state: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """The state after the last unmasked of `[B, L, H]` inputs, `[B, H, N, 2]`."""
        steps = ops.full((1,), signal.shape[1] or ops.shape(signal)[1], dtype="int32")
        if mask is not None:
            steps = masks.steps_to_the_last(mask)
            signal = masks.moved_to_the_end(signal, steps)
        after = pairs.multiply(self.gains, kernels.gathered_states(self.log_poles, signal, self.angles))
        if state is not None:
            decay = kernels.powers(self.log_poles, ops.cast(steps, signal.dtype), 0, self.angles)
            after = pairs.add(after, pairs.multiply(decay, pairs.pair_of(state)))
        return ops.stack(after, axis=-1)

    def step(self, sample: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs `[B, H]` and the next state `[B, H, N, 2]`."""
        decayed = pairs.multiply(pairs.exp(self.log_poles), pairs.pair_of(state))
        state = pairs.add(decayed, pairs.scale(self.gains, sample[:, :, None]))
        outputs = ops.sum(pairs.multiply(self.weights, state)[0], axis=-1) + self.feedthrough * sample
        return outputs, ops.stack(state, axis=-1)


def by_mode(time_steps: Tensor) -> Tensor:
    """Time steps of channels `[H]` as `[H, 1]`; those of modes `[H, N]` as they are."""
    return time_steps[:, None] if len(time_steps.shape) == 1 else time_steps
