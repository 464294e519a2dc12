"""A block as a user might write one, and the same layers as a functional model, against which it is held."""

import keras
import numpy as np
from conformance import shake

from keras_s4.layers import DSS, Block

LENGTH, FEATURES, WIDTH = 40, 3, 6


@keras.saving.register_keras_serializable(package="tests")
class Mixer(Block):
    """`d + relu(dss(d)) * sigmoid(gate(x))` with `d = tanh(dense(x))`."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.dense = keras.layers.Dense(width, "tanh", dtype=self.dtype_policy)
        self.dss = DSS(4, dtype=self.dtype_policy)
        self.rectified = keras.layers.Activation("relu", dtype=self.dtype_policy)
        self.gate = keras.layers.Dense(width, "sigmoid", dtype=self.dtype_policy)
        self.product = keras.layers.Multiply(dtype=self.dtype_policy)
        self.total = keras.layers.Add(dtype=self.dtype_policy)

    def connect(self, call, inputs):
        hidden = call(self.dense, inputs)
        gated = call(self.product, call(self.rectified, call(self.dss, hidden)), call(self.gate, inputs))
        return call(self.total, hidden, gated)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="tests")
class Twofold(Block):
    """A block of blocks."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.first, self.second = Mixer(width), Mixer(width)

    def connect(self, call, inputs):
        return call(self.second, call(self.first, inputs))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def mixed(inputs, name):
    """What a `Mixer` computes, of layers named `{name}_{sublayer}`."""
    hidden = keras.layers.Dense(WIDTH, "tanh", name=f"{name}_dense")(inputs)
    rectified = keras.layers.Activation("relu", name=f"{name}_rectified")(DSS(4, name=f"{name}_dss")(hidden))
    gate = keras.layers.Dense(WIDTH, "sigmoid", name=f"{name}_gate")(inputs)
    product = keras.layers.Multiply(name=f"{name}_product")([rectified, gate])
    return keras.layers.Add(name=f"{name}_total")([hidden, product])


def model_of_blocks():
    """A block, and in a nested model a block of two."""
    hidden = keras.Input((LENGTH, WIDTH))
    inner = keras.Model(hidden, Twofold(WIDTH, name="both")(hidden), name="inner")
    inputs = keras.Input((LENGTH, FEATURES), name="samples")
    hidden = inner(Mixer(WIDTH, name="alone")(inputs))
    outputs = keras.layers.Dense(4, name="head")(keras.layers.GlobalAveragePooling1D(name="pooling")(hidden))
    return shake(keras.Model(inputs, outputs, name="blocks"))


PLAIN_NAMES = {"alone/": "alone_", "inner/both/first/": "first_", "inner/both/second/": "second_"}


def plain(path):
    """The name in the functional model of what has a path in the model of blocks."""
    for start, name in PLAIN_NAMES.items():
        if path.startswith(start):
            return name + path.removeprefix(start)
    return path


def functional_twin(model):
    """The functional model with the weights of a model of blocks."""
    from keras_s4.surgery.paths import layers_by_path

    inputs = keras.Input((LENGTH, FEATURES), name="samples")
    hidden = mixed(mixed(mixed(inputs, "alone"), "first"), "second")
    outputs = keras.layers.Dense(4, name="head")(keras.layers.GlobalAveragePooling1D(name="pooling")(hidden))
    twin = keras.Model(inputs, outputs, name="functional")
    for path, layer in layers_by_path(model).items():
        if plain(path) in {each.name for each in twin.layers}:
            twin.get_layer(plain(path)).set_weights(layer.get_weights())
    return twin


def sequences(count=24, seed=0):
    noise = np.random.default_rng(seed).normal(size=(count, LENGTH, FEATURES))
    return np.cumsum(noise, axis=1).astype("float32") / 4
