"""The emulator: an integer program in numpy, exact to the bit; one module for each family of operations."""

from keras_s4.tflite.emulator import averages, dense, elementwise, interpolate, normalize, shapes, states, windows
from keras_s4.tflite.emulator.emulator import Emulator

__all__ = ["Emulator", "averages", "dense", "elementwise", "interpolate", "normalize", "shapes", "states", "windows"]
