"""Memories of thousands of steps, against the Keras model itself."""

import keras
import numpy as np
import pytest

from keras_s4 import initializers, layers
from keras_s4.tflite import convert
from keras_s4.tflite.lowering import delta_form

# On the nearest poles of the grid, with gains that cancel, worst channels reached 21 to 33 dB.
WORST = 40


@pytest.fixture(scope="module")
def slow():
    keras.utils.set_random_seed(0)
    steps = initializers.LogUniform(1e-4, 1e-2)
    layer = layers.DSS(8, per_channel_poles=True, time_step_initializer=steps)
    model = keras.Sequential([keras.Input((2000, 16)), layer])
    x = np.random.default_rng(0).normal(size=(2, 2000, 16))
    return model, x


def worst_channel(model, x):
    expected = model.predict(x, verbose=0)
    error = convert(model, x).predict(x) - expected
    return (10 * np.log10(np.mean(expected**2, axis=(0, 1)) / np.mean(error**2, axis=(0, 1)))).min()


def test_every_channel_of_slow_modes_is_faithful(slow):
    assert worst_channel(*slow) > WORST


def test_the_nearest_poles_would_not_do(slow, monkeypatch):
    monkeypatch.setattr(delta_form, "GOOD_FIT", np.inf)
    assert worst_channel(*slow) < WORST - 5
