"""Convolutions over time, and poolings of a few steps."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers import LowRankConv1D
from keras_s4.streaming.streamer import register
from keras_s4.streaming.window import Window

register(
    keras.layers.AveragePooling1D,
    keras.layers.DepthwiseConv1D,
    keras.layers.MaxPooling1D,
    keras.layers.SeparableConv1D,
)(Window)


@register(keras.layers.Conv1D)
class _Conv1D(Window):
    def slide(self, window):
        layer = self.layer
        if layer.padding == "valid":
            return layer(window)
        # The layer would put zeros in front of the window, where the inputs before it stand.
        outputs = ops.conv(
            window,
            ops.cast(layer.kernel, layer.compute_dtype),
            padding="valid",
            dilation_rate=layer.dilation_rate,
            data_format="channels_last",
        )
        if layer.use_bias:
            outputs = outputs + ops.cast(layer.bias, layer.compute_dtype)
        return outputs if layer.activation is None else layer.activation(outputs)


@register(LowRankConv1D)
class _LowRankConv1D(_Conv1D):
    def slide(self, window):
        return self.layer.slide(window)
