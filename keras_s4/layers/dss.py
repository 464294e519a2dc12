"""The diagonal state space layer."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_s4 import initializers, kernels
from keras_s4.systems import DiagonalSystem
from keras_s4.weights import finite_weights

# A pole nearer to the real axis than float32 can tell is real: sin(float32(pi)) is -8.7e-8.
REAL_POLE_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable(package="keras_s4")
class DSS(keras.layers.Layer):
    """A bank of single-input single-output linear systems, one a channel, each a sum of complex exponentials.

    Channel h of the input is convolved with `k[t] = Re sum_n w (exp(lambda dt) - 1) / lambda exp(lambda dt t)`, and
    `feedthrough * input` is added. `call` is the convolution mode (FFT), `step` the recurrence; both are exact.

    Source: DSS with the `exp` kernel, Gupta, Gu and Berant 2022 (arXiv 2203.14343), equation 8.

    Args:
        state_size: N, complex modes held per channel.
        per_channel_poles: every channel has poles of its own (as after reduction); otherwise all channels share
            N poles and differ by their time steps and residues.
        pole_initializer: gives the continuous poles as real pairs `[..., N, 2]`, all real parts negative.
            Default `SkewHiPPO()`.
        time_step_initializer: gives the logarithms of the time steps `[H]`. Default `LogUniform(1e-3, 1e-1)`.
        residue_initializer: gives the weights w as real pairs `[H, N, 2]`. Default normal with deviation 1.
        feedthrough_initializer: gives the feedthrough `[H]`. Default normal with deviation 1.

    Input and output: `[B, L, H]`.
    """

    def __init__(
        self,
        state_size: int = 32,
        per_channel_poles: bool = False,
        pole_initializer=None,
        time_step_initializer=None,
        residue_initializer=None,
        feedthrough_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(state_size, int) or state_size < 1:
            raise ValueError(f"DSS {self.name!r} got state_size={state_size!r}; expected a whole number of at least 1.")
        self.state_size = state_size
        self.per_channel_poles = per_channel_poles
        # Made here and not as default arguments, which all layers would share, seeds included.
        get = keras.initializers.get
        self.pole_initializer = get(pole_initializer) or initializers.SkewHiPPO()
        self.time_step_initializer = get(time_step_initializer) or initializers.LogUniform()
        self.residue_initializer = get(residue_initializer) or keras.initializers.RandomNormal(stddev=1.0)
        self.feedthrough_initializer = get(feedthrough_initializer) or keras.initializers.RandomNormal(stddev=1.0)

    def build(self, input_shape):
        """Creates the weights for `[B, L, H]` inputs."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"DSS {self.name!r} got input of shape {tuple(input_shape)}; expected [B, L, H] with H known."
            )
        if input_shape[1] == 0:
            raise ValueError(f"DSS {self.name!r} got a sequence of length 0; expected at least 1 step.")
        self.channels = input_shape[-1]
        pole_shape = (self.channels, self.state_size) if self.per_channel_poles else (self.state_size,)
        weights = {
            "log_decay": (
                pole_shape,
                lambda shape, dtype: ops.cast(ops.log(-self._initial_poles(pole_shape)[..., 0]), dtype),
            ),
            "frequency": (pole_shape, lambda shape, dtype: ops.cast(self._initial_poles(pole_shape)[..., 1], dtype)),
            "log_time_step": ((self.channels,), self.time_step_initializer),
            "residues": ((self.channels, self.state_size, 2), self.residue_initializer),
            "feedthrough": ((self.channels,), self.feedthrough_initializer),
        }
        for name, (shape, initializer) in weights.items():
            weight = self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype=self.state_dtype, autocast=False
            )
            setattr(self, name, weight)

    @property
    def state_dtype(self) -> str:
        """Type of weights, states and FFT, whatever the policy: half precision would lose the memory of slow modes."""
        return keras.backend.result_type(self.variable_dtype, "float32")

    def call(self, inputs):
        """Convolution mode.

        Args:
            inputs: `[B, L, H]`.

        Returns:
            `[B, L, H]`.
        """
        length = inputs.shape[1] or ops.shape(inputs)[1]
        if isinstance(length, int) and length < 1:
            raise ValueError(f"DSS {self.name!r} got a sequence of length 0; expected at least 1 step.")
        signal = ops.cast(inputs, self.state_dtype)
        outputs = kernels.causal_convolution(signal, self.kernel(length)) + self.feedthrough * signal
        return ops.cast(outputs, self.compute_dtype)

    def kernel(self, length: int):
        """The impulse response without feedthrough, `[H, length]`."""
        log_poles, gain = self._modes()
        coefficients = kernels.complex_multiply(gain, self._residues())
        return kernels.exponential_sum(log_poles, coefficients, length)

    def initial_state(self, batch: int):
        """The zero state of `batch` streams, `[B, H, N, 2]`."""
        return ops.zeros((batch, self.channels, self.state_size, 2), dtype=self.state_dtype)

    def step(self, inputs, state):
        """One step of the recurrence.

        Args:
            inputs: `[B, H]`, one sample of each stream.
            state: `[B, H, N, 2]`, from `initial_state` or the last step.

        Returns:
            outputs `[B, H]` and the next state `[B, H, N, 2]`.
        """
        signal = ops.cast(inputs, self.state_dtype)
        log_poles, gain = self._modes()
        real, imaginary = kernels.complex_multiply(kernels.complex_exp(log_poles), (state[..., 0], state[..., 1]))
        state = (real + gain[0] * signal[:, :, None], imaginary + gain[1] * signal[:, :, None])
        outputs = ops.sum(kernels.complex_multiply(self._residues(), state)[0], axis=-1) + self.feedthrough * signal
        return ops.cast(outputs, self.compute_dtype), ops.stack(state, axis=-1)

    def system(self) -> DiagonalSystem:
        """The discretised layer as a frozen float64 value, for analysis and reduction.

        Raises:
            ValueError: the layer is not built, or its weights hold NaN or an unstable pole.
        """
        self._check_built()
        log_decay, frequency, log_time_step, weights, feedthrough = finite_weights(
            self, "log_decay", "frequency", "log_time_step", "residues", "feedthrough"
        )
        continuous = -np.exp(log_decay) + 1j * frequency
        log_poles = continuous * np.exp(log_time_step)[:, None]
        poles = np.exp(log_poles)
        residues = 0.5 * (weights[..., 0] + 1j * weights[..., 1]) * np.expm1(log_poles) / continuous
        real = np.abs(np.sin(log_poles.imag)) < REAL_POLE_TOLERANCE
        return DiagonalSystem(np.where(real, poles.real, poles), np.where(real, residues.real, residues), feedthrough)

    def set_system(self, system: DiagonalSystem) -> None:
        """Takes over the poles, residues and feedthrough of a discrete-time system; the time steps stay as they are.

        Args:
            system: `[H, N]` with this layer's channels and state size.

        Raises:
            ValueError: the layer shares its poles between channels, is not built, or the shapes differ.
        """
        if not self.per_channel_poles:
            raise ValueError(
                f"DSS {self.name!r} shares its poles; create it with per_channel_poles=True to set a system."
            )
        self._check_built()
        if system.poles.shape != (self.channels, self.state_size):
            raise ValueError(
                f"DSS {self.name!r} holds [H, N] = {[self.channels, self.state_size]}, but the system is "
                f"{list(system.poles.shape)}."
            )
        time_step = np.exp(ops.convert_to_numpy(self.log_time_step).astype(np.float64))[:, None]
        # A pole at zero (padding, or a deadbeat mode) has no logarithm; below this radius nothing is heard of it.
        poles = np.where(np.abs(system.poles) < 1e-6, 1e-6, system.poles)
        log_poles = np.log(poles.astype(np.complex128))
        continuous = log_poles / time_step
        residues = 2.0 * system.residues * continuous / np.expm1(log_poles)
        self.log_decay.assign(np.log(-continuous.real))
        self.frequency.assign(continuous.imag)
        self.residues.assign(np.stack([residues.real, residues.imag], axis=-1))
        self.feedthrough.assign(system.feedthrough)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "state_size": self.state_size,
            "per_channel_poles": self.per_channel_poles,
            "pole_initializer": keras.initializers.serialize(self.pole_initializer),
            "time_step_initializer": keras.initializers.serialize(self.time_step_initializer),
            "residue_initializer": keras.initializers.serialize(self.residue_initializer),
            "feedthrough_initializer": keras.initializers.serialize(self.feedthrough_initializer),
        }

    def _check_built(self):
        if not self.built:
            raise ValueError(f"DSS {self.name!r} has no weights yet; call the model on data or build it first.")

    def _initial_poles(self, shape: tuple):
        poles = self.pole_initializer((*shape, 2), dtype=self.state_dtype)
        try:
            real_parts = ops.convert_to_numpy(poles)[..., 0]
        except NotImplementedError:  # TensorFlow builds the layer inside a trace, where no numbers are known
            return poles
        if not np.all(real_parts < 0):
            raise ValueError(
                f"DSS {self.name!r} got an initial pole with real part {real_parts.max():g}; continuous poles are "
                "stable only below 0. Use a pole_initializer such as keras_s4.initializers.SkewHiPPO()."
            )
        return poles

    def _modes(self):
        """`lambda dt` and the zero-order-hold gain, `[H, N]` pairs."""
        poles = (-ops.exp(self.log_decay), ops.convert_to_tensor(self.frequency))
        time_step = ops.exp(self.log_time_step)[:, None]
        log_poles = (poles[0] * time_step, poles[1] * time_step)
        return log_poles, kernels.zero_order_hold_gain(poles, log_poles)

    def _residues(self):
        return self.residues[..., 0], self.residues[..., 1]
