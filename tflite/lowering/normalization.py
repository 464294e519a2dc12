"""Normalisations: a fixed gain and offset per channel once trained, or by the statistics of each step's channels."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_s4.layers import Standardization
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import power_of_two_scale
from keras_s4.tflite.lowering.reciprocal_root import add_normalize
from keras_s4.tflite.lowering.registry import check_last_axis, refusal, register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import add_affine
from keras_s4.tflite.program.operations import Add, FullyConnected, Requantize
from keras_s4.weights import finite_weights

# By which the mean over the channels may be finer than they are.
MEAN_BITS = 6


@register(keras.layers.BatchNormalization, takes="both")
def lower_batch_normalization(layer, inputs, builder):
    """One affine operation."""
    return _add_constant_affine(layer.name, inputs[0], *gain_and_offset(layer, inputs[0]), builder)


@register(keras.layers.Normalization, keras.layers.Rescaling, Standardization, takes="both")
def lower_feature_normalization(layer, inputs, builder):
    """One affine operation."""
    return _add_constant_affine(layer.name, inputs[0], *gain_and_offset(layer, inputs[0]), builder)


def gain_and_offset(layer: keras.layers.Layer, signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """What a normalisation by fixed numbers or a Rescaling amounts to: `gain * x + offset`, of shapes that fit.

    Raises:
        NotImplementedError: it works along another axis than the last.
        ValueError: NaN in weights.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        check_last_axis(layer, layer.axis, signal)
        return _gain_and_offset_of_batches(layer)
    if isinstance(layer, keras.layers.Rescaling):
        return np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    if isinstance(layer, Standardization):
        mean, deviation = finite_weights(layer, "mean", "deviation")
        return (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    if layer.axis:
        check_last_axis(layer, layer.axis, signal)
    mean, variance = (keras.ops.convert_to_numpy(value).astype(np.float64) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)


@register(keras.layers.LayerNormalization)
def lower_layer_normalization(layer, inputs, builder):
    """The mean over the channels taken off, division by the root of their variance, gain and offset."""
    if layer.rms_scaling:
        raise refusal(layer, "rms_scaling=True mixes two normalisations", "Use RMSNormalization")
    signal = _wide(layer, inputs[0], builder)
    signal = _add_centred(layer.name, signal, builder)
    signal = add_normalize(layer.name, signal, 1.0 / signal.tensor.shape[-1], layer.epsilon, builder)
    gain = finite_weights(layer, "gamma")[0] if layer.scale else np.ones(1)
    offset = finite_weights(layer, "beta")[0] if layer.center else np.zeros(1)
    return _add_constant_affine(layer.name, signal, gain, offset, builder)


@register(keras.layers.RMSNormalization)
def lower_rms_normalization(layer, inputs, builder):
    """Division by the root of the mean square over the channels, and a gain."""
    signal = _wide(layer, inputs[0], builder)
    signal = add_normalize(layer.name, signal, 1.0 / signal.tensor.shape[-1], layer.epsilon, builder)
    return _add_constant_affine(layer.name, signal, finite_weights(layer, "scale")[0], np.zeros(1), builder)


@register(keras.layers.UnitNormalization)
def lower_unit_normalization(layer, inputs, builder):
    """Division by the length of the vector of channels."""
    return add_normalize(layer.name, _wide(layer, inputs[0], builder), 1.0, 0.0, builder)


def add_batch_normalization(
    layer: keras.layers.BatchNormalization, name: str, signal: Signal, builder: ProgramBuilder, bits: int = 16
) -> Signal:
    """The gain and offset per channel that the moving averages amount to; the arguments are those of `add_affine`."""
    return add_affine(name, signal, *_gain_and_offset_of_batches(layer), builder, bits)


def _gain_and_offset_of_batches(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = finite_weights(layer, "moving_mean", "moving_variance")
    gain = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        gain = gain * finite_weights(layer, "gamma")[0]
    offset = -mean * gain
    if layer.center:
        offset = offset + finite_weights(layer, "beta")[0]
    return gain, offset


def _add_constant_affine(
    name: str, signal: Signal, gain: np.ndarray, offset: np.ndarray, builder: ProgramBuilder
) -> Signal:
    """`add_affine` with a gain and an offset of any shape that fits; nothing if they change nothing.

    Of features with units of their own the units change, without an operation.
    """
    if np.all(gain == 1) and np.all(offset == 0):
        return signal
    channels = signal.tensor.shape[-1]
    gain, offset = (np.broadcast_to(np.asarray(value, np.float64).ravel(), channels) for value in (gain, offset))
    if signal.encoding is not None:
        encoding = signal.encoding.then(gain, offset)
        return dataclasses.replace(signal, encoding=None if encoding.is_plain else encoding)
    return add_affine(name, signal, gain, offset, builder)


def _wide(layer: keras.layers.Layer, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The input of a normalisation over the channels in int16, exactly."""
    check_last_axis(layer, layer.axis, signal)
    tensor = signal.tensor
    if tensor.type == "int16":
        return signal
    wide = builder.tensor(f"{layer.name}/input", tensor.shape, "int16", tensor.scale)
    builder.add(Requantize(tensor, wide))
    return Signal(wide, signal.values)


def _add_centred(name: str, signal: Signal, builder: ProgramBuilder) -> Signal:
    """The channels less their mean, in int16; the mean has the finest scale that holds it."""
    tensor = signal.tensor
    mean = signal.values.mean(axis=-1, keepdims=True)
    values = signal.values - mean
    largest, largest_mean = (max(builder.peak(each), 1e-12) for each in (signal.values, mean))
    shift = int(np.floor(np.log2(largest / largest_mean)))
    gain = 2 ** min(max(shift, 0), MEAN_BITS)
    average = builder.tensor(f"{name}/mean", (*tensor.shape[:-1], 1), "int16", tensor.scale / gain)
    ones = builder.constant(f"{name}/ones", np.ones((1, tensor.shape[-1])), "int8", 1.0 / tensor.shape[-1])
    nothing = builder.constant(f"{name}/nothing", np.zeros(1), "int32", tensor.scale / tensor.shape[-1])
    builder.add(FullyConnected(tensor, ones, nothing, average))
    # Not finer than what goes in: where there is one channel, nothing is left.
    scale = max(power_of_two_scale(builder.peak(values), 16), average.scale)
    centred = builder.tensor(f"{name}/centred", tensor.shape, "int16", scale)
    builder.add(Add(tensor, average, gain, -1, average.scale, centred))
    return Signal(centred, values)
