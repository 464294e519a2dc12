"""Averages of a stream that never ends: no window's length stands in the program, and no reset is needed."""

from __future__ import annotations

import warnings

import numpy as np

from keras_s4.layers import RecentAverage, SlidingAverage
from keras_s4.tflite.lowering.average_so_far import FINER
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.pooling import add_rounded_sum
from keras_s4.tflite.lowering.registry import refusal, register
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import with_encoding
from keras_s4.tflite.program.operations import RecentMean, SlidingSum, Window

# Parts of a distance are whole numbers in units of 2**-15.
WHOLE = 2**15
# Of a smaller part nothing would be left of which rounding is not most.
LEAST_PART = 0.75 / WHOLE
# By how much rounding a part may change a time constant before it is told.
UNTOLD = 0.05


@register(RecentAverage, takes="both", rests=True)
def lower_recent_average(layer, inputs, builder):
    """A mean in 32 bits for each channel, whose int16 view is compared with the input and is the output."""
    signal, name = inputs[0], layer.name
    shape, finer = signal.tensor.shape, FINER if signal.tensor.type == "int8" else 1
    parts = np.broadcast_to(-np.expm1(-1.0 / layer.time_constants()), shape)
    if parts.min() < LEAST_PART:
        raise refusal(
            layer,
            f"its time constant is {layer.time_constants().max():,.0f} steps, and a device knows none above "
            f"{1 / LEAST_PART:,.0f}",
            "Let AveragePooling1D, or a convolution with strides, in front of it make steps longer",
        )
    rates = _rates_of(name, parts)
    scale = signal.tensor.scale / finer
    mean = builder.state(f"{name}/mean", (shape[0] + 1,), scale / WHOLE)
    rate = builder.constant(f"{name}/rate", rates, "int32", 1.0 / WHOLE)
    output = builder.tensor(f"{name}/output", shape, "int16", scale)
    builder.add(RecentMean(signal.tensor, mean.before, mean.after, rate, finer, signal.phase, output))
    values = np.zeros_like(signal.values)
    values[:, signal.phase :] = recent_averages(signal.values[:, signal.phase :], parts)
    return with_encoding(Signal(output, values), signal.encoding, builder)


@register(SlidingAverage, takes="both", rests=True)
def lower_sliding_average(layer, inputs, builder):
    """Sums of hops in a ring, sample by sample; as a sequence every `hop`-th of what that gives."""
    signal, name, window, hop = inputs[0], layer.name, layer.window, layer.hop
    largest = 2.0 ** (15 if signal.tensor.type == "int16" else 8)
    if largest * window > 2.0**31 - 1:
        raise ValueError(
            f"Layer {name!r} would sum {window} steps in 32 bits, which holds {int(2**31 / largest)}; use a shorter "
            "window."
        )
    channels = signal.tensor.shape[0]
    state = builder.state(f"{name}/hops", ((layer.hops + 2) * channels + 1,), signal.tensor.scale)
    total = builder.tensor(f"{name}/sum", channels, "int32", signal.tensor.scale / window)
    builder.add(SlidingSum(signal.tensor, state.before, state.after, hop, signal.phase, total))
    result = add_rounded_sum(name, total, sliding_averages(signal.values, layer, signal.phase), builder)
    if layer.return_sequences:
        result = _every_hop(name, result, hop, (signal.phase + builder.call.delay) % hop, builder)
    return with_encoding(result, signal.encoding, builder)


def _rates_of(name: str, parts: np.ndarray) -> np.ndarray:
    """Parts of a distance in units of 2**-15, whole and at least 1; where time constants change by it, that is said."""
    rates = np.maximum(np.rint(parts * WHOLE), 1.0)
    constants = [-1.0 / np.log1p(-np.minimum(each, 1.0 - 1e-12)) for each in (parts, rates / WHOLE)]
    off = np.abs(constants[1] / constants[0] - 1.0)
    if off.max() > UNTOLD:
        worst = off.argmax()
        warnings.warn(
            f"Layer {name!r} has a time constant of {constants[0][worst]:,.0f} steps, and on a device one of "
            f"{constants[1][worst]:,.0f}, whose part of a distance is a whole number of 2**-15. Let AveragePooling1D, "
            "or a convolution with strides, in front of it make steps longer.",
            stacklevel=2,
        )
    return rates


def recent_averages(values: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Exponentially weighted averages of real numbers `[B, L, H]`, which their first step starts."""
    averages = values.copy()
    for step in range(1, values.shape[1]):
        averages[:, step] = averages[:, step - 1] + parts * (values[:, step] - averages[:, step - 1])
    return averages


def sliding_averages(values: np.ndarray, layer: SlidingAverage, phase: int) -> np.ndarray:
    """Averages of the last full hops at each step of real numbers `[B, L, H]`, which mean something from a step on."""
    full = max(values.shape[1] - phase, 0) // layer.hop
    steps = values[:, phase : phase + full * layer.hop]
    means = steps.reshape(len(values), full, layer.hop, values.shape[-1]).mean(axis=2)
    means = np.concatenate([np.repeat(means[:, :1], layer.hops, axis=1), means], axis=1)
    averages = sum(means[:, 1 + place :][:, :full] for place in range(layer.hops)) / layer.hops
    averages = np.concatenate([np.zeros_like(values[:, :1]), averages], axis=1)
    return averages[:, np.maximum(np.arange(values.shape[1]) + 1 - phase, 0) // layer.hop]


def _every_hop(name: str, signal: Signal, hop: int, offset: int, builder: ProgramBuilder) -> Signal:
    """Of each `hop` steps the one in which a hop is full."""
    tensor = signal.tensor
    output = builder.tensor(f"{name}/at_hops", tensor.shape, tensor.type, tensor.scale)
    builder.add(Window(tensor, None, None, 1, output, hop, offset))
    return Signal(output, signal.values[:, offset::hop])
