"""Diagonal state space layers."""

from __future__ import annotations

from keras import ops

from keras_s4.layers import DSS, DiagonalSSM, S4Block
from keras_s4.streaming.streamer import Streamer, at_one_step, register


@register(DSS, DiagonalSSM)
class _StateSpace(Streamer):
    def initial_state(self, batch):
        return self.layer.initial_state(batch)

    def step(self, inputs, state):
        return self.layer.step(inputs[0], state)

    def chunk(self, inputs, state):
        return self.layer.chunk(inputs[0], state)


@register(S4Block)
class _S4Block(Streamer):
    def initial_state(self, batch):
        return self.layer.dss.initial_state(batch)

    def step(self, inputs, state):
        block = self.layer
        hidden, state = block.dss.step(at_one_step(block.normalization, inputs[0], self.input_shape), state)
        mixed = at_one_step(lambda sequence: block.mix(block.activation(sequence)), hidden, self.input_shape)
        return self._residual(inputs[0]) + mixed, state

    def chunk(self, inputs, state):
        block = self.layer
        hidden, state = block.dss.chunk(block.normalization(inputs[0]), state)
        return self._residual(inputs[0]) + block.mix(block.activation(hidden)), state

    def _residual(self, inputs):
        return ops.cast(inputs, self.layer.compute_dtype)
