"""The diagonal state space layer."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_s4 import initializers
from keras_s4.backends import without_autograph
from keras_s4.dss import complex_pairs as pairs
from keras_s4.dss import discretization
from keras_s4.dss.discretization import METHODS
from keras_s4.dss.modes import Modes, by_mode
from keras_s4.errors import LayerError
from keras_s4.layers import dss_checks
from keras_s4.layers.carried_state import add_carried_state, check_built
from keras_s4.layers.dss_checks import KERNELS
from keras_s4.layers.state_regularizer import StatePenalty, StateRegularizer
from keras_s4.layers.state_space import StateSpaceLayer
from keras_s4.systems import DiagonalSystem
from keras_s4.weights import finite_weights

__all__ = ["DSS", "KERNELS"]

# Weights by what `frozen` calls them.
GROUPS = {
    "poles": ("log_decay", "real_part", "frequency"),
    "time_steps": ("log_time_step", "log_frequency_time_step"),
    "residues": ("residues",),
    "feedthrough": ("feedthrough",),
}
# The largest real part of a pole of the `clip` kernel.
LARGEST_REAL_PART = -1e-4
# A pole nearer to the real axis than float32 can tell is real: sin(float32(pi)) is -8.7e-8.
REAL_POLE_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable(package="keras_s4")
class DSS(StateSpaceLayer):
    """A bank of single-input single-output linear systems, one a channel, each a sum of complex exponentials.

    Channel h of the input is convolved with `k[t] = Re sum_n w g p^t`, and `feedthrough * input` is added. `call` and
    `chunk` are the convolution mode (FFT), `step` is the recurrence `x <- p x + g u`, `y = Re sum_n w x`: all exact.
    With the continuous pole lambda and the time step dt, `p = exp(lambda dt)` and the input gain g is
    `(p - 1) / lambda`; the softmax kernel divides it by `p^L - 1`, L being the training length.

    Sources: Gupta, Gu and Berant 2022 (DSS, arXiv 2203.14343), proposition 1; Gu et al. 2022 (S4D, arXiv 2206.11893).

    Args:
        state_size: N, complex modes held per channel.
        kernel: how poles stay stable and how modes are scaled. "exp": Re lambda = -exp(weight). "softmax": the same
            poles, and each mode divided by its sum over the training length. "clip": Re lambda is a free weight,
            clipped to at most -1e-4. No kernel takes an initial pole with Re >= 0: such poles are refused.
        per_channel_poles: every channel has poles of its own (as after reduction); otherwise all channels share
            N poles and differ by their time steps and residues.
        separate_time_steps: decays and frequencies have a time step each; otherwise they share one.
        mode_time_steps: every mode of a channel has a time step of its own; otherwise a channel has one.
        discretization: "zoh" (zero-order hold) or "bilinear".
        bidirectional: a second bank of systems looks at the inputs after the current one, the nearest first. Weights
            then have 2 H rows, the second half for the future. Such a layer cannot run step by step.
        training_length: L of the softmax kernel's normaliser, in training steps. By default the length of the sequences
            that the layer is built for; other kernels do not use it.
        rate: training steps that one step spans: 2.0 for a signal sampled at half the frequency of the training,
            0.5 for twice. `keras_s4.at_rate` changes it on a trained model.
        return_state: `call` returns the outputs and the state after the last (unmasked) step.
        stateful: each batch goes on from the state that the batch before it left; `reset_state` starts anew.
        pole_initializer: gives the continuous poles as real pairs `[..., N, 2]`, all real parts negative: "skew_hippo"
            (default), "s4d_lin", "s4d_inv", "s4d_legs", "random", or an initialiser.
        time_step_initializer: gives the logarithms of the time steps `[H]`. Default `LogUniform(1e-3, 1e-1)`.
        residue_initializer: gives the weights w as real pairs `[H, N, 2]`. Default normal with deviation 1.
        feedthrough_initializer: gives the feedthrough `[H]`. Default normal with deviation 1.
        state_regularizer: adds a penalty on the states to the loss: `keras_s4.regularizers.HankelNorm(1e-3)` makes the
            layer compressible.
        frozen: what is not trained: some of "poles", "time_steps", "residues" and "feedthrough".

    Input and output: `[B, L, H]`. Masked steps count as zeros. States are `[B, H, N, 2]`.
    """

    GROUPS = GROUPS

    def __init__(
        self,
        state_size: int = 32,
        kernel: str = "exp",
        per_channel_poles: bool = False,
        separate_time_steps: bool = False,
        mode_time_steps: bool = False,
        discretization: str = "zoh",
        bidirectional: bool = False,
        training_length: int | None = None,
        rate: float = 1.0,
        return_state: bool = False,
        stateful: bool = False,
        pole_initializer=None,
        time_step_initializer=None,
        residue_initializer=None,
        feedthrough_initializer=None,
        state_regularizer: StateRegularizer | None = None,
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
        self.kernel_type = kernel
        self.per_channel_poles = per_channel_poles
        self.separate_time_steps = separate_time_steps
        self.mode_time_steps = mode_time_steps
        self.training_length = training_length
        self.state_regularizer = keras.regularizers.get(state_regularizer)
        dss_checks.check_dss(self)
        # Made here and not as default arguments, which all layers would share, seeds included.
        get = keras.initializers.get
        self.pole_initializer = initializers.poles(pole_initializer)
        self.time_step_initializer = get(time_step_initializer) or initializers.LogUniform()
        self.residue_initializer = get(residue_initializer) or keras.initializers.RandomNormal(stddev=1.0)
        self.feedthrough_initializer = get(feedthrough_initializer) or keras.initializers.RandomNormal(stddev=1.0)

    def build(self, inputs_shape, initial_state_shape=None):
        """Creates the weights for `[B, L, H]` inputs."""
        dss_checks.check_input_shape(self, inputs_shape)
        self.channels = inputs_shape[-1]
        if self.kernel_type == "softmax" and self.training_length is None:
            self.training_length = dss_checks.training_length(self, inputs_shape)
        rows = self.channels * (2 if self.bidirectional else 1)
        shape = (rows, self.state_size) if self.per_channel_poles else (self.state_size,)
        steps = (rows, self.state_size) if self.mode_time_steps else (rows,)
        poles = initializers.draw_poles(self.pole_initializer, shape, self.state_dtype, self.name)
        weights = {
            "real_part": (shape, initializers.give(poles.real)),
            "log_decay": (shape, initializers.give(np.log(-poles.real))),
            "frequency": (shape, initializers.give(poles.imag)),
            "log_time_step": (steps, self.time_step_initializer),
            "residues": ((rows, self.state_size, 2), self.residue_initializer),
            "feedthrough": ((rows,), self.feedthrough_initializer),
            "log_frequency_time_step": (steps, self.time_step_initializer),
        }
        for name in self._weight_names():
            self._add(name, *weights[name])
        if self.state_regularizer is not None:
            self.residues.regularizer = StatePenalty(self)
        if self.stateful:
            self.carried_state = add_carried_state(self, inputs_shape[0], *self._state_shape(self.channels))

    @without_autograph
    def modes(self) -> Modes:
        """The discretised layer in tensors, as it is trained; `system` is its frozen value."""
        poles = (self._real_parts(), ops.convert_to_tensor(self.frequency))
        decay_step = ops.exp(by_mode(self.log_time_step))
        frequency_step = ops.exp(by_mode(self.log_frequency_time_step)) if self.separate_time_steps else decay_step
        exponents = (poles[0] * decay_step, poles[1] * frequency_step)
        log_poles, gains = discretization.modes(
            self.discretization, poles, exponents, self.rate, self._normalizer_length
        )
        angles = METHODS[self.discretization].angles(pairs.scale(exponents, self.rate))
        return Modes(log_poles, gains, pairs.pair_of(self.residues), ops.convert_to_tensor(self.feedthrough), angles)

    @without_autograph
    def kernel(self, length: int):
        """The impulse response, feedthrough included, `[H, length]`; of a bidirectional layer `[2 H, length]`."""
        return self.modes().kernel(length)

    def system(self) -> DiagonalSystem:
        """The discretised layer as a frozen float64 value, for analysis and reduction.

        A bidirectional layer gives 2 H systems: those of the past, then those of the future.

        Raises:
            ValueError: the layer is not built, or its weights hold NaN or an unstable pole.
        """
        continuous, time_steps = self._continuous()
        weights, feedthrough = finite_weights(self, "residues", "feedthrough")
        log_poles, gain = self._discrete(continuous, time_steps)
        poles = np.exp(log_poles)
        residues = 0.5 * (weights[..., 0] + 1j * weights[..., 1]) * gain
        real = np.abs(np.sin(log_poles.imag)) < REAL_POLE_TOLERANCE
        return DiagonalSystem(np.where(real, poles.real, poles), np.where(real, residues.real, residues), feedthrough)

    def set_system(self, system: DiagonalSystem) -> None:
        """Takes over the poles, residues and feedthrough of a discrete-time system; the time steps stay as they are.

        Args:
            system: `[H, N]` (bidirectional: `[2 H, N]`) with this layer's channels and state size.

        Raises:
            ValueError: the layer shares its poles between channels, is not built, or the shapes differ.
        """
        if not self.per_channel_poles:
            raise LayerError(
                f"DSS {self.name!r} shares its poles; create it with per_channel_poles=True to set a system."
            )
        check_built(self)
        if system.poles.shape != self.residues.shape[:2]:
            raise LayerError(
                f"DSS {self.name!r} holds [H, N] = {list(self.residues.shape[:2])}, but the system is "
                f"{list(system.poles.shape)}."
            )
        _, time_steps = self._continuous()
        # A pole at zero (padding, or a deadbeat mode) has no logarithm; below this radius nothing is heard of it.
        poles = np.where(np.abs(system.poles) < 1e-6, 1e-6, system.poles).astype(np.complex128)
        exponents = METHODS[self.discretization].exponents_of(poles) / self.rate
        continuous = exponents.real / time_steps[0] + 1j * exponents.imag / time_steps[1]
        residues = 2.0 * system.residues / self._discrete(continuous, time_steps)[1]
        if self.kernel_type == "clip":
            self.real_part.assign(continuous.real)
        else:
            self.log_decay.assign(np.log(-continuous.real))
        self.frequency.assign(continuous.imag)
        self.residues.assign(np.stack([residues.real, residues.imag], axis=-1))
        self.feedthrough.assign(system.feedthrough)

    def get_config(self):
        """Every argument."""
        serialize = keras.initializers.serialize
        return {
            **super().get_config(),
            "kernel": self.kernel_type,
            "per_channel_poles": self.per_channel_poles,
            "separate_time_steps": self.separate_time_steps,
            "mode_time_steps": self.mode_time_steps,
            "training_length": self.training_length,
            "pole_initializer": serialize(self.pole_initializer),
            "time_step_initializer": serialize(self.time_step_initializer),
            "residue_initializer": serialize(self.residue_initializer),
            "feedthrough_initializer": serialize(self.feedthrough_initializer),
            "state_regularizer": keras.regularizers.serialize(self.state_regularizer),
        }

    def _state_shape(self, inputs: int) -> tuple[int, ...]:
        return inputs, self.state_size, 2

    def _weight_names(self) -> tuple[str, ...]:
        decay = "real_part" if self.kernel_type == "clip" else "log_decay"
        names = (decay, "frequency", "log_time_step", "residues", "feedthrough")
        return (*names, "log_frequency_time_step") if self.separate_time_steps else names

    @property
    def _normalizer_length(self) -> int | None:
        return self.training_length if self.kernel_type == "softmax" else None

    def _real_parts(self):
        if self.kernel_type == "clip":
            return ops.minimum(self.real_part, LARGEST_REAL_PART)
        return -ops.exp(self.log_decay)

    def _continuous(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Continuous poles, and the time steps `[H, 1]` or `[H, N]` of decays and of frequencies, in float64."""
        check_built(self)
        decay, frequency, log_time_step = finite_weights(self, *self._weight_names()[:3])
        real = np.minimum(decay, LARGEST_REAL_PART) if self.kernel_type == "clip" else -np.exp(decay)
        steps = [np.exp(by_mode(log_time_step))] * 2
        if self.separate_time_steps:
            steps[1] = np.exp(by_mode(finite_weights(self, "log_frequency_time_step")[0]))
        return real + 1j * frequency, tuple(steps)

    def _discrete(self, continuous: np.ndarray, time_steps: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of the discrete poles and input gains, in float64."""
        exponents = continuous.real * time_steps[0] + 1j * continuous.imag * time_steps[1]
        return discretization.modes_of(self.discretization, continuous, exponents, self.rate, self._normalizer_length)
