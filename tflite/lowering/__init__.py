"""From Keras layers to operations of the integer program: one module a family of layers, one registry."""

from keras_s4.tflite.lowering import (  # noqa: F401  each registers its layers
    activation,
    convolution,
    dense,
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
from keras_s4.tflite.lowering.registry import (
    ProgramBuilder,
    check_last_axis,
    lower,
    refusal,
    register,
    supported_layers,
)

__all__ = ["ProgramBuilder", "check_last_axis", "lower", "refusal", "register", "supported_layers"]
