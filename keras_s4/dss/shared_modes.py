"""One bank of modes between several inputs and outputs, in tensors: all steps at once, or one.

What `keras_s4.modal_system.ModalSystem` is in numpy, this is for layers that train.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss import masks
from keras_s4.dss.complex_pairs import ComplexPair
from keras_s4.dss.modal_recurrence import states_of

Tensor = Any


@dataclasses.dataclass(frozen=True)
class SharedModes:
    """`x <- p x + V u` and `y = 2 Re(C x) + D u`.

    Args:
        log_poles: logarithms of the discrete poles p, `[N]`.
        inputs: V, `[N, I]`.
        outputs: C, `[O, N]`.
        feedthrough: D, `[O, I]`; `[O]` where each output has the input of its number alone; or None.
        future: `[O, N]`, by which outputs also read the same modes driven backwards, from the last input to the current
            one; None where they do not.
    """

    log_poles: ComplexPair
    inputs: ComplexPair
    outputs: ComplexPair
    feedthrough: Tensor | None
    future: ComplexPair | None = None

    def run(
        self, signal: Tensor, state: Tensor | None, mask: Tensor | None = None, return_state: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs `[B, L, O]` of `[B, L, I]` inputs, and the state after the last unmasked one `[B, N, 2]`.

        Args:
            signal: `[B, L, I]`, zero where it is masked.
            state: `[B, N, 2]` before the first step, or None for zero.
            mask: bool `[B, L]` or None; it says after which step the state is returned.
            return_state: whether it is; otherwise None stands for it.
        """
        states = self._states(signal, state)
        outputs = _read(self.outputs, states)
        if self.future is not None:
            backwards = self._states(ops.flip(signal, axis=1), None)
            outputs = outputs + ops.flip(_read(self.future, backwards), axis=1)
        last = self._last(states, state, mask) if return_state else None
        return self._with_feedthrough(outputs, signal), last

    def step(self, sample: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs `[B, O]` and the next state `[B, N, 2]`."""
        decayed = pairs.multiply(pairs.exp(self.log_poles), pairs.pair_of(state))
        driven = tuple(ops.matmul(sample, ops.transpose(part)) for part in self.inputs)
        real, imaginary = pairs.add(decayed, driven)
        outputs = 2.0 * (
            ops.matmul(real, ops.transpose(self.outputs[0])) - ops.matmul(imaginary, ops.transpose(self.outputs[1]))
        )
        return self._with_feedthrough(outputs, sample), ops.stack([real, imaginary], axis=-1)

    def _states(self, signal: Tensor, state: Tensor | None) -> Tensor:
        """The states after every step, `[B, L, N, 2]`."""
        modes, inputs = self.inputs[0].shape
        matrix = ops.reshape(ops.transpose(ops.stack(self.inputs, axis=1), (2, 0, 1)), (inputs, 2 * modes))
        batch, length = ops.shape(signal)[0], signal.shape[1] or ops.shape(signal)[1]
        driven = ops.reshape(ops.matmul(signal, matrix), (batch, length, modes, 2))
        if state is not None:
            decayed = ops.stack(pairs.multiply(pairs.exp(self.log_poles), pairs.pair_of(state)), axis=-1)
            driven = ops.concatenate([driven[:, :1] + decayed[:, None], driven[:, 1:]], axis=1)
        return states_of(self.log_poles, driven)

    def _with_feedthrough(self, outputs: Tensor, signal: Tensor) -> Tensor:
        if self.feedthrough is None:
            return outputs
        if len(self.feedthrough.shape) == 1:
            return outputs + self.feedthrough * signal
        return outputs + ops.matmul(signal, ops.transpose(self.feedthrough))

    @staticmethod
    def _last(states: Tensor, before: Tensor | None, mask: Tensor | None) -> Tensor:
        """Of the states after every step `[B, L, N, 2]` that after the last unmasked one, `[B, N, 2]`."""
        if mask is None:
            return states[:, -1]
        steps = masks.steps_to_the_last(mask)
        batch, _, modes, parts = ops.shape(states)
        index = ops.broadcast_to(ops.maximum(steps - 1, 0)[:, None, None, None], (batch, 1, modes, parts))
        last = ops.take_along_axis(states, index, axis=1)[:, 0]
        if before is None:
            before = ops.zeros_like(last)
        return ops.where(steps[:, None, None] > 0, last, before)


def _read(weights: ComplexPair, states: Tensor) -> Tensor:
    """`2 Re(C x)`, `[B, L, O]`, of weights `[O, N]` and states `[B, L, N, 2]`."""
    outputs, modes = weights[0].shape
    matrix = ops.stack([2.0 * weights[0], -2.0 * weights[1]], axis=2)
    matrix = ops.transpose(ops.reshape(matrix, (outputs, 2 * modes)))
    batch, length = ops.shape(states)[0], states.shape[1] or ops.shape(states)[1]
    return ops.matmul(ops.reshape(states, (batch, length, 2 * modes)), matrix)
