"""Layers that look at all steps so far, or would have to look at all steps of a sequence."""

from __future__ import annotations

import keras

from keras_s4.layers import DSS, DiagonalSSM, LastStep, RecentAverage, S4Block, SlidingAverage
from keras_s4.streaming.plan.flow import Effect
from keras_s4.streaming.plan.rules import RefusedError, refuse, refuse_channels_first, rule, set_effect

set_effect((LastStep,), Effect(pools=True))


@rule(DSS, DiagonalSSM, S4Block, along_time=True)
def _state_space(layer, flows):
    if (layer.dss if isinstance(layer, S4Block) else layer).bidirectional:
        raise RefusedError(
            "it is bidirectional: its output depends on future inputs", "Train the model with bidirectional=False"
        )
    return Effect(lasting=True)


@rule(keras.layers.RNN, along_time=True)
def _recurrent(layer, flows):
    """`keras.layers.RNN` around any cell, and its subclasses."""
    if layer.go_backwards:
        raise RefusedError("go_backwards=True starts at the end of a sequence", "Use go_backwards=False")
    return Effect(lasting=True, pools=not layer.return_sequences)


@rule(keras.layers.GlobalAveragePooling1D, keras.layers.GlobalMaxPooling1D, along_time=True)
def _global_pooling(layer, flows):
    refuse_channels_first(layer)
    if layer.keepdims:
        raise RefusedError("keepdims=True leaves a time axis of one step", "Use keepdims=False")
    return Effect(lasting=True, pools=True, averages=isinstance(layer, keras.layers.GlobalAveragePooling1D))


@rule(RecentAverage, along_time=True)
def _recent_average(layer, flows):
    return Effect(lasting=True, pools=not layer.return_sequences)


@rule(SlidingAverage, along_time=True)
def _sliding_average(layer, flows):
    """As one value it holds between the hops; as a sequence it drops the steps between them."""
    stride = layer.hop if layer.return_sequences else 1
    return Effect(stride, delay=layer.hop - 1, lasting=True, pools=not layer.return_sequences)


refuse(
    keras.layers.Bidirectional,
    reason="it reads sequences from their end too",
    remedy="Use the forward layer alone",
)
refuse(
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    reason="attention looks at all steps of a sequence",
    remedy="Use a layer that carries the past in a state: keras_s4.layers.DSS, or GRU",
)
refuse(
    keras.layers.Lambda,
    reason="nothing says which steps its function looks at",
    remedy="Use a layer of Keras, or write one of your own and register what it does in time",
)
refuse(
    keras.layers.GroupNormalization,
    reason="its mean and variance are those of a whole sequence",
    remedy="Use BatchNormalization, or LayerNormalization, which takes those of one step",
)
refuse(
    keras.layers.UpSampling1D,
    keras.layers.Conv1DTranspose,
    reason="it makes several outputs of one sample",
    remedy="Let the model end before it",
)
