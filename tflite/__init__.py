"""Export to integer programs: an int8 `.tflite` that runs on TensorFlow Lite Micro with built-in operators only."""

from keras_s4.tflite.conversion import Converted, convert
from keras_s4.tflite.verification import Verification, verify

__all__ = ["Converted", "Verification", "convert", "verify"]
