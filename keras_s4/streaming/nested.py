"""A model as a layer of another."""

from __future__ import annotations

import keras

from keras_s4.streaming.network import Network, Signal, graph_of_streams
from keras_s4.streaming.streamer import Streamer, register


@register(keras.Model)
class _Nested(Streamer):
    """A network of its own, whose steps are those at which its input is due."""

    counts = True

    def __init__(self, layer, input_shape, length, counted):
        super().__init__(layer, input_shape, length)
        source = Signal(tuple(input_shape), layer.inputs[0].dtype)
        self._network = Network(graph_of_streams(layer), source, length, counted)
        self.stride = self._network.output.timing.period
        self.delay = self._network.output.timing.phase
        self.pools = not self._network.output.has_time

    def initial_state(self, batch):
        return self._network.initial_state(batch)

    def step(self, inputs, state):
        return self._network.step(inputs[0], state)

    def chunk(self, inputs, state):
        return self._network.chunk(inputs[0], state)
