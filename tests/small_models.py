"""Small ready-made models, and sequences for them."""

import keras
import numpy as np
from conformance import shake

STEPS, FEATURES, CLASSES = 32, 3, 2


def slow_or_fast(count=128, seed=0):
    """Sines of two frequencies at random phases: the classes have equal averages, and differ only over time."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    phases = random.uniform(0, 2 * np.pi, (count, 1, FEATURES))
    time = np.arange(STEPS)[None, :, None]
    frequencies = np.array([0.2, 0.9])[labels][:, None, None]
    signals = np.sin(frequencies * time + phases) + 0.1 * random.normal(size=(count, STEPS, FEATURES))
    return signals.astype("float32"), labels


def small(maker, size, input_shape=(None, FEATURES), **arguments):
    """A model with weights of no special value."""
    keras.utils.set_random_seed(0)
    return shake(maker(input_shape, size, channels=6, states=3, **arguments))
