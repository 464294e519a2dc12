"""Pooling over time: one value for all steps so far."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_s4.tflite.lowering.average_so_far import LARGEST_COUNT, add_average_so_far
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import HEADROOM
from keras_s4.tflite.lowering.registry import refusal, register
from keras_s4.tflite.lowering.resting import at_rest_until_due
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import with_encoding
from keras_s4.tflite.program.fixed_point import RANGES
from keras_s4.tflite.program.operations import Accumulate, Affine, Maximum, Requantize
from keras_s4.tflite.program.tensors import Tensor

# At which a sum stays that nobody resets: an instruction of Cortex-M, and room for any sum of a step or a block.
LIMIT = 2**30


@register(keras.layers.GlobalAveragePooling1D, takes="both", rests=True)
def lower_average_pooling(layer, inputs, builder):
    """A running sum; the division by the window's length is folded into its scale. Of padded sequences, the average.

    Where nobody resets it at the end of a window, the sum grows up to a limit, and stays there.
    """
    signal = inputs[0]
    if builder.padded:
        return _lower_average_so_far(layer, signal, builder)
    length = builder.window - signal.phase
    if length < 1:
        raise ValueError(
            f"Layer {layer.name!r} averages over windows that end before a step comes through the strides in front of "
            "it; use longer windows, or smaller strides."
        )
    largest = 2 ** (15 if signal.tensor.type == "int16" else 8)
    if largest * length > 2**31 - 1:
        raise ValueError(
            f"Layer {layer.name!r} would sum {length} steps in 32 bits, which holds {2**31 // largest}; "
            "use shorter windows."
        )
    due = at_rest_until_due(layer.name, signal, builder)
    averages = np.cumsum(due.values, axis=1) / length
    scale = signal.tensor.scale / length
    sums = builder.state(f"{layer.name}/sum", signal.tensor.shape, scale)
    limit = LIMIT if largest * length <= LIMIT else 2**31 - largest
    builder.add(Accumulate(due.tensor, sums.before, sums.after, limit))
    return with_encoding(add_rounded_sum(layer.name, sums.after, averages, builder), signal.encoding, builder)


def add_rounded_sum(name: str, total: Tensor, averages: np.ndarray, builder: ProgramBuilder) -> Signal:
    """A sum over time, int32 and of such a scale that it is the average, with an int16 result."""
    # A power of two times the sum's scale, so that the rounding is a shift in every engine.
    shift = max(0.0, np.ceil(np.log2(max(np.abs(averages).max() * HEADROOM, 1e-12) / (total.scale * 32767))))
    output = builder.tensor(f"{name}/output", total.shape, "int16", total.scale * 2.0**shift)
    builder.add(Requantize(total, output))
    return Signal(output, averages)


def _lower_average_so_far(layer, signal, builder):
    if signal.phase:
        raise refusal(
            layer,
            f"the model masks padded steps, and what it averages means something from step {signal.phase} on only",
            "Use padding='causal' in the convolutions in front of it",
        )
    if builder.window > LARGEST_COUNT:
        raise refusal(
            layer,
            f"in a model that masks padded steps it counts them, up to {LARGEST_COUNT:,} and not to {builder.window:,}",
            f"Use shorter sequences, or convert(model, data, length={LARGEST_COUNT}): behind so many steps older ones "
            "fade",
        )
    result = add_average_so_far(layer.name, signal, builder.window, builder)
    return with_encoding(result, signal.encoding, builder)


@register(keras.layers.GlobalMaxPooling1D, takes="both", rests=True)
def lower_max_pooling(layer, inputs, builder):
    """A running maximum of `q - lowest`, exact: never below 0, which is what the state starts from."""
    signal, name = inputs[0], layer.name
    if signal.encoding is not None and np.any(signal.encoding.unit <= 0.0):
        signal = builder.settle(signal, "nothing")
    tensor, shape = signal.tensor, signal.tensor.shape
    lowest = RANGES[tensor.type][0]
    ones = builder.constant(f"{name}/ones", np.ones(shape), "int32")

    def offset(label: str, value: int):
        return builder.constant(f"{name}/{label}", np.full(shape, value), "int32", tensor.scale)

    height = builder.tensor(f"{name}/height", shape, "int32", tensor.scale)
    builder.add(Affine(tensor, ones, offset("to_height", tensor.zero_point - lowest), tensor.scale, height))
    due = at_rest_until_due(name, dataclasses.replace(signal, tensor=height), builder)
    largest = builder.state(f"{name}/largest", shape, tensor.scale)
    builder.add(Maximum(largest.before, due.tensor, largest.after))
    output = builder.tensor(f"{name}/output", shape, tensor.type, tensor.scale, tensor.zero_point)
    builder.add(Affine(largest.after, ones, offset("from_height", lowest - tensor.zero_point), tensor.scale, output))
    values = signal.values.copy()
    values[:, : signal.phase] = values.min()
    result = Signal(output, np.maximum.accumulate(values, axis=1))
    return with_encoding(result, signal.encoding, builder)
