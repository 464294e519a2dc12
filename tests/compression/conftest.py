import keras
import numpy as np
import pytest

from keras_s4 import models


@pytest.fixture(scope="module")
def trained_classifier():
    keras.utils.set_random_seed(0)
    model = models.classifier((40, 3), classes=4, channels=8, states=6, blocks=2)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(64, 40, 3)).astype("float32")
    model.fit(x, np.arange(64) % 4, epochs=2, verbose=0)
    return model


@pytest.fixture
def dense_model():
    return keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(3)])
