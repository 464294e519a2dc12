"""Layers whose output depends on a few inputs: the current one and those before it."""

from __future__ import annotations

from keras import ops

from keras_s4.streaming.streamer import Streamer, refusal


class Window(Streamer):
    """A layer that slides along the sequence; the state holds the inputs that it still needs.

    Before the first sample the state is zeros, which stand for padding in front of the sequence.

    Args:
        layer: with arguments `padding` and `data_format`.
        input_shape: `[B, L, F]`.
        length: see `Streamer`.
        span: inputs from the first to the last that an output depends on.
        stride: inputs from one output to the next.
    """

    def __init__(self, layer, input_shape, length, span: int, stride: int):
        super().__init__(layer, input_shape, length)
        if layer.data_format != "channels_last":
            raise refusal(layer, f"data_format={layer.data_format!r} puts time last", 'Use "channels_last"')
        self.span = span
        self.stride = stride
        self.delay = span - 1

    def initial_state(self, batch):
        """The last inputs, `[B, span - 1, F]`."""
        return ops.zeros((batch, self.span - 1, self.input_shape[-1]), dtype=self.layer.compute_dtype)

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
