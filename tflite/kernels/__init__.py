"""What each operation of an integer program computes, in numpy: one module for each family of operations."""

from keras_s4.tflite.kernels import dense, elementwise, interpolate, normalize, shapes, states, windows
from keras_s4.tflite.kernels.arithmetic import Arithmetic, Run, Values, compiled, kernel

__all__ = [
    "Arithmetic",
    "Run",
    "Values",
    "compiled",
    "dense",
    "elementwise",
    "interpolate",
    "kernel",
    "normalize",
    "shapes",
    "states",
    "windows",
]
