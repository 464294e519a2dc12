"""DSS layers whose modes keep for thousands of steps: what is hardest for a state of 32 bits."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4 import layers
from keras_s4.systems import DiagonalSystem

CHANNELS, MODES = 8, 6
SLOWEST = 1e-4


def slow_layer(random: np.random.Generator, fastest: float, in_block: bool = False) -> keras.Model:
    """A model of a DSS layer with poles from radius 0.9 to 0.9999.

    Args:
        random: the generator that draws poles and residues.
        fastest: angle in radians by which a mode turns a step, at most.
        in_block: whether the layer stands in an S4 block.
    """
    radius = 1.0 - 10.0 ** random.uniform(np.log10(SLOWEST), -1.0, (CHANNELS, MODES))
    poles = radius * np.exp(1j * 10.0 ** random.uniform(-3.0, np.log10(fastest), radius.shape))
    residues = random.normal(size=radius.shape) + 1j * random.normal(size=radius.shape)
    layer = layers.DSS(MODES, per_channel_poles=True, name="dss")
    if in_block:
        layer = layers.S4Block(layer, name="block")
    model = keras.Sequential([keras.Input((None, CHANNELS)), layer])
    # Modes of equal energy in noise, so that the slow ones count; no feedthrough, which would drown them.
    system = DiagonalSystem(poles, residues * np.sqrt(1.0 - radius**2), np.zeros(CHANNELS))
    (layer.dss if in_block else layer).set_system(system)
    return model
