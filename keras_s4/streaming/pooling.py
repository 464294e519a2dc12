"""Poolings over time: of a few steps, or of all steps so far."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers import LastStep
from keras_s4.streaming.streamer import Streamer, refusal, register, state_dtype
from keras_s4.streaming.window import Window


@register(keras.layers.AveragePooling1D, keras.layers.MaxPooling1D)
class _LocalPooling(Window):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length, layer.pool_size[0], layer.strides[0])
        if layer.padding != "valid":
            raise refusal(layer, f"padding={layer.padding!r} looks at steps to come", "Use padding='valid'")


class _GlobalPooling(Streamer):
    pools = True

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if layer.data_format != "channels_last":
            raise refusal(layer, f"data_format={layer.data_format!r} puts time last", 'Use "channels_last"')
        if layer.keepdims:
            raise refusal(layer, "keepdims=True leaves a time axis of one step", "Use keepdims=False")


@register(keras.layers.GlobalAveragePooling1D)
class _GlobalAverage(_GlobalPooling):
    """A running sum, divided by the training length: exact at the end of a window of that length.

    In models that mask padded steps, whose sequences have lengths of their own, it is the average of the steps so far:
    `mean <- mean + (x - mean) / count`. Behind the training length the count stays, and older steps fade.
    """

    counts = True

    def __init__(self, layer, input_shape, length, counted):
        super().__init__(layer, input_shape, length)
        self._counted = counted
        if length is None and not counted:
            raise ValueError(
                f"Layer {layer.name!r} averages over time, but the model's sequence length is open; "
                "say how many steps a window has: StreamingModel(model, length=...)."
            )
        if length is not None and length < 1:
            raise ValueError(
                f"Layer {layer.name!r} averages over time, but within a window no value has reached it; "
                "make the window longer: StreamingModel(model, length=...)."
            )

    def initial_state(self, batch):
        total = ops.zeros((batch, self.input_shape[-1]), dtype=state_dtype(self.layer))
        return (total, ops.zeros((batch,), dtype="int32")) if self._counted else total

    def step(self, inputs, state):
        if self._counted:
            return self._counted_step(inputs[0], *state)
        total = state + ops.cast(inputs[0], state.dtype)
        return self._average(total), total

    def chunk(self, inputs, state):
        if self._counted:
            return super().chunk(inputs, state)
        totals = state[:, None] + ops.cumsum(ops.cast(inputs[0], state.dtype), axis=1)
        return self._average(totals), totals[:, -1]

    def _counted_step(self, inputs, mean, count):
        count = count + 1 if self.length is None else ops.minimum(count + 1, self.length)
        mean = mean + (ops.cast(inputs, mean.dtype) - mean) / ops.cast(count, mean.dtype)[:, None]
        return ops.cast(mean, self.layer.compute_dtype), (mean, count)

    def _average(self, totals):
        return ops.cast(totals / self.length, self.layer.compute_dtype)


@register(keras.layers.GlobalMaxPooling1D)
class _GlobalMaximum(_GlobalPooling):
    def initial_state(self, batch):
        return ops.full((batch, self.input_shape[-1]), -float("inf"), dtype=self.layer.compute_dtype)

    def step(self, inputs, state):
        largest = ops.maximum(state, ops.cast(inputs[0], state.dtype))
        return largest, largest


@register(LastStep)
class _LastStep(Streamer):
    """So far, the current step is the last."""

    pools = True

    def step(self, inputs, state):
        return inputs[0], ()

    chunk = step
