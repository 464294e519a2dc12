"""From Keras layers to operations of the integer program: one module a family of layers, one registry."""

from keras_s4.tflite.lowering import activation, dense, dss, identity, normalization, pooling, s4_block  # noqa: F401
from keras_s4.tflite.lowering.registry import ProgramBuilder, lower, register, supported_layers

__all__ = ["ProgramBuilder", "lower", "register", "supported_layers"]
