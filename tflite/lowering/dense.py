"""Dense layers."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.tflite.calibration import Signal, int8_range, power_of_two_scale, symmetric_int8_scale
from keras_s4.tflite.lowering.activation import add_activation, in_float64
from keras_s4.tflite.lowering.registry import ProgramBuilder, register
from keras_s4.tflite.program import FullyConnected
from keras_s4.weights import finite_weights


@register(keras.layers.Dense)
def lower_dense(layer, inputs, builder):
    """A fully connected operation of the input's type, then the activation."""
    return add_activation(layer.name, layer.activation, add_dense(layer, layer.name, inputs[0], builder), builder)


def add_dense(
    layer: keras.layers.Dense, name: str, signal: Signal, builder: ProgramBuilder, shifts: bool = False
) -> Signal:
    """The matrix product and bias of a Dense layer, before its activation.

    Args:
        layer: its activation is only asked which range of the result matters.
        name: for the tensors.
        signal: int8 (the result is int8) or int16 (the result is int16).
        builder: takes the operation.
        shifts: the result gets a power of two as its scale and 0 as its zero point, so that it can be added exactly.
    """
    (kernel,) = finite_weights(layer, "kernel")
    bias = finite_weights(layer, "bias")[0] if layer.use_bias else np.zeros(kernel.shape[1])
    values = signal.values @ kernel + bias
    output = builder.tensor(
        f"{name}/product", kernel.shape[1], signal.tensor.type, *_range(layer, values, signal, shifts)
    )

    weight_scale = max(np.abs(kernel).max(), 1e-9) / 127.0
    bias_scale = signal.tensor.scale * weight_scale
    weights = builder.constant(f"{name}/kernel", kernel.T / weight_scale, "int8", weight_scale)
    offsets = builder.constant(f"{name}/bias", bias / bias_scale, "int32", bias_scale)
    builder.add(FullyConnected(signal.tensor, weights, offsets, output))
    return Signal(output, values)


def _range(layer, values: np.ndarray, signal: Signal, shifts: bool) -> tuple[float, int]:
    """Scale and zero point of the result."""
    if signal.tensor.type == "int16":
        return power_of_two_scale(float(np.abs(values).max()), 16), 0
    if shifts:
        return symmetric_int8_scale(values), 0
    return int8_range(values, lambda sample: in_float64(layer.activation, sample))
