import keras
import numpy as np
import pytest

from keras_s4 import models, reduce
from keras_s4.tflite import convert

LENGTH, FEATURES, CLASSES = 60, 3, 4


def labelled_windows(count, seed):
    """Sequences whose class is the frequency of a sine in noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    times = np.arange(LENGTH)[None, :, None]
    phases = random.uniform(0, 2 * np.pi, (count, 1, FEATURES))
    sines = np.sin(2 * np.pi * (0.02 + 0.05 * labels[:, None, None]) * times + phases)
    return (sines + 0.3 * random.normal(size=sines.shape)).astype("float32"), labels


@pytest.fixture(scope="session")
def windows():
    return labelled_windows(256, 0)


@pytest.fixture(scope="session")
def test_windows():
    return labelled_windows(96, 1)


@pytest.fixture(scope="session")
def trained_model(windows):
    keras.utils.set_random_seed(0)
    model = models.classifier((LENGTH, FEATURES), CLASSES, channels=8, states=8, blocks=2, dropout=0.0)
    # A training as short as this is over before XLA has compiled it.
    model.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    # So that its step is traced once.
    model.optimizer.build(model.trainable_variables)
    model.fit(*windows, epochs=12, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="session")
def reduced_model(trained_model):
    """As good as the trained one: another training would show nothing here."""
    return reduce(trained_model, 3)


@pytest.fixture(scope="session")
def converted(reduced_model, windows):
    return convert(reduced_model, windows[0])
