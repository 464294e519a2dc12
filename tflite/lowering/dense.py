"""Dense layers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.layers import LowRankDense
from keras_s4.tflite.calibration import Signal, int8_range, power_of_two_scale, symmetric_int8_scale
from keras_s4.tflite.lowering.activation import add_activation, in_float64
from keras_s4.tflite.lowering.registry import ProgramBuilder, register
from keras_s4.tflite.program import FullyConnected
from keras_s4.weights import finite_weights


@register(keras.layers.Dense, LowRankDense)
def lower_dense(layer, inputs, builder):
    """A fully connected operation of the input's type for every factor of the kernel, then the activation."""
    return add_activation(layer.name, layer.activation, add_dense(layer, layer.name, inputs[0], builder), builder)


def add_dense(
    layer: keras.layers.Layer, name: str, signal: Signal, builder: ProgramBuilder, shifts: bool = False
) -> Signal:
    """The matrix product and bias of a Dense or LowRankDense layer, before its activation.

    Args:
        layer: its activation is only asked which range of the result matters.
        name: for the tensors.
        signal: int8 (the result is int8) or int16 (the result is int16).
        builder: takes the operations.
        shifts: the result gets a power of two as its scale and 0 as its zero point, so that it can be added exactly.
    """
    names = ("kernel_left", "kernel_right") if isinstance(layer, LowRankDense) else ("kernel",)
    *left, kernel = finite_weights(layer, *names)
    for factor in left:
        nothing = np.zeros(factor.shape[1])
        signal = _add_product(f"{name}/left", factor, nothing, signal, builder, _range_between(signal))
    bias = finite_weights(layer, "bias")[0] if layer.use_bias else np.zeros(kernel.shape[1])
    return _add_product(name, kernel, bias, signal, builder, lambda values: _range(layer, values, signal, shifts))


def _add_product(
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    signal: Signal,
    builder: ProgramBuilder,
    range_of: Callable[[np.ndarray], tuple[float, int]],
) -> Signal:
    """One fully connected operation; `range_of` gives the scale and zero point of its result from the values."""
    values = signal.values @ kernel + bias
    output = builder.tensor(f"{name}/product", kernel.shape[1], signal.tensor.type, *range_of(values))
    weight_scale = max(np.abs(kernel).max(), 1e-9) / 127.0
    bias_scale = signal.tensor.scale * weight_scale
    weights = builder.constant(f"{name}/kernel", kernel.T / weight_scale, "int8", weight_scale)
    offsets = builder.constant(f"{name}/bias", bias / bias_scale, "int32", bias_scale)
    builder.add(FullyConnected(signal.tensor, weights, offsets, output))
    return Signal(output, values)


def _range_between(signal: Signal) -> Callable[[np.ndarray], tuple[float, int]]:
    """Scale and zero point of what goes from one factor to the next, in the type of a signal."""
    if signal.tensor.type == "int16":
        return lambda values: (power_of_two_scale(float(np.abs(values).max()), 16), 0)
    return lambda values: int8_range(values, lambda sample: sample)


def _range(layer, values: np.ndarray, signal: Signal, shifts: bool) -> tuple[float, int]:
    """Scale and zero point of the result."""
    if signal.tensor.type == "int16":
        return power_of_two_scale(float(np.abs(values).max()), 16), 0
    if shifts:
        return symmetric_int8_scale(values), 0
    return int8_range(values, lambda sample: in_float64(layer.activation, sample))
