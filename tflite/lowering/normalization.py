"""Normalisations that are a fixed gain and offset per channel once trained."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.tflite.calibration import Signal, power_of_two_scale
from keras_s4.tflite.lowering.registry import ProgramBuilder, register
from keras_s4.tflite.program import Affine
from keras_s4.weights import finite_weights

GAIN_BITS = 15


@register(keras.layers.BatchNormalization)
def lower_batch_normalization(layer, inputs, builder):
    """One affine operation."""
    return add_batch_normalization(layer, layer.name, inputs[0], builder)


def add_batch_normalization(
    layer: keras.layers.BatchNormalization, name: str, signal: Signal, builder: ProgramBuilder, bits: int = 16
) -> Signal:
    """The gain and offset per channel that the moving averages amount to; the arguments are those of `add_affine`."""
    mean, variance = finite_weights(layer, "moving_mean", "moving_variance")
    gain = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        gain = gain * finite_weights(layer, "gamma")[0]
    offset = -mean * gain
    if layer.center:
        offset = offset + finite_weights(layer, "beta")[0]
    return add_affine(name, signal, gain, offset, builder, bits)


def add_affine(
    name: str, signal: Signal, gain: np.ndarray, offset: np.ndarray, builder: ProgramBuilder, bits: int = 16
) -> Signal:
    """`gain * x + offset` per channel, with an int16 result of which `bits` bits are used.

    Args:
        name: of the layer.
        signal: `[.., H]`.
        gain: `[H]`.
        offset: `[H]`.
        builder: takes the operation.
        bits: fewer than 16 leave room for the product with a coefficient that follows.
    """
    values = signal.values * gain + offset
    scale = power_of_two_scale(float(np.abs(values).max()), bits)
    # The finest accumulator whose worst case, a full-scale input, still fits 31 bits.
    worst = (
        np.abs(gain).max() * 2.0 ** (15 if signal.tensor.type == "int16" else 8) * signal.tensor.scale
        + np.abs(offset).max()
    )
    accumulator_scale = max(
        power_of_two_scale(worst, 32, headroom=1.0),
        power_of_two_scale(np.abs(gain).max() * signal.tensor.scale, GAIN_BITS + 1, headroom=1.0),
    )
    output = builder.tensor(f"{name}/output", len(gain), "int16", scale)
    gains = builder.constant(
        f"{name}/gain", gain * signal.tensor.scale / accumulator_scale, "int32", accumulator_scale / signal.tensor.scale
    )
    offsets = builder.constant(f"{name}/offset", offset / accumulator_scale, "int32", accumulator_scale)
    builder.add(Affine(signal.tensor, gains, offsets, accumulator_scale, output))
    return Signal(output, values)
