"""Models small enough for many trials, and their data. Also for the processes that `search_worker.py` runs in."""

import keras
import numpy as np

from keras_s4 import models

LENGTH, FEATURES, CLASSES = 16, 2, 2


def windows(count, seed):
    """Two classes of waves in noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    frequencies = 0.3 + 0.9 * labels[:, None, None]
    waves = np.sin(frequencies * np.arange(LENGTH)[None, :, None] + random.uniform(0, 6, (count, 1, FEATURES)))
    return (waves + 0.3 * random.normal(size=waves.shape)).astype("float32"), labels


def compiled(model):
    """Eager: for so few batches a graph takes longer to trace than to run."""
    model.compile(
        keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True
    )
    return model


def state_model():
    """Two parts with the ranks 1 to 4."""
    keras.utils.set_random_seed(0)
    model = compiled(models.classifier((LENGTH, FEATURES), CLASSES, channels=4, states=4, blocks=2, dropout=0.0))
    model.fit(*windows(32, 0), epochs=2, verbose=0)
    return model


def matrix_model():
    """Two parts, "first/kernel" and "second/kernel", with the ranks 1, 2, 3 and 8."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((LENGTH, FEATURES)),
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="tanh", name="first"),
        keras.layers.Dense(8, activation="tanh", name="second"),
        keras.layers.Dense(CLASSES, activation="softmax", name="head"),
    ]
    return compiled(keras.Sequential(layers))


def no_training(model, epochs):
    """In place of a training, where only the search matters."""
