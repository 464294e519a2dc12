import keras
import numpy as np
import pytest
from conformance import shake

from keras_s4 import models
from keras_s4.layers import S4Block


@pytest.fixture(scope="module")
def trained_classifier():
    """A compiled classifier whose weights are not its initial ones; training takes longer than the tests."""
    keras.utils.set_random_seed(0)
    model = shake(models.classifier((40, 3), classes=4, channels=8, states=6, blocks=2))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


@pytest.fixture
def dense_model():
    return keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def mixture():
    """A layer of every kind whose matrices can be factored, compiled; the kernel of `narrow` is not worth it."""
    keras.utils.set_random_seed(1)
    return compiled(
        keras.layers.Conv1D(10, 3, padding="causal", activation="tanh", name="conv"),
        keras.layers.Conv1D(9, 4, strides=2, padding="same", use_bias=False, name="strided"),
        keras.layers.GRU(8, return_sequences=True, name="gru"),
        S4Block(3, name="block"),
        keras.layers.LSTM(7, return_sequences=True, go_backwards=True, name="lstm"),
        keras.layers.SimpleRNN(6, name="rnn"),
        keras.layers.Dense(12, activation="relu", name="dense"),
        keras.layers.Dense(1, name="narrow"),
    )


def compiled(*layers):
    model = shake(keras.Sequential([keras.Input((12, 5)), *layers], name="mixture"))
    model.compile("adam", "mse")
    return model


@pytest.fixture(scope="module")
def sequences():
    """Inputs of `mixture`, of which few directions are strong."""
    return (np.random.default_rng(2).normal(size=(64, 12, 5)) * 2.0 ** -np.arange(5)).astype("float32")
