"""DSS layers and systems to test with."""

import numpy as np

from keras_s4.layers import DSS
from keras_s4.systems import DiagonalSystem

CHANNELS, STATES = 4, 6


def built(per_channel_poles=False, channels=CHANNELS, states=STATES, **arguments):
    layer = DSS(states, per_channel_poles=per_channel_poles, **arguments)
    layer.build((None, None, channels))
    return layer


def shaken(length=None, channels=CHANNELS, **arguments):
    """A layer in float64 none of whose weights are as they were initialised; its poles keep their size."""
    layer = DSS(STATES, dtype="float64", **arguments)
    layer.build((None, length, channels))
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(weight * np.exp(0.1 * random.normal(size=weight.shape)))
    return layer


def mixed_system():
    """Complex, real, negative real, deadbeat and padding entries; one pole close to the unit circle."""
    poles = np.array([[0.9 * np.exp(0.3j), 0.95, -0.7, 0.0, 0.5j], [0.9995 * np.exp(2.0j), -0.999, 0.3, 0.2, 0.0]])
    residues = np.array([[1 + 2j, 0.7, -1.5, 0.4, 0.0], [0.1 - 0.2j, 0.3, 0.0, -0.6, 0.0]])
    return DiagonalSystem(poles, residues, np.array([0.5, -1.25]))
