"""Activations are known by their functions, not by what users call theirs."""

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4.activation_names import activation_name
from keras_s4.layers import DSS, LastStep
from keras_s4.tflite import convert

L = keras.layers
DATA = np.random.default_rng(0).normal(size=(12, 10, 3)).astype("float32")


def relu(x):
    """Not that of Keras."""
    return 3 * keras.ops.relu(x)


def share(x):
    return x / (1e-3 + keras.ops.sum(keras.ops.abs(x), axis=-1, keepdims=True))


def without_mean(x):
    return x - keras.ops.mean(x, axis=0, keepdims=True)


def model_of(activation):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(DATA.shape[1:]), DSS(2), LastStep(), L.Dense(4, activation=activation)])


def test_names():
    assert activation_name(keras.activations.get("gelu")) == activation_name(keras.ops.gelu) == "gelu"
    assert activation_name(relu).endswith(".relu") and activation_name(relu) != "relu"
    assert activation_name(L.ReLU()) == "ReLU"


def test_a_function_of_the_backend_is_what_its_name_says():
    tensorflow = pytest.importorskip("tensorflow")
    assert activation_name(tensorflow.nn.softmax) == "softmax"
    model = model_of(tensorflow.nn.softmax)
    converted, expected = convert(model, DATA), model.predict(DATA, verbose=0)
    assert converted.program.output_activation == "softmax"
    np.testing.assert_allclose(converted.predict(DATA), expected, atol=0.02)
    found = keras_s4.error_bound(model, keras_s4.reduce(model, 1), DATA)
    assert np.all(found.measured <= found.bound + 1e-6)


def test_a_users_function_is_computed_as_written():
    model = model_of(relu)
    expected = model.predict(DATA, verbose=0)
    np.testing.assert_allclose(convert(model, DATA).predict(DATA), expected, atol=0.05 * expected.max())
    with pytest.raises(ValueError, match=r"how steep the activation '.*\.relu' of layer"):
        keras_s4.error_bound(model, model, DATA)


@pytest.mark.parametrize("activation", [share, without_mean, lambda x: keras.ops.flip(x, axis=-1)])
def test_what_mixes_numbers_has_no_table(activation):
    with pytest.raises(NotImplementedError, match="looks at all channels together"):
        convert(model_of(activation), DATA)
