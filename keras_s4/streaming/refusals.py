"""Layers that cannot run step by step, and what to use instead."""

import keras

from keras_s4.streaming.streamer import register_refusal

register_refusal(
    keras.layers.Bidirectional,
    reason="it reads sequences from their end too",
    remedy="Use the forward layer alone",
)
register_refusal(
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    reason="attention looks at all steps of a sequence",
    remedy="Use a layer that carries the past in a state: keras_s4.layers.DSS, or GRU",
)
register_refusal(
    keras.layers.Lambda,
    reason="nothing says which steps its function looks at",
    remedy="Use a layer of Keras, or write one of your own and add it with keras_s4.streaming.register",
)
register_refusal(
    keras.layers.Flatten,
    keras.layers.RepeatVector,
    reason="it takes the time axis for features",
    remedy="Put it behind a pooling over time, or behind keras_s4.layers.LastStep",
)
register_refusal(
    keras.layers.GroupNormalization,
    reason="its mean and variance are those of a whole sequence",
    remedy="Use BatchNormalization, or LayerNormalization, which takes those of one step",
)
register_refusal(
    keras.layers.UpSampling1D,
    keras.layers.Conv1DTranspose,
    reason="it makes several outputs of one sample",
    remedy="Let the model end before it",
)
