"""Activations: a table of 256 entries for int8 values; for int16 sigmoid and tanh as they are, else straight lines."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_s4.activation_names import activation_name
from keras_s4.precision import double_precision
from keras_s4.tflite.lowering import piecewise
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import HEADROOM, int8_range, power_of_two_scale
from keras_s4.tflite.lowering.registry import check_last_axis, register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import (
    Add,
    Affine,
    Interpolate,
    Lookup,
    Maximum,
    Minimum,
    Multiply,
    Requantize,
    Squash,
)
from keras_s4.tflite.program.sigmoid import INPUT_SCALES, OUTPUT_SCALE
from keras_s4.weights import finite_weights

# Of a slope in a PReLU, of 1 or less.
SLOPE_BITS = 14
INT8_VALUES = np.arange(-128, 128)
# A sigmoid lies in (0, 1): this is TFLite's own fixed output range for it.
SIGMOID_SCALE, SIGMOID_ZERO_POINT = 2.0**-8, -128
# What int16 values have operators for.
SQUASHED = {keras.activations.sigmoid: "sigmoid", keras.activations.tanh: "tanh"}


BETWEEN_CHANNELS = ("glu", "log_softmax", "sparse_softmax", "sparsemax")


@register(keras.layers.Activation, takes=lambda layer: "both" if _is_linear(layer) else "nothing")
def lower_activation(layer, inputs, builder):
    """A table; a softmax must be the model's last layer and is left to the host."""
    return add_activation(layer.name, layer.activation, inputs[0], builder)


@register(keras.layers.Softmax)
def lower_softmax(layer, inputs, builder):
    """Nothing: the host applies it, and so it must be at an output of the model."""
    check_last_axis(layer, layer.axis, inputs[0])
    return add_activation(layer.name, keras.activations.softmax, inputs[0], builder)


