"""A5: parts of a model that hide inside other layers."""

from __future__ import annotations

import keras
import numpy as np

import keras_s4
from keras_s4.layers import DSS, DSSCell, S4Block
from user_cases.case import Wrong, case, expect_equal

LENGTH = 30


def distributed() -> list[keras.layers.Layer]:
    """A Dense layer in a wrapper."""
    return [keras.layers.TimeDistributed(keras.layers.Dense(24), name="hidden"), keras.layers.GRU(16)]


def nested() -> list[keras.layers.Layer]:
    """A model in a model."""
    inner = keras.Sequential([keras.Input((LENGTH, 16)), keras.layers.Dense(24), DSS(8)], name="hidden")
    return [inner, keras.layers.GlobalAveragePooling1D()]


def nested_twice() -> list[keras.layers.Layer]:
    """In a model in a model."""
    inner = keras.Sequential([keras.Input((LENGTH, 16)), S4Block(8)], name="inner")
    return [keras.Sequential([keras.Input((LENGTH, 16)), inner], name="hidden"), keras.layers.GlobalMaxPooling1D()]


HIDING = {
    "TimeDistributed(Dense)": distributed,
    "a nested model": nested,
    "a model nested twice": nested_twice,
    "RNN(GRUCell)": lambda: [keras.layers.RNN(keras.layers.GRUCell(24), name="hidden")],
    "RNN of several cells": lambda: [
        keras.layers.RNN([keras.layers.LSTMCell(24), keras.layers.GRUCell(16)], name="hidden")
    ],
    "RNN(DSSCell)": lambda: [
        keras.layers.RNN(DSSCell(DSS(8), channels=16), return_sequences=True, name="hidden"),
        keras.layers.GlobalAveragePooling1D(),
    ],
    "Bidirectional(LSTM)": lambda: [keras.layers.Bidirectional(keras.layers.LSTM(24), name="hidden")],
    "SeparableConv1D": lambda: [
        keras.layers.SeparableConv1D(48, 3, name="hidden"),
        keras.layers.GlobalAveragePooling1D(),
    ],
}


def model_of(layers: list[keras.layers.Layer]) -> keras.Model:
    """Behind an encoder of 16 channels."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((LENGTH, 4)), keras.layers.Dense(16), *layers, keras.layers.Dense(4)])
    return model


def parts_of(model: keras.Model, kind: str) -> dict[str, keras_s4.compression.Part]:
    """The parts of a kind; none in a model without any."""
    try:
        return keras_s4.compression.parts_of(model, kind)
    except ValueError:
        return {}


for title, layers in HIDING.items():

    @case("A5", f"{title} is in the spectrum, or named as staying")
    def listed(layers=layers):
        """The name appears in what is printed."""
        model = model_of(layers())
        found = [
            str(keras_s4.spectrum(model)),
            str(keras_s4.spectrum(model, kinds=("states", "matrix"))),
        ]
        if not any("hidden" in text for text in found):
            raise Wrong("the layer is neither listed nor named as left as it is")

    @case("A5", f"{title}: reduced to half, and still the same shape of model")
    def halved(layers=layers):
        """The parts that are listed are really cut."""
        model = model_of(layers())
        data = np.random.default_rng(0).normal(size=(4, LENGTH, 4)).astype("float32")
        for kind in ("states", "matrix"):
            parts = parts_of(model, kind)
            hidden = {name: part for name, part in parts.items() if name.startswith("hidden")}
            # At half its full rank a square matrix is no smaller than whole.
            mine = {
                name: max(rank for rank in part.choices if 2 * rank < max(part.max_rank, 3))
                for name, part in hidden.items()
            }
            if not mine:
                continue
            small = keras_s4.reduce(model, mine)
            if kind == "matrix" and small.count_params() >= model.count_params():
                raise Wrong(f"{model.count_params()} weights became {small.count_params()}")
            if small.predict(data, verbose=0).shape != (4, 4):
                raise Wrong("other outputs")
            left = parts_of(small, kind)
            if any(left[name].max_rank > rank for name, rank in mine.items() if name in left):
                raise Wrong(f"ranks {[left[name].max_rank for name in mine if name in left]} in place of {mine}")
        expect_equal(model.predict(data, verbose=0), keras_s4.reduce(model, {}).predict(data, verbose=0))


@case("A5", "a nested model called twice is reduced once")
def shared() -> None:
    """One set of weights."""
    keras.utils.set_random_seed(5)
    inner = keras.Sequential([keras.Input((LENGTH, 16)), DSS(8)], name="hidden")
    inputs = keras.Input((LENGTH, 16))
    outputs = keras.layers.Add()([inner(inputs), inner(keras.layers.Dense(16)(inputs))])
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(outputs))
    parts = keras_s4.compression.parts_of(model, "states")
    small = keras_s4.reduce(model, {name: 2 for name in parts})
    if len(parts) != 1 or len(keras_s4.compression.parts_of(small, "states")) != 1:
        raise Wrong(f"parts {list(parts)}")
