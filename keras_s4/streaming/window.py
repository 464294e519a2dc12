"""Layers whose output depends on a few inputs: the current one and those before it."""

from __future__ import annotations

from keras import ops

from keras_s4.streaming.streamer import Streamer


class Window(Streamer):
    """A layer that slides along the sequence; the state holds the inputs that it still needs.

    Before the first sample the state is zeros, which stand for padding in front of the sequence.
    """

    def initial_state(self, batch):
        """The last inputs, `[B, span - 1, F]`."""
        before = self.call.effect.reach.span - 1
        return ops.zeros((batch, before, self.input_shape[-1]), dtype=self.layer.compute_dtype)

    def step(self, inputs, state):
        """The layer on the last inputs alone."""
        window = ops.concatenate([state, ops.cast(inputs[0], state.dtype)[:, None]], axis=1)
        return self.slide(window)[:, 0], window[:, 1:]

    def chunk(self, inputs, state):
        """The layer on the last inputs and those of the chunk."""
        window = ops.concatenate([state, ops.cast(inputs[0], state.dtype)], axis=1)
        return self.slide(window), window[:, ops.shape(inputs[0])[1] :]

    def slide(self, window):
        """The layer along `[B, span - 1 + T, F]`, without padding: `[B, T, ...]` with stride 1."""
        return self.layer(window)
