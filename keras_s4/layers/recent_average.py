"""The exponentially weighted average over time."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_s4.checks import is_real, quote, truth_value
from keras_s4.dss import recurrence
from keras_s4.errors import LayerError
from keras_s4.layers.time_axis import check_sequence
from keras_s4.precision import at_least_single


@keras.saving.register_keras_serializable(package="keras_s4")
class RecentAverage(keras.layers.Layer):
    """The average of the steps so far, in which older steps fade: a pooling over time that needs no reset.

    `mean += (1 - exp(-1 / (seconds * rate))) * (x - mean)`, and the mean of the first step is that step: the weights of
    the steps add up to 1 from the start, so that a constant is its own mean at every step, and a stream that has just
    begun gives values of the same size as one that has run for a year. What a step adds has fallen to 37% after
    `seconds`.

    It stands where `GlobalAveragePooling1D` does in a model whose stream never ends and whose events begin at any time.
    A device holds one integer a channel. Convert such models on long stretches of streams rather than on windows,
    whatever they are trained on: see `keras_s4.tflite.convert`.

    Input: `[B, L, H]`. Output: `[B, H]`, the average at the last step, or with `return_sequences` `[B, L, H]`, the one
    at every step. Masked steps do not count: the average stays as it is; before the first step that counts it is 0.

    Args:
        seconds: time constant, above 0; with `per_channel` also one for each channel.
        rate: steps a second. Left at 1, `seconds` are steps.
        trainable_time: whether the time constant is trained, as its logarithm, from `seconds` on.
        per_channel: whether each channel has a time constant of its own.
        return_sequences: whether to return the average at every step rather than at the last one.

    Raises:
        ValueError: a time constant or rate that is not above 0, or several time constants where one is expected.
    """

    def __init__(
        self,
        seconds: float | Sequence[float],
        rate: float = 1.0,
        trainable_time: bool = False,
        per_channel: bool = False,
        return_sequences: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        for name, value in (
            ("trainable_time", trainable_time),
            ("per_channel", per_channel),
            ("return_sequences", return_sequences),
        ):
            setattr(self, name, truth_value(value, f"RecentAverage {self.name!r} got {name}="))
        self.seconds = self._checked_seconds(seconds)
        self.rate = self._above_zero("rate", rate)

    def _above_zero(self, name, value):
        if not is_real(value) or not 0.0 < value < np.inf:
            raise LayerError(f"RecentAverage {self.name!r} got {name}={quote(value)}; expected a number above 0.")
        return float(value)

    def _checked_seconds(self, seconds):
        if isinstance(seconds, (list, tuple, np.ndarray)) and np.ndim(seconds) == 1:
            if not self.per_channel:
                raise LayerError(
                    f"RecentAverage {self.name!r} got seconds={quote(seconds)}; expected one number, or "
                    "per_channel=True."
                )
            return [self._above_zero("seconds", value) for value in seconds]
        return self._above_zero("seconds", seconds)

    def build(self, input_shape):
        """Checks the shape, and adds the time constants if they are trained."""
        check_sequence(self, input_shape)
        several, channels = isinstance(self.seconds, list), input_shape[-1]
        if several and len(self.seconds) != channels:
            raise LayerError(
                f"RecentAverage {self.name!r} got {len(self.seconds)} time constants and input of shape "
                f"{tuple(input_shape)}; expected one for each of the {channels} channels."
            )
        self.log_steps = None
        if self.trainable_time:
            start = np.log(np.asarray(self.seconds) * self.rate)
            self.log_steps = self.add_weight(
                shape=(channels,) if self.per_channel else (),
                initializer=lambda shape, dtype: ops.cast(np.broadcast_to(start, shape), dtype),
                dtype=at_least_single(self.variable_dtype),
                name="log_steps",
                autocast=False,  # rounded to half precision, the logarithm changes the time constant by 0.2%
            )

    def time_constants(self) -> np.ndarray:
        """Time constants in steps, float64 `[]` for all channels alike, or `[H]`."""
        if self.log_steps is None:
            return np.asarray(self.seconds, np.float64) * self.rate
        return np.exp(ops.convert_to_numpy(self.log_steps).astype(np.float64))

    def call(self, inputs, mask=None):
        """`[B, L, H]` to `[B, H]`, or `[B, L, H]` with `return_sequences`.

        Args:
            inputs: `[B, L, H]`.
            mask: bool `[B, L]`, False at padded steps.
        """
        signal = ops.cast(inputs, at_least_single(self.compute_dtype))
        counts = ops.ones((1, ops.shape(inputs)[1]), dtype="bool")
        if mask is not None:
            counts = ops.cast(mask, "bool")
            signal = ops.where(counts[:, :, None], signal, ops.zeros_like(signal))
        average = self._at_every_step if self.return_sequences else self._at_the_end
        return ops.cast(average(signal, ops.cast(counts, signal.dtype)[:, :, None]), self.compute_dtype)

    def step(self, inputs, mean, started):
        """One step of a stream.

        Args:
            inputs: `[B, H]`.
            mean: before the step, `[B, H]`.
            started: bool `[B]`, whether there was a step before.

        Returns:
            the mean after it, `[B, H]`.
        """
        inputs = ops.cast(inputs, mean.dtype)
        return ops.where(started[:, None], mean - ops.expm1(self._log_decay(mean.dtype)) * (inputs - mean), inputs)

    def steps(self, inputs, mean, started):
        """As `step`, of the next T steps at once: the mean after each, `[B, T, H]`, from inputs `[B, T, H]`."""
        signal = ops.concatenate([mean[:, None], ops.cast(inputs, mean.dtype)], axis=1)
        counts = ops.concatenate([started[:, None], ops.ones(ops.shape(inputs)[:2], dtype="bool")], axis=1)
        return self._at_every_step(signal, ops.cast(counts, mean.dtype)[:, :, None])[:, 1:]

    def _log_decay(self, dtype):
        """Logarithm of what is left of a step after the next one, `[]` or `[H]`."""
        if self.log_steps is None:
            return ops.cast(-1.0 / self.time_constants(), dtype)
        return -ops.exp(-ops.cast(self.log_steps, dtype))

    def _gains(self, counts, seen, log_decay):
        """With which a step enters: 1 if it is the first that counts, 0 if it does not count."""
        return counts * ops.where(seen < 1.5, ops.ones_like(log_decay), -ops.expm1(log_decay))

    def _at_the_end(self, signal, counts):
        seen, log_decay = ops.cumsum(counts, axis=1), self._log_decay(signal.dtype)
        weights = self._gains(counts, seen, log_decay) * ops.exp(log_decay * (seen[:, -1:] - seen))
        return ops.sum(weights * signal, axis=1)

    def _at_every_step(self, signal, counts):
        seen, log_decay = ops.cumsum(counts, axis=1), self._log_decay(signal.dtype)
        return recurrence.first_order(log_decay * counts, self._gains(counts, seen, log_decay) * signal)

    def compute_mask(self, inputs, mask=None):
        """The mask of the steps, as far as there are steps left."""
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape):
        """The input's shape, without the time axis unless `return_sequences`."""
        return tuple(input_shape) if self.return_sequences else (input_shape[0], *input_shape[2:])

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "seconds": self.seconds,
            "rate": self.rate,
            "trainable_time": self.trainable_time,
            "per_channel": self.per_channel,
            "return_sequences": self.return_sequences,
        }
