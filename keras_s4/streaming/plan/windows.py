"""Layers whose output depends on a few inputs, and what is put in front of them: convolutions and local poolings."""

from __future__ import annotations

import keras

from keras_s4.layers import LowRankConv1D
from keras_s4.streaming.plan.flow import Effect, Reach
from keras_s4.streaming.plan.rules import RefusedError, refuse_channels_first, rule


@rule(keras.layers.Conv1D, keras.layers.DepthwiseConv1D, keras.layers.SeparableConv1D, LowRankConv1D, along_time=True)
def _convolution(layer, flows):
    refuse_channels_first(layer)
    _refuse_other_than_vectors(flows[0])
    (taps,), (dilation,) = layer.kernel_size, layer.dilation_rate
    reach = Reach(taps, dilation)
    if layer.padding == "same":
        causal = isinstance(layer, (keras.layers.Conv1D, LowRankConv1D))
        raise RefusedError(
            "padding='same' looks at steps to come",
            "Use padding='causal'" if causal else f"Use padding='valid' behind ZeroPadding1D(({reach.span - 1}, 0))",
        )
    delay = 0 if layer.padding == "causal" else reach.span - 1
    return Effect(layer.strides[0], delay, reach, takes_padding=True)


@rule(keras.layers.AveragePooling1D, keras.layers.MaxPooling1D, along_time=True)
def _local_pooling(layer, flows):
    refuse_channels_first(layer)
    _refuse_other_than_vectors(flows[0])
    if layer.padding != "valid":
        raise RefusedError(f"padding={layer.padding!r} looks at steps to come", "Use padding='valid'")
    (taps,) = layer.pool_size
    return Effect(layer.strides[0], taps - 1, Reach(taps))


@rule(keras.layers.ZeroPadding1D, along_time=True)
def _zero_padding(layer, flows):
    """In a stream nothing: the zeros in the initial state of the convolution behind it are the padding."""
    refuse_channels_first(layer)
    front, back = layer.padding
    if back:
        raise RefusedError(f"padding={layer.padding} adds steps at the end", f"Use padding=({front + back}, 0)")
    return Effect(padding=front)


@rule(keras.layers.Cropping1D, along_time=True)
def _cropping(layer, flows):
    """Passes its input on, from a later step."""
    front, back = layer.cropping
    if back:
        raise RefusedError(f"cropping={layer.cropping} needs to know where a sequence ends", "Crop at the front")
    return Effect(delay=front)


def _refuse_other_than_vectors(flow):
    if len(flow.step_shape) != 1:
        raise RefusedError(f"a step has shape {list(flow.step_shape)}", "Give it sequences of vectors")
