"""From Keras layers to operations of the integer program: one module a family of layers, one registry."""

from keras_s4.tflite.lowering import (  # noqa: F401  each registers its layers
    activation,
    averages,
    convolution,
    dense,
    diagonal_ssm,
    dss,
    embedding,
    identity,
    merging,
    normalization,
    pooling,
    recurrent,
    s4_block,
    shaping,
)
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.registry import (
    check_last_axis,
    lower,
    lower_call,
    plan_of_export,
    refusal,
    register,
    supported_layers,
)
from keras_s4.tflite.lowering.signal import Signal

__all__ = [
    "ProgramBuilder",
    "Signal",
    "check_last_axis",
    "lower",
    "lower_call",
    "plan_of_export",
    "refusal",
    "register",
    "supported_layers",
]
