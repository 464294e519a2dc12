"""How each operation of an integer program becomes built-in operators: one module for each family of operations."""

from keras_s4.tflite.expansion import dense, elementwise, states
from keras_s4.tflite.expansion.expansion import Expansion, expands

__all__ = ["Expansion", "dense", "elementwise", "expands", "states"]
