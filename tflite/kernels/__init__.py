"""What each operation of an integer program computes, in numpy: one module for each family of operations."""

from keras_s4.tflite.kernels import dense, elementwise, states
from keras_s4.tflite.kernels.arithmetic import Arithmetic, Run, Values, compiled, kernel

__all__ = ["Arithmetic", "Run", "Values", "compiled", "dense", "elementwise", "kernel", "states"]
