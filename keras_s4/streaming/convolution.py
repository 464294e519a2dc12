"""Convolutions over time, and what is put in front of them."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.layers import LowRankConv1D
from keras_s4.streaming.streamer import Streamer, refusal, register
from keras_s4.streaming.window import Window


@register(keras.layers.DepthwiseConv1D, keras.layers.SeparableConv1D)
class _Convolution(Window):
    takes_padding = True

    def __init__(self, layer, input_shape, length):
        span = (layer.kernel_size[0] - 1) * layer.dilation_rate[0] + 1
        super().__init__(layer, input_shape, length, span, layer.strides[0])
        if layer.padding == "same":
            raise refusal(layer, "padding='same' looks at steps to come", self.remedy(span))

    def remedy(self, span):
        return f"Use padding='valid' behind ZeroPadding1D(({span - 1}, 0))"


@register(keras.layers.Conv1D)
class _Conv1D(_Convolution):
    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if layer.padding == "causal":
            self.delay = 0

    def remedy(self, span):
        return "Use padding='causal'"

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


@register(keras.layers.ZeroPadding1D)
class _ZeroPadding(Streamer):
    """In a stream nothing: the zeros in the initial state of the convolution behind it are the padding."""

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise refusal(layer, "data_format='channels_first' puts time last", 'Use "channels_last"')
        front, back = layer.padding
        if back:
            raise refusal(layer, f"padding={layer.padding} adds steps at the end", f"Use padding=({front + back}, 0)")
        self.padding = front

    def step(self, inputs, state):
        return inputs[0], ()

    chunk = step


@register(keras.layers.Cropping1D)
class _Cropping(Streamer):
    """Passes its input on, from a later step."""

    def __init__(self, layer, input_shape, length):
        super().__init__(layer, input_shape, length)
        self.delay, back = layer.cropping
        if back:
            raise refusal(layer, f"cropping={layer.cropping} needs to know where a sequence ends", "Crop at the front")

    def step(self, inputs, state):
        return inputs[0], ()

    chunk = step
