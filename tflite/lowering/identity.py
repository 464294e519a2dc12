"""Layers that do nothing once trained, in a stream."""

from __future__ import annotations

import keras

from keras_s4.tflite.lowering.registry import register


@register(
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Masking,
    keras.layers.SpatialDropout1D,
    takes="both",
)
def lower_identity(layer, inputs, builder):
    """No operation. A stream has no padded steps, so that there is nothing to mask either."""
    return inputs[0]
