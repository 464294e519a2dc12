"""Layers that treat every step alone."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers import GLU, LastStep, LowRankDense, Standardization
from keras_s4.streaming.plan import MERGING, UNCHANGING
from keras_s4.streaming.streamer import Streamer, at_one_step, register


@register(
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.ELU,
    keras.layers.Embedding,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.Permute,
    keras.layers.RMSNormalization,
    keras.layers.ReLU,
    keras.layers.Rescaling,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
    GLU,
    LowRankDense,
    Standardization,
)
class Pointwise(Streamer):
    """A layer that is applied to all steps of a chunk at once."""

    def chunk(self, inputs, state):
        """The layer's own call."""
        return self.layer(inputs[0]), ()


class EachValue(Streamer):
    """Any layer behind a pooling over time, where nothing of the time axis is left: it sees one value at each step."""

    def step(self, inputs, state):
        """The layer's own call."""
        return self.layer(inputs if len(inputs) > 1 else inputs[0]), ()

    def chunk(self, inputs, state):
        """The layer's own call, with the steps as further elements of the batch."""
        steps = ops.shape(inputs[0])[:2]
        outputs, _ = self.step([ops.reshape(tensor, (-1, *tensor.shape[2:])) for tensor in inputs], ())
        return ops.reshape(outputs, (*steps, *outputs.shape[1:])), ()


@register(*UNCHANGING, keras.layers.Cropping1D, keras.layers.ZeroPadding1D)
class _Unchanged(Streamer):
    """Layers of which nothing is left in a step, whatever they do to the time axis."""

    def step(self, inputs, state):
        return inputs[0], ()

    chunk = step


@register(LastStep)
class _LastStep(_Unchanged):
    """So far, the current step is the last."""


@register(*MERGING)
class _Merging(Streamer):
    def step(self, inputs, state):
        return at_one_step(self.layer, inputs, self.input_shape), ()

    def chunk(self, inputs, state):
        return self.layer(inputs), ()


@register(keras.layers.TimeDistributed)
class _TimeDistributed(Streamer):
    def step(self, inputs, state):
        return self.layer.layer(inputs[0]), ()

    def chunk(self, inputs, state):
        return self.layer(inputs[0]), ()


@register(keras.layers.Reshape)
class _Reshape(Streamer):
    def step(self, inputs, state):
        return ops.reshape(inputs[0], (-1, *self.call.outputs[0].step_shape)), ()

    def chunk(self, inputs, state):
        return ops.reshape(inputs[0], (*ops.shape(inputs[0])[:2], *self.call.outputs[0].step_shape)), ()
