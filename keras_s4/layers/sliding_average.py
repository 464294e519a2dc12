"""The average of the last steps, renewed every few steps."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.checks import is_whole, quote, truth_value
from keras_s4.errors import LayerError
from keras_s4.layers.time_axis import check_sequence
from keras_s4.precision import at_least_single


@keras.saving.register_keras_serializable(package="keras_s4")
class SlidingAverage(keras.layers.Layer):
    """The mean of the last `window` steps, renewed every `hop` steps: a pooling over time that needs no reset.

    The steps are taken in hops of `hop`, from the first one on, and the output is the mean of the last
    `window / hop` full hops. Until so many have come, the hops before the first one are taken to have been like it, so
    that the weights of the steps always add up to 1 and a stream that has just begun gives values of the same size as
    one that has run for a year. Before the first hop is full the output is 0.

    A device adds up hops in a ring of integers, sample by sample; the sum of a window is exact at every hop, however
    long the stream runs.

    Input: `[B, L, H]`. Output: `[B, H]`, the mean at the last full hop, or with `return_sequences` `[B, L // hop, H]`,
    the one at each hop: what stands behind it then runs at hops only. Masked steps do not count, and fill no hop.

    Args:
        window: steps that are averaged, a multiple of `hop`.
        hop: steps from one mean to the next.
        return_sequences: whether to return the mean at each hop rather than at the last one.

    Raises:
        ValueError: numbers of steps below 1, or a window that is no multiple of the hop.
    """

    def __init__(self, window: int, hop: int, return_sequences: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.return_sequences = truth_value(return_sequences, f"SlidingAverage {self.name!r} got return_sequences=")
        for name, value in (("window", window), ("hop", hop)):
            if not is_whole(value) or value < 1:
                raise LayerError(
                    f"SlidingAverage {self.name!r} got {name}={quote(value)}; expected a whole number of steps, at "
                    "least 1."
                )
            setattr(self, name, int(value))
        if self.window % self.hop:
            raise LayerError(
                f"SlidingAverage {self.name!r} got window={window} and hop={hop}; expected a window that is a multiple "
                f"of the hop, such as {max(round(window / hop), 1) * self.hop}."
            )

    @property
    def hops(self) -> int:
        """Of a window."""
        return self.window // self.hop

    def build(self, input_shape):
        """Checks the shape."""
        check_sequence(self, input_shape, self.hop)

    def call(self, inputs, mask=None):
        """`[B, L, H]` to `[B, H]`, or `[B, L // hop, H]` with `return_sequences`.

        Args:
            inputs: `[B, L, H]`.
            mask: bool `[B, L]`, False at padded steps.
        """
        signal = ops.cast(inputs, at_least_single(self.compute_dtype))
        hops = ops.shape(inputs)[1] // self.hop
        if mask is None:
            full, means = ops.reshape(ops.cast(hops, "int32"), (1,)), self._means(signal, hops)
        else:
            full, means = self._means_of_counting_steps(signal, hops, ops.cast(mask, "bool"))
        outputs = self._at_each_hop(means) if self.return_sequences else self._at_the_last_hop(means, hops, full)
        return ops.cast(outputs, self.compute_dtype)

    def _means(self, signal, hops):
        """Of each hop, `[B, L // hop, H]`."""
        steps = signal[:, : hops * self.hop]
        return ops.mean(ops.reshape(steps, (ops.shape(signal)[0], hops, self.hop, signal.shape[-1])), axis=2)

    def _means_of_counting_steps(self, signal, hops, mask):
        """How many hops are full, `[B]`, and the means of those, `[B, L // hop, H]`."""
        signal = ops.where(mask[:, :, None], signal, ops.zeros_like(signal))
        seen = ops.cumsum(ops.cast(mask, "int32"), axis=1)
        places = ops.arange(hops, dtype="int32")[None, :, None]
        inside = ops.logical_and(places == ((seen - 1) // self.hop)[:, None, :], mask[:, None, :])
        return seen[:, -1] // self.hop, ops.matmul(ops.cast(inside, signal.dtype), signal) / self.hop

    def _at_the_last_hop(self, means, hops, full):
        places, full = ops.arange(hops, dtype="int32")[None, :], full[:, None]
        recent = ops.logical_and(places >= full - self.hops, places < full)
        missing = ops.cast(ops.logical_and(places == 0, full > 0), "int32") * ops.maximum(self.hops - full, 0)
        weights = ops.cast(ops.cast(recent, "int32") + missing, means.dtype) / self.hops
        return ops.sum(weights[:, :, None] * means, axis=1)

    def _at_each_hop(self, means):
        before = ops.repeat(means[:, :1], self.hops - 1, axis=1)
        means = ops.concatenate([before, means], axis=1)
        return ops.average_pool(means, self.hops, strides=1, padding="valid", data_format="channels_last")

    def compute_mask(self, inputs, mask=None):
        """Which hops are full, bool `[B, L // hop]`, as far as there are hops left."""
        if mask is None or not self.return_sequences:
            return None
        full = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True) // self.hop
        return ops.arange(ops.shape(mask)[1] // self.hop, dtype="int32")[None] < full

    def compute_output_shape(self, input_shape):
        """Without the time axis, or with `return_sequences` as many steps as there are full hops."""
        batch, length, *shape = input_shape
        return (batch, length and length // self.hop, *shape) if self.return_sequences else (batch, *shape)

    def get_config(self):
        """Every argument."""
        return {
            **super().get_config(),
            "window": self.window,
            "hop": self.hop,
            "return_sequences": self.return_sequences,
        }
