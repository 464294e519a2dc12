"""Poolings over time."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers import RecentAverage, SlidingAverage
from keras_s4.streaming.streamer import Streamer, register, state_dtype


@register(keras.layers.GlobalAveragePooling1D)
class _GlobalAverage(Streamer):
    """A running sum, divided by the training length: exact at the end of a window of that length.

    In models that mask padded steps, whose sequences have lengths of their own, it is the average of the steps so far:
    `mean <- mean + (x - mean) / count`. Behind the training length the count stays, and older steps fade.
    """

    def initial_state(self, batch):
        total = ops.zeros((batch, self.input_shape[-1]), dtype=state_dtype(self.layer))
        return (total, ops.zeros((batch,), dtype="int32")) if self.call.counted else total

    def step(self, inputs, state):
        if self.call.counted:
            return self._counted_step(inputs[0], *state)
        total = state + ops.cast(inputs[0], state.dtype)
        return self._average(total), total

    def chunk(self, inputs, state):
        if self.call.counted:
            return super().chunk(inputs, state)
        totals = state[:, None] + ops.cumsum(ops.cast(inputs[0], state.dtype), axis=1)
        return self._average(totals), totals[:, -1]

    def _counted_step(self, inputs, mean, count):
        count = count + 1 if self.call.window is None else ops.minimum(count + 1, self.call.window)
        mean = mean + (ops.cast(inputs, mean.dtype) - mean) / ops.cast(count, mean.dtype)[:, None]
        return ops.cast(mean, self.layer.compute_dtype), (mean, count)

    def _average(self, totals):
        return ops.cast(totals / self.call.window, self.layer.compute_dtype)


@register(keras.layers.GlobalMaxPooling1D)
class _GlobalMaximum(Streamer):
    def initial_state(self, batch):
        return ops.full((batch, self.input_shape[-1]), -float("inf"), dtype=self.layer.compute_dtype)

    def step(self, inputs, state):
        largest = ops.maximum(state, ops.cast(inputs[0], state.dtype))
        return largest, largest


@register(RecentAverage)
class _RecentAverage(Streamer):
    """The state is the mean, and whether there was a step."""

    def initial_state(self, batch):
        mean = ops.zeros((batch, self.input_shape[-1]), dtype=state_dtype(self.layer))
        return mean, ops.zeros((batch,), dtype="bool")

    def step(self, inputs, state):
        mean = self.layer.step(inputs[0], *state)
        return ops.cast(mean, self.layer.compute_dtype), (mean, ops.ones_like(state[1]))

    def chunk(self, inputs, state):
        means = self.layer.steps(inputs[0], *state)
        return ops.cast(means, self.layer.compute_dtype), (means[:, -1], ops.ones_like(state[1]))


@register(SlidingAverage)
class _SlidingAverage(Streamer):
    """The state is the number of steps of the hop that is not full, their sum, and the sums of the last full hops."""

    def initial_state(self, batch):
        channels, dtype = self.input_shape[-1], state_dtype(self.layer)
        hops = ops.zeros((batch, self.layer.hops, channels), dtype=dtype)
        return ops.zeros((batch,), dtype="int32"), ops.zeros((batch, channels), dtype=dtype), hops

    def step(self, inputs, state):
        count, partial, hops = state
        hop, partial = self.layer.hop, partial + ops.cast(inputs[0], partial.dtype)
        # Up to the end of the first hop it counts from 0 on, then from `hop` on.
        first, full = (ops.equal(count + 1, end)[:, None] for end in (hop, 2 * hop))
        shifted = ops.concatenate([hops[:, 1:], partial[:, None]], axis=1)
        hops = ops.where(first[:, None], partial[:, None], ops.where(full[:, None], shifted, hops))
        partial = ops.where(ops.logical_or(first, full), ops.zeros_like(partial), partial)
        count = ops.where(full[:, 0], hop, count + 1)
        means = ops.sum(hops, axis=1) / self.layer.window
        return ops.cast(means, self.layer.compute_dtype), (count, partial, hops)
