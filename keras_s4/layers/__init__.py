"""Keras layers."""

from keras_s4.layers.dss import DSS
from keras_s4.layers.s4_block import S4Block

__all__ = ["DSS", "S4Block"]
