"""Layers that do nothing once trained."""

from __future__ import annotations

import keras

from keras_s4.tflite.lowering.registry import register


@register(keras.layers.Dropout, keras.layers.SpatialDropout1D)
def lower_identity(layer, inputs, builder):
    """No operation."""
    return inputs[0]
