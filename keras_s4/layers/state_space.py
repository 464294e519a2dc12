"""What layers of diagonal state spaces have in common: how they are called, their states, and their configuration."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_s4.backends import without_autograph
from keras_s4.dss import masks
from keras_s4.dss.modes import Modes
from keras_s4.dss.shared_modes import SharedModes
from keras_s4.errors import LayerError
from keras_s4.layers import dss_checks
from keras_s4.layers.carried_state import reset_carried_state
from keras_s4.precision import at_least_single


class StateSpaceLayer(keras.layers.Layer):
    """A linear system whose poles are stable whatever its weights: `DSS` and `DiagonalSSM`.

    A subclass has weights, the groups in which they can be frozen, and `modes`, the discretised system in tensors.

    Args:
        state_size: N, complex modes.
        discretization: "zoh" or "bilinear".
        bidirectional: outputs depend on inputs to come, too.
        rate: training steps that one step spans.
        return_state: `call` returns the outputs and the state after the last (unmasked) step.
        stateful: each batch goes on from the state that the batch before it left.
        frozen: names of the groups that are not trained.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(
        self,
        *,
        state_size: int,
        discretization: str,
        bidirectional: bool,
        rate: float,
        return_state: bool,
        stateful: bool,
        frozen: Sequence[str],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.state_size = state_size
        self.discretization = discretization
        self.bidirectional = bidirectional
        self.rate = rate
        self.return_state = return_state
        self.stateful = stateful
        self.frozen = dss_checks.read_frozen(self, frozen, self.GROUPS)

    @property
    def state_dtype(self) -> str:
        """Type of weights and states, whatever the policy: half precision would lose the memory of slow modes."""
        return at_least_single(self.variable_dtype)

    @abc.abstractmethod
    def modes(self) -> Modes | SharedModes:
        """The discretised layer in tensors, as it is trained; `system` is its frozen value."""

    def call(self, inputs, initial_state=None, mask=None):
        """All steps at once.

        Args:
            inputs: `[B, L, H]`.
            initial_state: before the first step, as `initial_state` gives it; by default zero, or what `stateful`
                carries.
            mask: bool `[B, L]`. Masked inputs count as zeros; behind the last unmasked step no time passes, so that the
                returned state is the one after it.

        Returns:
            The outputs, a step for each of the inputs; with `return_state` also the state.
        """
        dss_checks.check_length(self, inputs.shape)
        if initial_state is not None:
            self.check_causal("start from a state")
        if initial_state is None and self.stateful:
            initial_state = self.carried_state
        signal = ops.cast(inputs, self.state_dtype)
        if mask is not None:
            signal = masks.zeroed(signal, mask)
        outputs, state = self._run(signal, initial_state, mask, self.return_state or self.stateful)
        if self.stateful:
            self.carried_state.assign(state)
        return (outputs, state) if self.return_state else outputs

    @without_autograph
    def chunk(self, inputs, state):
        """A piece of a stream: any split into pieces gives the outputs of the whole.

        Args:
            inputs: `[B, T, H]`, the next T samples of each stream.
            state: from `initial_state`, `step` or the last piece.

        Returns:
            outputs of T steps, and the state after the piece.
        """
        self.check_causal("run piece by piece")
        dss_checks.check_length(self, inputs.shape)
        return self._run(ops.cast(inputs, self.state_dtype), state, mask=None, return_state=True)

    @without_autograph
    def step(self, inputs, state):
        """One step of the recurrence.

        Args:
            inputs: `[B, H]`, one sample of each stream.
            state: from `initial_state` or the last step.

        Returns:
            outputs of the step, and the next state.
        """
        self.check_causal("run step by step")
        outputs, state = self.modes().step(ops.cast(inputs, self.state_dtype), ops.cast(state, self.state_dtype))
        return ops.cast(outputs, self.compute_dtype), state

    def initial_state(self, batch: int):
        """The zero state of `batch` streams."""
        self.check_causal("hold a state")
        return ops.zeros((batch, *self._state_shape(self.channels)), dtype=self.state_dtype)

    def reset_state(self) -> None:
        """Sets the carried state of a stateful layer to zero.

        Raises:
            ValueError: the layer is not stateful, or not built.
        """
        reset_carried_state(self)

    def check_causal(self, purpose: str) -> None:
        """Refuses what needs a causal layer.

        Raises:
            ValueError: the layer is bidirectional.
        """
        if self.bidirectional:
            raise LayerError(
                f"{type(self).__name__} {self.name!r} is bidirectional: its output depends on future inputs, so it "
                f"cannot {purpose}. Train the model with bidirectional=False."
            )

    def compute_mask(self, inputs, mask=None):
        """The input's mask; the state has none."""
        return (mask, None) if self.return_state else mask

    def compute_output_shape(self, inputs_shape, initial_state_shape=None):
        """The input's shape with the outputs as its last axis; with `return_state` also the state's."""
        inputs = inputs_shape[-1]
        outputs = (*inputs_shape[:-1], self._output_size(inputs))
        return (outputs, (inputs_shape[0], *self._state_shape(inputs))) if self.return_state else outputs

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "state_size": self.state_size,
            "discretization": self.discretization,
            "bidirectional": self.bidirectional,
            "rate": self.rate,
            "return_state": self.return_state,
            "stateful": self.stateful,
            "frozen": list(self.frozen),
        }

    @abc.abstractmethod
    def _state_shape(self, inputs: int) -> tuple[int, ...]:
        """Of the state of one stream of so many inputs."""

    def _output_size(self, inputs: int) -> int:
        """Outputs of a step of so many inputs."""
        return inputs

    def _add(self, name: str, shape: tuple[int, ...], initializer: Any) -> None:
        """Adds a weight."""
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=self.state_dtype,
            autocast=False,
            trainable=not any(name in self.GROUPS[group] for group in self.frozen),
        )
        # Read by `keras_s4.optimizers.slow_poles`.
        weight.is_dynamics = name in (*self.GROUPS["poles"], *self.GROUPS["time_steps"])
        setattr(self, name, weight)

    def _run(self, signal, state, mask, return_state: bool):
        """Outputs of all steps and, if asked for, the state after them."""
        state = None if state is None else ops.cast(state, self.state_dtype)
        outputs, state = self.modes().run(signal, state, mask, return_state)
        return ops.cast(outputs, self.compute_dtype), state
