"""Models that pages are made of, small and untrained: what they say does not matter, only that it is the same."""

import functools

import keras
import numpy as np

from keras_s4.datasets import Sensor
from keras_s4.decisions import Decision
from keras_s4.layers import DSS, RecentAverage
from keras_s4.tflite import convert

LENGTH, RATE = 80, 50.0
ACCELERATION = (Sensor("acceleration", ("x", "y", "z"), "g", lsb=1 / 4096),)
CLASSES = ("walking", "sitting", "running")
DECISION = Decision(every=10, rate=RATE, smoothing=0.3, threshold=0.34, classes=CLASSES, confirmations=2)


def movements(count, seed, length=LENGTH):
    """Noise of changing strength, `[B, L, 3]`, as float64."""
    random = np.random.default_rng(seed)
    strength = np.repeat(random.uniform(0.1, 1.5, (count, -(-length // 20), 3)), 20, axis=1)[:, :length]
    return np.cumsum(random.normal(size=(count, length, 3)), axis=1) * strength / 4 + [0.0, 0.0, 1.0]


def sounds(count, seed, length=400):
    """Tones in noise, `[B, L, 1]`, of 16-bit samples."""
    random = np.random.default_rng(seed)
    steps = np.arange(length)
    tones = np.sin(random.uniform(0.05, 1.5, (count, 1)) * steps) * random.uniform(0.05, 0.6, (count, 1))
    return (
        np.rint((tones + 0.02 * random.normal(size=tones.shape)) * 2**15).clip(-(2**15), 2**15 - 1)[..., None] / 2**15
    )


@functools.cache
def wearable():
    """Three axes in g; one class at a time, in a stream that nobody resets."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6), DSS(4), RecentAverage(1.0, RATE), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((LENGTH, 3)), *layers], name="wearable")
    return convert(model, movements(16, 1))


@functools.cache
def listener():
    """One channel of sound; two probabilities for every sample."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4), DSS(4), keras.layers.Dense(2, activation="sigmoid", name="heard")]
    return convert(keras.Sequential([keras.Input((400, 1)), *layers], name="listener"), sounds(16, 2))
