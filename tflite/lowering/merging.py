"""Layers that join two or more tensors, which are brought to one scale first."""

from __future__ import annotations

import functools

import keras
import numpy as np

from keras_s4.layers import GLU
from keras_s4.tflite.lowering.activation import add_activation
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import int8_range, power_of_two_scale
from keras_s4.tflite.lowering.registry import check_last_axis, register
from keras_s4.tflite.lowering.shaping import add_reshape
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import with_encoding
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Add, Concatenate, Maximum, Minimum, Multiply, Requantize, Slice
from keras_s4.tflite.program.tensors import Tensor

# Of an accumulator; sums stay below twice that.
SUM_BITS = 30
# The least part of the scale of an input to which it is rounded again.
FINEST_OF_COARSEST = 2.0**-14


@register(keras.layers.Add)
def lower_add(layer, inputs, builder):
    """A sum, rounded once."""
    return _add_sum(layer, inputs, [1.0] * len(inputs), builder)


@register(keras.layers.Subtract)
def lower_subtract(layer, inputs, builder):
    """A difference, rounded once."""
    return _add_sum(layer, inputs, [1.0, -1.0], builder)


@register(keras.layers.Average)
def lower_average(layer, inputs, builder):
    """A sum whose gains hold the division."""
    return _add_sum(layer, inputs, [1.0 / len(inputs)] * len(inputs), builder)


@register(keras.layers.Multiply)
def lower_multiply(layer, inputs, builder):
    """Products of two, each rounded to int16 before the next."""
    inputs = _of_one_rank(layer, inputs, builder)
    signal = inputs[0]
    for index, other in enumerate(inputs[1:]):
        name = layer.name if index == len(inputs) - 2 else f"{layer.name}/{index}"
        values = signal.values * other.values
        shape = np.broadcast_shapes(signal.tensor.shape, other.tensor.shape)
        product = builder.tensor(f"{name}/product", shape, "int32", signal.tensor.scale * other.tensor.scale)
        builder.add(Multiply(signal.tensor, other.tensor, product))
        last = name == layer.name
        type = _common_type(inputs, builder) if last else "int16"
        output = builder.tensor(f"{name}/output", shape, *_grid(type, builder.observed(values), product.scale))
        builder.add(Requantize(product, output))
        signal = Signal(output, values)
    return signal


@register(GLU)
def lower_glu(layer, inputs, builder):
    """The second half of the channels through a sigmoid, times the first half."""
    value, gate = (_half(f"{layer.name}/{part}", inputs[0], part == "gate", builder) for part in ("value", "gate"))
    gate = add_activation(f"{layer.name}/sigmoid", keras.activations.sigmoid, gate, builder)
    return lower_multiply(layer, [value, gate], builder)


def _half(name: str, signal: Signal, second: bool, builder: ProgramBuilder) -> Signal:
    """One half of the channels, in a tensor of its own."""
    tensor, size = signal.tensor, signal.tensor.shape[-1] // 2
    start = size if second else 0
    output = builder.tensor(name, (*tensor.shape[:-1], size), tensor.type, tensor.scale, tensor.zero_point)
    builder.add(Slice(tensor, start, output))
    return Signal(output, signal.values[..., start : start + size])


@register(keras.layers.Maximum)
def lower_maximum(layer, inputs, builder):
    """The largest of each element."""
    return _add_extremum(layer, inputs, Maximum, np.maximum, builder)


@register(keras.layers.Minimum)
def lower_minimum(layer, inputs, builder):
    """The smallest of each element."""
    return _add_extremum(layer, inputs, Minimum, np.minimum, builder)


@register(keras.layers.Concatenate, takes="both")
def lower_concatenate(layer, inputs, builder):
    """Channels side by side."""
    check_last_axis(layer, layer.axis, inputs[0])
    encoding = _joined_encoding(inputs)
    if encoding is None:
        inputs = [builder.settle(signal, "nothing") for signal in inputs]
    tensors = _aligned(layer.name, inputs, builder)
    values = np.concatenate([signal.values for signal in inputs], axis=-1)
    shape = (*tensors[0].shape[:-1], values.shape[-1])
    output = builder.tensor(f"{layer.name}/output", shape, tensors[0].type, tensors[0].scale, tensors[0].zero_point)
    builder.add(Concatenate(tuple(tensors), output))
    return with_encoding(Signal(output, values), encoding, builder)


def _joined_encoding(inputs: list[Signal]) -> Encoding | None:
    """What the features stand for side by side, as they are; None if they stand for themselves, or differ in scale."""
    if len({(each.tensor.type, each.tensor.scale, each.tensor.zero_point) for each in inputs}) > 1:
        return None
    if all(signal.encoding is None for signal in inputs):
        return None
    parts = [signal.encoding or Encoding.plain(signal.tensor.shape[-1]) for signal in inputs]
    return Encoding(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("unit", "offset")))


