"""Models whose layers are inside of other layers, in every way that is looked into."""

import keras
import numpy as np
from conformance import shake

from keras_s4.layers import DSS, DSSCell, S4Block

FEATURES, STEPS = 5, 12


def pieces():
    """A layer of every kind that holds others, by its name, each of which takes and gives `[B, 12, features]`."""
    inner = keras.Input((STEPS, FEATURES))
    deep = keras.Sequential([keras.Input((STEPS, FEATURES)), keras.layers.Dense(7, "tanh", name="dense")], name="deep")
    middle = keras.Model(inner, S4Block(3, name="block")(deep(inner)), name="middle")
    outer = keras.Input((STEPS, FEATURES))
    cells = [keras.layers.LSTMCell(6, name="first"), keras.layers.SimpleRNNCell(5, name="second")]
    return {
        "outer": keras.Model(outer, keras.layers.Dense(6, name="behind")(middle(outer)), name="outer"),
        "each": keras.layers.TimeDistributed(keras.layers.Dense(8, "relu", name="dense"), name="each"),
        "both": keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True, name="gru"), name="both"),
        "alone": keras.layers.RNN(keras.layers.GRUCell(6, name="cell"), return_sequences=True, name="alone"),
        "stack": keras.layers.RNN(cells, return_sequences=True, name="stack"),
        "dss_alone": keras.layers.RNN(
            DSSCell(DSS(3, name="dss"), channels=5, name="step"), return_sequences=True, name="dss_alone"
        ),
    }


PATHS = {
    "outer/middle/deep/dense": keras.layers.Dense,
    "outer/middle/block/dss": DSS,
    "outer/middle/block/value": keras.layers.Dense,
    "outer/behind": keras.layers.Dense,
    "each/dense": keras.layers.Dense,
    "both/forward_gru": keras.layers.GRU,
    "both/backward_gru": keras.layers.GRU,
    "alone/cell": keras.layers.GRUCell,
    "stack/first": keras.layers.LSTMCell,
    "stack/second": keras.layers.SimpleRNNCell,
    "dss_alone/step/dss": DSS,
}


def nested_model():
    """All of them one behind the other, and a head; the nested model is called twice."""
    keras.utils.set_random_seed(0)
    layers = pieces()
    inputs = keras.Input((STEPS, FEATURES), name="samples")
    hidden = keras.layers.Dense(FEATURES, name="between")(layers["outer"](inputs))
    for layer in layers.values():
        hidden = layer(hidden)
    return shake(keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden), name="nested"))


def sequences(count=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, STEPS, FEATURES)).astype("float32")
