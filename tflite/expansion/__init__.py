"""How each operation of an integer program becomes built-in operators: one module for each family of operations."""

from keras_s4.tflite.expansion import dense, elementwise, interpolate, normalize, shapes, states, windows
from keras_s4.tflite.expansion.expansion import Expansion, expands

__all__ = ["Expansion", "dense", "elementwise", "expands", "interpolate", "normalize", "shapes", "states", "windows"]
