"""Activations: any function of one int8 value is a table of 256 entries."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.tflite.calibration import Signal, int8_range
from keras_s4.tflite.lowering.registry import ProgramBuilder, register
from keras_s4.tflite.program import Lookup, Requantize

INT8_VALUES = np.arange(-128, 128)
# A sigmoid lies in (0, 1): this is TFLite's own fixed output range for it.
SIGMOID_SCALE, SIGMOID_ZERO_POINT = 2.0**-8, -128


@register(keras.layers.Activation)
def lower_activation(layer, inputs, builder):
    """A table; a softmax must be the model's last layer and is left to the host."""
    return add_activation(layer.name, layer.activation, inputs[0], builder)


def add_activation(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    """Applies an activation, from any type of tensor, with an int8 result."""
    if activation is keras.activations.linear:
        return signal
    if activation is keras.activations.softmax:
        if name != builder.output_layer:
            raise NotImplementedError(
                f"Layer {name!r} is a softmax inside the model; only one at its output can be exported (the host "
                "applies it)."
            )
        builder.output_activation = "softmax"
        return Signal(signal.tensor, in_float64(activation, signal.values))
    return add_table(name, activation, as_int8(name, activation, signal, builder), builder)


def as_int8(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The signal as int8, in the range that serves the activation best."""
    if signal.tensor.type == "int8":
        return signal
    scale, zero_point = int8_range(signal.values, lambda values: in_float64(activation, values))
    rounded = builder.tensor(f"{name}/rounded", signal.tensor.shape, "int8", scale, zero_point)
    builder.add(Requantize(signal.tensor, rounded))
    return Signal(rounded, signal.values)


def add_table(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    """Looks an activation up for each int8 value."""
    values = in_float64(activation, signal.values)
    if activation is keras.activations.sigmoid:
        scale, zero_point = SIGMOID_SCALE, SIGMOID_ZERO_POINT
    else:
        scale, zero_point = int8_range(values, lambda values: values)
    entries = in_float64(activation, (INT8_VALUES - signal.tensor.zero_point) * signal.tensor.scale)
    table = builder.constant(f"{name}/table", np.clip(np.rint(entries / scale) + zero_point, -128, 127), "int8", scale)
    output = builder.tensor(f"{name}/output", signal.tensor.shape, "int8", scale, zero_point)
    builder.add(Lookup(signal.tensor, table, output))
    return Signal(output, values)


def in_float64(activation: Callable, values: np.ndarray) -> np.ndarray:
    """A Keras activation of a float64 array."""
    return keras.ops.convert_to_numpy(activation(keras.ops.convert_to_tensor(values, dtype="float64")))
