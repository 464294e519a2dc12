"""Layers of which nothing is left in a stream."""

from __future__ import annotations

import keras

from keras_s4.layers import LastStep
from keras_s4.streaming.plan import UNCHANGING
from keras_s4.tflite.lowering.registry import register


@register(*UNCHANGING, keras.layers.Cropping1D, takes="both")
def lower_identity(layer, inputs, builder):
    """No operation; what comes behind a cropping starts at a later step."""
    return inputs[0]


@register(keras.layers.ZeroPadding1D, takes="units")
def lower_zero_padding(layer, inputs, builder):
    """No operation: the zeros in the initial state of the convolution behind it are the padding, and have no offset."""
    return inputs[0]


@register(LastStep, takes="both")
def lower_last_step(layer, inputs, builder):
    """No operation: so far, the current step is the last."""
    return inputs[0]
