"""Layers that treat every step alone."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from keras_s4.layers import GLU, LowRankDense
from keras_s4.streaming.streamer import Streamer, at_one_step, refusal, refuse_time_axis, register

MERGING = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Concatenate,
)
ALONG_THE_LAST_AXIS = ("glu", "log_softmax", "softmax", "sparse_softmax", "sparsemax")


@register(
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Embedding,
)
class Pointwise(Streamer):
    """A layer that is applied to all steps of a chunk at once."""

    def chunk(self, inputs, state):
        """The layer's own call."""
        return self.layer(inputs[0]), ()


class EachValue(Streamer):
    """Any layer behind a pooling over time, where nothing of the time axis is left: it sees one value at each step."""

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        self.takes_several = isinstance(layer, (*MERGING, keras.layers.Dot))

    def step(self, inputs, state):
        """The layer's own call."""
        return self.layer(inputs if self.takes_several else inputs[0]), ()

    def chunk(self, inputs, state):
        """The layer's own call, with the steps as further elements of the batch."""
        steps = ops.shape(inputs[0])[:2]
        outputs, _ = self.step([folded(tensor) for tensor in inputs], ())
        return ops.reshape(outputs, (*steps, *outputs.shape[1:])), ()


def folded(sequences):
    """`[B, T, ...]` as `[B * T, ...]`."""
    return ops.reshape(sequences, (-1, *sequences.shape[2:]))


@register(
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Masking,
    keras.layers.SpatialDropout1D,
)
class _Identity(Streamer):
    """Layers that do nothing once trained. A stream has no padding, so that there is nothing to mask either."""

    def step(self, inputs, state):
        return inputs[0], ()

    chunk = step


@register(*MERGING)
class _Merging(Streamer):
    takes_several = True

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if isinstance(layer, keras.layers.Concatenate):
            refuse_time_axis(layer, layer.axis, input_shape[0])

    def step(self, inputs, state):
        return at_one_step(self.layer, inputs, self.input_shape), ()

    def chunk(self, inputs, state):
        return self.layer(inputs), ()


@register(keras.layers.Dense, LowRankDense, GLU)
class _Dense(Pointwise):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        refuse_time_axis(layer, -1, input_shape)


@register(
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
)
class _AlongAnAxis(Pointwise):
    """Layers with an argument `axis`, which may be any but that of time."""

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        refuse_time_axis(layer, layer.axis, input_shape)


@register(keras.layers.Activation)
class _Activation(Pointwise):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if getattr(layer.activation, "__name__", "") in ALONG_THE_LAST_AXIS:
            refuse_time_axis(layer, -1, input_shape)


@register(keras.layers.PReLU)
class _PReLU(Pointwise):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if 1 not in (layer.shared_axes or ()):
            raise refusal(layer, "it has a slope of its own for each step of a sequence", "Use shared_axes=[1]")


@register(keras.layers.Rescaling)
class _Rescaling(Pointwise):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        for value in (layer.scale, layer.offset):
            shape = np.shape(value)
            if len(shape) >= len(input_shape) - 1 and shape[1 - len(input_shape)] != 1:
                raise refusal(
                    layer,
                    f"with inputs of shape {tuple(input_shape)} its scale or offset of shape {shape} differs by step",
                    "Scale all steps alike",
                )


@register(keras.layers.TimeDistributed)
class _TimeDistributed(Streamer):
    def step(self, inputs, state):
        return self.layer.layer(inputs[0]), ()

    def chunk(self, inputs, state):
        return self.layer(inputs[0]), ()


@register(keras.layers.Permute)
class _Permute(Pointwise):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if layer.dims[0] != 1:
            raise refusal(layer, f"dims={layer.dims} moves the time axis", "Leave time in place: dims=(1, ...)")


@register(keras.layers.Reshape)
class _Reshape(Streamer):
    """Every step gets a new shape; the time axis stays where it is."""

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        target = layer.compute_output_shape(input_shape)
        self._step_shape = tuple(target[2:])
        steps, features = input_shape[1], math.prod(input_shape[2:])
        if len(target) < 2 or target[1] != steps or math.prod(n or 0 for n in self._step_shape) != features:
            raise refusal(
                layer,
                f"it makes {tuple(target)} of {tuple(input_shape)}, which mixes steps",
                "Keep the time axis in front, as in Reshape((-1, ...))",
            )

    def step(self, inputs, state):
        return ops.reshape(inputs[0], (-1, *self._step_shape)), ()

    def chunk(self, inputs, state):
        return ops.reshape(inputs[0], (*ops.shape(inputs[0])[:2], *self._step_shape)), ()
