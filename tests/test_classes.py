"""A class that a user derives from one of Keras is taken for that only as far as it computes the same."""

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4.classes import known_class, own_methods
from keras_s4.layers import DSS, LastStep, S4Block
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import convert

L = keras.layers
DATA = np.random.default_rng(0).normal(size=(8, 12, 3)).astype("float32")


class Named(L.Dense):
    """Computes what Dense computes."""

    def __init__(self, units, note="", **kwargs):
        super().__init__(units, **kwargs)
        self.note = note

    def build(self, input_shape):
        super().build(input_shape)
        self.note += "built"

    def get_config(self):
        return {**super().get_config(), "note": self.note}


class Doubled(Named):
    def call(self, inputs):
        return 2 * super().call(inputs)


class MonteCarlo(L.Dropout):
    def call(self, inputs):
        return super().call(inputs, training=True)


class ByAProperty(L.Normalization):
    def call(self, inputs):
        return super().call(inputs) * self.gain

    @property
    def gain(self):
        return 3.0


class Louder(DSS):
    def call(self, inputs, initial_state=None, mask=None):
        return super().call(inputs, mask=mask) * 3


class OtherBlock(S4Block):
    def mix(self, hidden):
        return hidden


def model_of(layer):
    return keras.Sequential([keras.Input(DATA.shape[1:]), L.Dense(3), layer, DSS(2), LastStep()])


def test_what_is_derived_and_what_is_written_anew():
    assert own_methods(Named(2), {L.Dense}) == []
    assert own_methods(Doubled(2), {L.Dense}) == ["call"]
    assert own_methods(Doubled(2), {Doubled}) == [], "a class that is known has methods that are known"
    assert own_methods(OtherBlock(2), {S4Block}) == ["mix"]
    assert own_methods(L.SpatialDropout1D(0.5), {L.Dropout}) == [], "Keras' own classes are known"
    assert known_class(Doubled(2), {L.Layer, L.Dense}) is L.Dense
    assert known_class(Doubled(2), {DSS}) is None


def test_a_class_that_computes_the_same_is_taken():
    model = model_of(Named(4))
    expected = model.predict(DATA, verbose=0)
    np.testing.assert_allclose(StreamingModel(model).predict(DATA, verbose=0)[:, -1], expected, atol=1e-5)
    assert np.abs(convert(model, DATA).predict(DATA) - expected).max() < 0.05 * np.abs(expected).max()
    assert keras_s4.error_bound(model, keras_s4.reduce(model, 1), DATA).bound.max() > 0


@pytest.mark.parametrize("layer", [Doubled(4), MonteCarlo(0.5), ByAProperty(mean=0.0, variance=1.0), Louder(2)])
def test_one_that_computes_otherwise_is_refused(layer):
    model = model_of(layer)
    said = f"'{layer.name}' .* it is a {type(layer).__mro__[1 + isinstance(layer, Doubled)].__name__} with call written"
    with pytest.raises(NotImplementedError, match=said):
        convert(model, DATA)
    with pytest.raises(ValueError, match=said):
        StreamingModel(model)
    with pytest.raises(ValueError, match=f"no rule for {type(layer).__name__} '{layer.name}'"):
        keras_s4.error_bound(model, model, DATA)


class Halved(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 0.5 * super().call(inputs)


def test_a_sequential_model_with_a_call_of_its_own_is_refused():
    model = Halved([keras.Input(DATA.shape[1:]), DSS(2), LastStep()])
    for use in (keras_s4.spectrum, lambda m: keras_s4.reduce(m, 1), StreamingModel, lambda m: convert(m, DATA)):
        with pytest.raises(ValueError, match="written by subclassing"):
            use(model)