@register(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
def lower_pointwise(layer, inputs, builder):
    """A table."""
    # The layer's own call would round to single precision.
    return add_activation(layer.name, layer.call, inputs[0], builder)


@register(keras.layers.PReLU)
def lower_prelu(layer, inputs, builder):
    """A table if all channels share one slope; else the parts above and below zero, the latter times the slopes."""
    signal, name = inputs[0], layer.name
    slopes = finite_weights(layer, "alpha")[0]
    slopes = np.broadcast_to(slopes[0] if signal.has_time else slopes, signal.tensor.shape)
    if np.all(slopes == slopes.flat[0]):
        slope = float(slopes.flat[0])
        return add_activation(name, lambda x: keras.ops.where(x > 0, x, slope * x), signal, builder)
    bits = SLOPE_BITS - max(0, int(np.ceil(np.log2(np.abs(slopes).max()))))
    shape, scale = signal.tensor.shape, signal.tensor.scale
    zero = builder.constant(f"{name}/zero", np.zeros(1), "int32")
    above, below, sloped = (
        builder.tensor(f"{name}/{part}", shape, "int32", s)
        for part, s in (("above", scale), ("below", scale), ("sloped", scale * 2.0**-bits))
    )
    builder.add(Maximum(signal.tensor, zero, above))
    builder.add(Minimum(signal.tensor, zero, below))
    gain = builder.constant(f"{name}/slopes", slopes * 2.0**bits, "int32", 2.0**-bits)
    offset = builder.constant(f"{name}/offset", np.zeros(shape), "int32", scale * 2.0**-bits)
    builder.add(Affine(below, gain, offset, scale * 2.0**-bits, sloped))
    values = np.where(signal.values > 0, signal.values, slopes * signal.values)
    output = builder.tensor(f"{name}/output", shape, "int16", power_of_two_scale(builder.peak(values), 16))
    builder.add(Add(above, sloped, 1 << bits, 1, scale * 2.0**-bits, output))
    return Signal(output, values)


def _is_pointwise(activation: Callable, values: np.ndarray) -> bool:
    """Whether an activation makes of each number what it makes of the number alone; so a table of it is right."""
    few = values[:2, -4:] if values.ndim > 2 else values[:2]
    together = in_float64(activation, few)
    try:
        alone = in_float64(activation, few.reshape(-1, *[1] * (few.ndim - 1)))
    except Exception:  # each backend has an error of its own where there are too few channels
        return False
    return together.shape == few.shape and np.allclose(together.ravel(), alone.ravel(), 1e-5, 1e-6, equal_nan=True)


def _is_linear(layer: keras.layers.Activation) -> bool:
    return layer.activation is keras.activations.linear


def add_activation(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    """Applies an activation, from any type of tensor, with a result of the type of `builder.activations`."""
    if activation is keras.activations.linear:
        return signal
    called = activation_name(activation)
    if called == "softmax":
        return Signal(signal.tensor, in_float64(keras.activations.softmax, signal.values), activation="softmax")
    if called in BETWEEN_CHANNELS or not _is_pointwise(activation, signal.values):
        raise NotImplementedError(
            f"Layer {name!r} has the activation {called!r}, which looks at all channels together and "
            "cannot be exported; of these only softmax can, at an output of the model."
        )
    if builder.activations == "int16":
        return add_wide_activation(name, activation, signal, builder)
    return add_table(name, activation, as_int8(name, activation, signal, builder), builder)


def add_wide_activation(
    name: str, activation: Callable, signal: Signal, builder: ProgramBuilder, scale: float | None = None
) -> Signal:
    """Applies an activation with an int16 result: of this scale, but for sigmoid and tanh, which have one of their own.

    ReLU is a maximum; SiLU is a product with a sigmoid, which takes half the operators of lines and no table.
    """
    if activation in SQUASHED:
        return _add_squash(name, activation, signal, builder)
    signal = as_int16(f"{name}/rounded", signal, builder)
    values = in_float64(activation, signal.values)
    shape, peak = signal.tensor.shape, builder.peak(values)
    if activation not in (keras.activations.relu, keras.activations.silu):
        return _add_lines(name, activation, signal, builder, scale)
    if activation is keras.activations.relu:
        wide = builder.tensor(f"{name}/above", shape, "int32", signal.tensor.scale)
        builder.add(Maximum(signal.tensor, builder.constant(f"{name}/zero", np.zeros(1), "int32"), wide))
    else:
        factor = _add_squash(f"{name}/factor", keras.activations.sigmoid, signal, builder)
        wide = builder.tensor(f"{name}/scaled", shape, "int32", signal.tensor.scale * factor.tensor.scale)
        builder.add(Multiply(signal.tensor, factor.tensor, wide))
    scale = scale or power_of_two_scale(peak, 16, finest=wide.scale)
    output = builder.tensor(f"{name}/output", shape, "int16", scale)
    builder.add(Requantize(wide, output))
    return Signal(output, values)


def as_int16(name: str, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The signal as int16 with a power of two as its scale, in a new tensor of this name if need be."""
    tensor = signal.tensor
    if tensor.type == "int16" and np.log2(tensor.scale) % 1 == 0:
        return signal
    wide = builder.tensor(name, tensor.shape, "int16", power_of_two_scale(builder.peak(signal.values), 16))
    builder.add(Requantize(tensor, wide))
    return Signal(wide, signal.values)


def squash_scale(values: np.ndarray) -> float:
    """The scale of int16 values in front of a sigmoid or tanh; what lies beyond its range changes nothing."""
    fine, coarse = INPUT_SCALES
    return fine if np.abs(values).max() * HEADROOM <= 2**15 * fine else coarse


def product_scale(values: np.ndarray) -> float:
    """The scale of an int16 product in front of a sigmoid or tanh: `squash_scale`, if the sum then fits 32 bits."""
    return max(squash_scale(values), 2.0 ** np.ceil(np.log2(max(float(np.abs(values).max()), 1.0) * 2.0**-29)))


def int16_scale(activation: Callable, values: np.ndarray) -> float:
    """The scale of an int16 product in front of an activation; what a sigmoid or tanh flattens costs no resolution."""
    scale = power_of_two_scale(float(np.abs(values).max()), 16)
    return min(scale, product_scale(values)) if activation in SQUASHED else scale


def _add_squash(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    argument = signal.tensor
    if argument.type != "int16" or argument.scale not in INPUT_SCALES:
        argument = builder.tensor(
            f"{name}/argument", argument.shape, "int16", squash_scale(builder.observed(signal.values))
        )
        builder.add(Requantize(signal.tensor, argument))
    output = builder.tensor(f"{name}/output", argument.shape, "int16", OUTPUT_SCALE)
    builder.add(Squash(SQUASHED[activation], argument, output))
    return Signal(output, in_float64(activation, signal.values))


def _add_lines(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder, scale: float | None) -> Signal:
    def function(values: np.ndarray) -> np.ndarray:
        return in_float64(activation, values)

    values, scale_in = function(signal.values), signal.tensor.scale
    if scale is None:
        finest = power_of_two_scale(builder.peak(values), 16)
        seen = builder.observed(signal.values)
        sample = np.random.default_rng(0).choice(seen.ravel(), min(seen.size, 50_000), replace=False)
        sample = np.clip(np.rint(sample / scale_in), -(2**15), 2**15 - 1)
        lines, scale = piecewise.choose_lines(function, scale_in, finest, sample)
    else:
        lines = piecewise.fit_lines(function, scale_in, scale)
    slope_scale = fixed_point.agreeing_scale(scale / scale_in * 2.0**-lines.slope_bits, scale_in, scale, "int16")
    output = builder.tensor(f"{name}/output", signal.tensor.shape, "int16", scale)
    slope = builder.constant(f"{name}/slope", lines.slope, "int8", slope_scale)
    offset = builder.constant(f"{name}/offset", lines.offset, "int16", scale_in * slope_scale * lines.offset_gain)
    builder.add(Interpolate(signal.tensor, slope, offset, lines.offset_gain, output))
    return Signal(output, values)


def as_int8(name: str, activation: Callable, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The signal as int8, in the range that serves the activation best."""
    if signal.tensor.type == "int8":
        return signal
    scale, zero_point = int8_range(builder.observed(signal.values), lambda values: in_float64(activation, values))
    rounded = builder.tensor(f"{name}/rounded", signal.tensor.shape, "int8", scale, zero_point)
    builder.add(Requantize(signal.tensor, rounded))
    return Signal(rounded, signal.values)


def add_table(
    name: str,
    activation: Callable,
    signal: Signal,
    builder: ProgramBuilder,
    grid: tuple[float, int] | None = None,
) -> Signal:
    """Looks an activation up for each int8 value; `grid` gives the result's scale and zero point."""
    values = in_float64(activation, signal.values)
    if grid is not None:
        scale, zero_point = grid
    elif activation is keras.activations.sigmoid:
        scale, zero_point = SIGMOID_SCALE, SIGMOID_ZERO_POINT
    else:
        scale, zero_point = int8_range(builder.observed(values), lambda values: values)
    output = builder.tensor(f"{name}/output", signal.tensor.shape, "int8", scale, zero_point)
    entries = in_float64(activation, (INT8_VALUES - signal.tensor.zero_point) * signal.tensor.scale)
    integers = np.clip(np.rint(entries / output.scale) + output.zero_point, -128, 127)
    table = builder.constant(f"{name}/table", integers, "int8", output.scale)
    builder.add(Lookup(signal.tensor, table, output))
    return Signal(output, values)


def in_float64(activation: Callable, values: np.ndarray) -> np.ndarray:
    """A Keras activation of a float64 array."""
    if activation is keras.activations.tanh:  # for which Keras takes single precision on JAX and torch
        return np.tanh(np.asarray(values, np.float64))
    with double_precision():
        return keras.ops.convert_to_numpy(activation(keras.ops.convert_to_tensor(values, dtype="float64")))
