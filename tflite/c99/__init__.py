"""The C99 back-end: an integer program as one header, one C file, and the kernels that it calls."""

from keras_s4.tflite.c99.files import c_source
from keras_s4.tflite.c99.host import CRunner

__all__ = ["CRunner", "c_source"]