def _of_one_rank(layer: keras.layers.Layer, inputs: list[Signal], builder: ProgramBuilder) -> list[Signal]:
    """The inputs with equally many axes each: those with fewer get axes of size 1 in front, as Keras has it."""
    rank = max(len(signal.tensor.shape) for signal in inputs)
    missing = [rank - len(signal.tensor.shape) for signal in inputs]
    return [
        add_reshape(f"{layer.name}/input_{index}", signal, (1,) * count + signal.tensor.shape, builder)
        for index, (signal, count) in enumerate(zip(inputs, missing, strict=True))
    ]


def _add_sum(layer: keras.layers.Layer, inputs: list[Signal], factors: list[float], builder: ProgramBuilder) -> Signal:
    """`sum of factor * input`: every term but the last is added in int32, without rounding."""
    name, inputs = layer.name, _of_one_rank(layer, inputs, builder)
    values = sum(factor * signal.values for factor, signal in zip(factors, inputs, strict=True))
    scales = np.array([abs(factor) * signal.tensor.scale for factor, signal in zip(factors, inputs, strict=True)])
    common = _accumulator_scale(scales, [signal.tensor for signal in inputs])
    gains = [round(scale / common) * (1 if factor > 0 else -1) for scale, factor in zip(scales, factors, strict=True)]
    total, gain = inputs[0].tensor, gains[0]
    for index, signal in enumerate(inputs[1:], start=1):
        shape = np.broadcast_shapes(total.shape, signal.tensor.shape)
        if index == len(inputs) - 1:
            output = builder.tensor(
                f"{name}/output", shape, *_grid(_common_type(inputs, builder), builder.observed(values), common)
            )
        else:
            output = builder.tensor(f"{name}/sum_{index}", shape, "int32", common)
        builder.add(Add(total, signal.tensor, gain, gains[index], common, output))
        total, gain = output, 1
    return Signal(total, values)


def _accumulator_scale(scales: np.ndarray, tensors: list[Tensor]) -> float:
    """A scale of which all inputs' scales are whole multiples, exactly or nearly, and whose sum fits 32 bits."""
    widths = np.array([2.0 ** (15 if tensor.type == "int16" else 8) for tensor in tensors])
    finest = float(2.0 ** np.ceil(np.log2((scales * widths).sum() / 2.0**SUM_BITS)))
    exact = np.all(np.log2(scales / scales[0]) % 1 == 0)
    if not exact:
        return finest
    return max(float(scales.min()), finest * float(scales[0] / 2.0 ** np.floor(np.log2(scales[0]))))


def _add_extremum(
    layer: keras.layers.Layer, inputs: list[Signal], kind: type, function, builder: ProgramBuilder
) -> Signal:
    """In int32, with the zero points taken off, then back in the inputs' own type and scale."""
    name, inputs = layer.name, _of_one_rank(layer, inputs, builder)
    tensors = _aligned(name, inputs, builder)
    first = chosen = tensors[0]
    for index, tensor in enumerate(tensors[1:], start=1):
        shape = np.broadcast_shapes(chosen.shape, tensor.shape)
        output = builder.tensor(f"{name}/chosen_{index}", shape, "int32", first.scale)
        chosen = builder.add(kind(chosen, tensor, output)).output
    output = builder.tensor(f"{name}/output", chosen.shape, first.type, first.scale, first.zero_point)
    builder.add(Requantize(chosen, output))
    return Signal(output, functools.reduce(function, [signal.values for signal in inputs]))


def _aligned(name: str, inputs: list[Signal], builder: ProgramBuilder) -> list[Tensor]:
    """The inputs in one type, scale and zero point, rounded again where theirs differ."""
    tensors = [signal.tensor for signal in inputs]
    if len({(tensor.type, tensor.scale, tensor.zero_point) for tensor in tensors}) == 1:
        return tensors
    # Of a finer grid one unit of the coarsest input would leave the range: where calibration saw nothing but zeros.
    finest = FINEST_OF_COARSEST * max(tensor.scale for tensor in tensors)
    values = np.concatenate([builder.observed(signal.values).ravel() for signal in inputs])
    type, scale, zero_point = _grid(_common_type(inputs, builder), values, finest)
    aligned = []
    for index, tensor in enumerate(tensors):
        if (tensor.type, tensor.scale, tensor.zero_point) != (type, scale, zero_point):
            output = builder.tensor(f"{name}/input_{index}", tensor.shape, type, scale, zero_point)
            tensor = builder.add(Requantize(tensor, output)).output
        aligned.append(tensor)
    return aligned


def _grid(type: str, values: np.ndarray, finest: float = 0.0) -> tuple[str, float, int]:
    """Type, scale and zero point of a tensor for these values, which are rounded from the scale `finest`."""
    if type == "int8":
        return (type, *int8_range(values, lambda sample: sample, finest))
    return type, power_of_two_scale(float(np.abs(values).max()), 16, finest=finest), 0


def _common_type(inputs: list[Signal], builder: ProgramBuilder) -> str:
    wide = builder.activations == "int16" or any(signal.tensor.type != "int8" for signal in inputs)
    return "int16" if wide else "int8"
