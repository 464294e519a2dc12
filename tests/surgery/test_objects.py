"""What users' layers hold in objects and functions reaches their copies, or the copy is refused."""

import threading

import keras
import numpy as np
import pytest
import tensorflow

from keras_s4.layers import DSS
from keras_s4.surgery.cloning import clone

L = keras.layers
DATA = np.random.default_rng(0).normal(5.0, 3.0, size=(8, 10, 3)).astype("float32")


class Scaler:
    def __init__(self):
        self.mean, self.deviation = 0.0, 1.0

    def fit(self, data):
        self.mean, self.deviation = data.mean((0, 1)), data.std((0, 1))
        return self


class Gains(tensorflow.Module):
    def __init__(self):
        super().__init__()
        self.gains = tensorflow.Variable([1.0, 1.0, 1.0])


class Holding(L.Layer):
    """Holds one of these, made anew by `adapt` or before it."""

    def __init__(self):
        super().__init__()
        self.scaler, self.later, self.gains, self.function = Scaler(), None, Gains(), None
        self.steps = [self.scaled]
        self.own = lambda inputs: inputs + self.offset()

    def offset(self):
        return 1.0

    def scaled(self, inputs):
        return (inputs - self.scaler.mean) / self.scaler.deviation

    def adapt(self, data):
        mean = data.mean()
        self.scaler.fit(data)
        self.later = Scaler().fit(2 * data)
        self.gains.gains.assign([1.0, 2.0, 3.0])
        self.function = lambda inputs: inputs - mean

    def call(self, inputs):
        for step in [*self.steps, self.function, self.own]:
            inputs = inputs if step is None else step(inputs)
        return inputs * self.gains.gains + (0.0 if self.later is None else self.later.mean)


def adapted():
    layer = Holding()
    layer.adapt(DATA)
    return layer, keras.Sequential([keras.Input(DATA.shape[1:]), layer, DSS(2)])


def test_a_copy_computes_the_same_and_shares_nothing():
    layer, model = adapted()
    copied = clone(model, {})
    expected = model.predict(DATA, verbose=0)
    np.testing.assert_array_equal(copied.predict(DATA, verbose=0), expected)
    twin = copied.layers[0]
    assert twin.scaler is not layer.scaler and twin.gains.gains is not layer.gains.gains
    assert twin.own is not layer.own, "a function that reads its layer stays with it"
    twin.gains.gains.assign([0.0, 0.0, 0.0])
    np.testing.assert_array_equal(layer.gains.gains, [1.0, 2.0, 3.0])


class Rest(L.Layer):
    def __init__(self):
        super().__init__()
        self.rest = None

    def call(self, inputs):
        return inputs if self.rest is None else self.rest(inputs)


def test_a_function_that_reads_the_layer_and_came_later_is_refused():
    layer = Rest()
    model = keras.Sequential([keras.Input(DATA.shape[1:]), layer, DSS(2)])
    layer.rest = lambda inputs: inputs * (2.0 if layer.built else 1.0)
    with pytest.raises(ValueError, match=r"\(Rest\) cannot be copied: what its attribute 'rest' \(function\) holds"):
        clone(model, {})


def test_an_object_that_cannot_be_copied_is_refused():
    layer = Rest()
    model = keras.Sequential([keras.Input(DATA.shape[1:]), layer, DSS(2)])
    layer.rest = Scaler()
    layer.rest.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"its attribute 'rest' \(Scaler\) holds"):
        clone(model, {})


class WithArguments(L.Layer):
    def __init__(self, mean):
        super().__init__()
        self.mean = np.asarray(mean)

    def call(self, inputs):
        return inputs - self.mean


def test_arguments_that_no_configuration_gives_are_refused_in_one_message():
    model = keras.Sequential([keras.Input(DATA.shape[1:]), WithArguments(np.ones(3)), DSS(2)])
    with pytest.raises(ValueError, match=r"\(WithArguments\) cannot be copied: .* get_config\(\) does not give them"):
        clone(model, {})
