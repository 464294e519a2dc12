"""The state space layer whose modes are shared by all its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_s4 import initializers
from keras_s4.backends import without_autograph
from keras_s4.dss import discretization
from keras_s4.dss.complex_pairs import multiply, pair_of
from keras_s4.dss.discretization import METHODS
from keras_s4.dss.shared_modes import SharedModes
from keras_s4.errors import LayerError
from keras_s4.layers import dss_checks
from keras_s4.layers.carried_state import add_carried_state, check_built
from keras_s4.layers.state_space import StateSpaceLayer
from keras_s4.modal_system import ModalSystem
from keras_s4.weights import finite_weights

# Weights by what `frozen` calls them.
GROUPS = {
    "poles": ("log_decay", "frequency"),
    "time_steps": ("log_time_step",),
    "inputs": ("input_matrix",),
    "outputs": ("output_matrix",),
    "feedthrough": ("feedthrough",),
}
FEEDTHROUGHS = ("full", "diagonal", None)
# A pole nearer to the real axis than single precision can tell is real, and so are inputs of it.
REAL_TOLERANCE = 1e-6
# A pole at zero has no logarithm; below this radius nothing is heard of it.
SMALLEST_RADIUS = 1e-6


@keras.saving.register_keras_serializable(package="keras_s4")
class DiagonalSSM(StateSpaceLayer):
    """One linear system with several inputs and outputs: N modes, written by one matrix and read by another.

    `x <- p x + g B u` and `y = 2 Re(C x) + D u`, with the poles `p = exp(lambda dt)` and the gains
    `g = (p - 1) / lambda` of each mode (zero-order hold), `Re lambda = -exp(weight)`, so that every layer is stable.
    Where `DSS` has N modes for each channel, here all channels share N: a device keeps fewer states, and the layer
    mixes channels. `call` and `chunk` run all steps at once, `step` is the recurrence: all exact.

    Sources: Smith, Warrington and Linderman 2023 (S5, arXiv 2208.04933); Orvieto et al. 2023 (LRU, arXiv 2303.06349),
    whose layers are the same systems with other names for their weights.

    Args:
        units: O, outputs; None for as many as there are inputs.
        state_size: N, complex modes.
        feedthrough: D: "full" (a matrix), "diagonal" (each output sees the input of its number; as many outputs as
            inputs) or None.
        discretization: "zoh" (zero-order hold) or "bilinear".
        bidirectional: the same modes also run backwards, from the last input to the current one, and outputs read both:
            C then has 2 O rows, the second half for the future. Such a layer cannot run step by step.
        rate: training steps that one step spans, see `DSS`.
        return_state: `call` returns the outputs and the state after the last (unmasked) step.
        stateful: each batch goes on from the state that the batch before it left; `reset_state` starts anew.
        pole_initializer: gives the continuous poles as real pairs `[N, 2]`, all real parts negative: "skew_hippo"
            (default), "s4d_lin", "s4d_inv", "s4d_legs", "random", or an initialiser.
        time_step_initializer: gives the logarithms of the time steps `[N]`. Default `LogUniform(1e-3, 1e-1)`.
        input_initializer: gives B as real pairs `[N, I, 2]`. Default normal with deviation `sqrt(1 / (2 I))`.
        output_initializer: gives C as real pairs `[O, N, 2]`, or of a bidirectional layer `[2 O, N, 2]`. Default normal
            with deviation 1/2.
        feedthrough_initializer: gives D `[O, I]` or `[O]`. Default Glorot's uniform, or of a diagonal normal.
        frozen: what is not trained: some of "poles", "time_steps", "inputs", "outputs" and "feedthrough".

    Input: `[B, L, I]`. Output: `[B, L, O]`. Masked steps count as zeros. States are `[B, N, 2]`.
    """

    GROUPS = GROUPS

    def __init__(
        self,
        units: int | None = None,
        state_size: int = 32,
        feedthrough: str | None = "full",
        discretization: str = "zoh",
        bidirectional: bool = False,
        rate: float = 1.0,
        return_state: bool = False,
        stateful: bool = False,
        pole_initializer=None,
        time_step_initializer=None,
        input_initializer=None,
        output_initializer=None,
        feedthrough_initializer=None,
        frozen: Sequence[str] = (),
        **kwargs,
    ):
        super().__init__(
            state_size=state_size,
            discretization=discretization,
            bidirectional=bidirectional,
            rate=rate,
            return_state=return_state,
            stateful=stateful,
            frozen=frozen,
            **kwargs,
        )
        self.units = units
        self.feedthrough_type = feedthrough
        dss_checks.check_diagonal_ssm(self, FEEDTHROUGHS)
        get = keras.initializers.get
        self.pole_initializer = initializers.poles(pole_initializer)
        self.time_step_initializer = get(time_step_initializer) or initializers.LogUniform()
        self.input_initializer = get(input_initializer)
        self.output_initializer = get(output_initializer) or keras.initializers.RandomNormal(stddev=0.5)
        self.feedthrough_initializer = get(feedthrough_initializer)

    def build(self, inputs_shape, initial_state_shape=None):
        """Creates the weights for `[B, L, I]` inputs."""
        dss_checks.check_input_shape(self, inputs_shape)
        self.channels = inputs = inputs_shape[-1]
        modes, outputs = self.state_size, self._output_size(inputs)
        if self.feedthrough_type == "diagonal" and outputs != inputs:
            raise LayerError(
                f"DiagonalSSM {self.name!r} has {inputs} inputs and {outputs} outputs; a diagonal feedthrough needs as "
                'many outputs as inputs. Use feedthrough="full" or None.'
            )
        normal = keras.initializers.RandomNormal
        poles = initializers.draw_poles(self.pole_initializer, (modes,), self.state_dtype, self.name)
        self._add("log_decay", (modes,), initializers.give(np.log(-poles.real)))
        self._add("frequency", (modes,), initializers.give(poles.imag))
        self._add("log_time_step", (modes,), self.time_step_initializer)
        self._add("input_matrix", (modes, inputs, 2), self.input_initializer or normal(stddev=math.sqrt(0.5 / inputs)))
        rows = outputs * (2 if self.bidirectional else 1)
        self._add("output_matrix", (rows, modes, 2), self.output_initializer)
        if self.feedthrough_type == "full":
            self._add("feedthrough", (outputs, inputs), self.feedthrough_initializer or "glorot_uniform")
        elif self.feedthrough_type == "diagonal":
            self._add("feedthrough", (outputs,), self.feedthrough_initializer or normal(stddev=1.0))
        else:
            self.feedthrough = None
        if self.stateful:
            self.carried_state = add_carried_state(self, inputs_shape[0], *self._state_shape(inputs))

    @without_autograph
    def modes(self) -> SharedModes:
        """The discretised layer in tensors, as it is trained; `system` is its frozen value."""
        poles = (-ops.exp(self.log_decay), ops.convert_to_tensor(self.frequency))
        time_step = ops.exp(self.log_time_step)
        exponents = (poles[0] * time_step, poles[1] * time_step)
        log_poles, gains = discretization.modes(self.discretization, poles, exponents, self.rate, None)
        inputs = multiply(tuple(gain[:, None] for gain in gains), pair_of(self.input_matrix))
        feedthrough = None if self.feedthrough is None else ops.convert_to_tensor(self.feedthrough)
        outputs, future = pair_of(self.output_matrix), None
        if self.bidirectional:
            outputs, future = zip(*(ops.split(part, 2, axis=0) for part in outputs), strict=True)
        return SharedModes(log_poles, inputs, outputs, feedthrough, future)

    def system(self) -> ModalSystem:
        """The discretised layer as a frozen float64 value, for analysis and reduction.

        That of a bidirectional layer has 2 O outputs: those that read the past, then those that read the future.

        Raises:
            ValueError: the layer is not built, or its weights hold NaN or an unstable pole.
        """
        log_poles, gains = self._discrete(*self._continuous())
        inputs, outputs = (
            each[..., 0] + 1j * each[..., 1] for each in finite_weights(self, "input_matrix", "output_matrix")
        )
        poles, inputs = np.exp(log_poles), gains[:, None] * inputs
        real = np.abs(np.sin(log_poles.imag)) < REAL_TOLERANCE
        driven = np.abs(inputs.imag).max(axis=1) <= REAL_TOLERANCE * np.abs(inputs).max(axis=1)
        return ModalSystem(
            np.where(real, poles.real, poles),
            np.where((real & driven)[:, None], inputs.real, inputs),
            np.where(real & driven, outputs.real, outputs),
            self._feedthrough(),
        )

    def set_system(self, system: ModalSystem) -> None:
        """Takes over the poles, matrices and feedthrough of a discrete-time system; the time steps stay as they are.

        Args:
            system: of this layer's inputs, outputs (if bidirectional twice as many) and state size.

        Raises:
            ValueError: the layer is not built, the sizes differ, or the layer has no such feedthrough.
        """
        check_built(self)
        expected = (self.state_size, self.input_matrix.shape[1], self.output_matrix.shape[0])
        sizes = (system.state_size, system.input_size, system.output_size)
        if sizes != expected:
            raise LayerError(
                f"DiagonalSSM {self.name!r} holds [N, I, O] = {list(expected)}, but the system is {list(sizes)}."
            )
        feedthrough = system.feedthrough
        if self.bidirectional:  # both ways see the current input
            feedthrough = sum(np.split(feedthrough, 2))
        self._check_feedthrough(feedthrough)
        _, time_steps = self._continuous()
        poles = np.where(np.abs(system.poles) < SMALLEST_RADIUS, SMALLEST_RADIUS, system.poles).astype(np.complex128)
        continuous = METHODS[self.discretization].exponents_of(poles) / self.rate / time_steps
        inputs = system.inputs / self._discrete(continuous, time_steps)[1][:, None]
        self.log_decay.assign(np.log(-continuous.real))
        self.frequency.assign(continuous.imag)
        self.input_matrix.assign(np.stack([inputs.real, inputs.imag], axis=-1))
        self.output_matrix.assign(np.stack([system.outputs.real, system.outputs.imag], axis=-1))
        if self.feedthrough_type == "full":
            self.feedthrough.assign(feedthrough)
        elif self.feedthrough_type == "diagonal":
            self.feedthrough.assign(np.diagonal(feedthrough))

    def get_config(self):
        """Every argument."""
        serialize = keras.initializers.serialize
        given = ("pole", "time_step", "input", "output", "feedthrough")
        initial = {f"{name}_initializer": getattr(self, f"{name}_initializer") for name in given}
        return {
            **super().get_config(),
            "units": self.units,
            "feedthrough": self.feedthrough_type,
            **{name: None if each is None else serialize(each) for name, each in initial.items()},
        }

    def _state_shape(self, inputs: int) -> tuple[int, ...]:
        return self.state_size, 2

    def _output_size(self, inputs: int) -> int:
        return inputs if self.units is None else self.units

    def _continuous(self) -> tuple[np.ndarray, np.ndarray]:
        """Continuous poles and time steps `[N]`, in float64."""
        check_built(self)
        decay, frequency, log_time_step = finite_weights(self, "log_decay", "frequency", "log_time_step")
        return -np.exp(decay) + 1j * frequency, np.exp(log_time_step)

    def _discrete(self, continuous: np.ndarray, time_steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of the discrete poles and input gains, in float64."""
        return discretization.modes_of(self.discretization, continuous, continuous * time_steps, self.rate, None)

    def _feedthrough(self) -> np.ndarray:
        """`[O, I]` in float64, and zeros below it if bidirectional."""
        feedthrough = np.zeros((self.output_matrix.shape[0], self.channels))
        if self.feedthrough is not None:
            (weight,) = finite_weights(self, "feedthrough")
            feedthrough[: weight.shape[0]] = weight if self.feedthrough_type == "full" else np.diag(weight)
        return feedthrough

    def _check_feedthrough(self, feedthrough: np.ndarray) -> None:
        kept = {
            "full": feedthrough,
            "diagonal": np.diag(np.diagonal(feedthrough)) if feedthrough.shape[0] == feedthrough.shape[1] else None,
            None: np.zeros_like(feedthrough),
        }[self.feedthrough_type]
        if not np.array_equal(kept, feedthrough):
            raise LayerError(
                f"DiagonalSSM {self.name!r} has feedthrough={self.feedthrough_type!r}, which cannot hold that of the "
                'system; create it with feedthrough="full".'
            )
