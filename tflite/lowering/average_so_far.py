"""The average of the steps so far, which is right wherever a sequence ends: `mean <- mean + (x - mean) / count`.

Models that mask padded steps have sequences of lengths of their own, so that no fixed number can divide a sum. The mean
is a memory in delta form, as that of a GRU with 1 / count as its gate: an int32 state of which an int16 view is
compared with the input. Whatever the rounding of 1 / count, the mean lies between the inputs, and a constant input is
its own mean; the rounding only weighs steps a little differently (by less than 1% up to 300 steps, 2% at 1,000).

1 / count is a table of whole numbers in units of 2**-15, as two digits with a base of 256, since tables hold int8. The
count stops at the table's end: behind it older steps fade, as in an exponential average over that many steps.
"""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import HEADROOM
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.operations import Add, Affine, Embed, Minimum, Multiply, Requantize
from keras_s4.tflite.program.tensors import Tensor

RATE_SCALE = 2.0**-15
LARGEST_COUNT = 2**15
BASE = 256
# The view of an int8 input's mean has so many times its resolution; 255 differences of 8 bits then fill 16.
FINER = 128


def add_average_so_far(name: str, signal: Signal, length: int, builder: ProgramBuilder) -> Signal:
    """The average, with an int16 result.

    Args:
        name: of the layer.
        signal: int8 or int16, `[H]`.
        length: steps after which the count stays, at most `LARGEST_COUNT`.
        builder: takes the operations and two states, the count and the mean.
    """
    shape, finer = signal.tensor.shape, FINER if signal.tensor.type == "int8" else 1
    view_scale = signal.tensor.scale / finer
    rate = _add_rate(name, length, builder)
    mean = builder.state(f"{name}/mean", shape, view_scale * RATE_SCALE)
    view = builder.tensor(f"{name}/view", shape, "int16", view_scale)
    builder.add(Requantize(mean.before, view))
    difference = builder.tensor(f"{name}/difference", shape, "int32", view_scale)
    builder.add(Add(signal.tensor, view, finer, -1, view_scale, difference))
    # Below 2**30: the first difference is an input, of 15 bits; all others have 16, and a rate of at most a half.
    change = builder.tensor(f"{name}/change", shape, "int32", mean.before.scale)
    builder.add(Multiply(difference, rate, change))
    builder.add(Add(mean.before, change, 1, 1, mean.before.scale, mean.after))
    values = averages_so_far(signal.values, length)
    # A power of two times the mean's scale, so that the rounding is a shift in every engine.
    shift = max(0.0, np.ceil(np.log2(max(builder.peak(values) * HEADROOM, 1e-12) / (mean.before.scale * 32767))))
    output = builder.tensor(f"{name}/output", shape, "int16", mean.before.scale * 2.0**shift)
    builder.add(Requantize(mean.after, output))
    return Signal(output, values)


def averages_so_far(values: np.ndarray, length: int) -> np.ndarray:
    """The same of real numbers `[B, L, ...]`."""
    averages = np.zeros_like(values)
    mean = averages[:, 0]
    for step in range(values.shape[1]):
        mean = mean + (values[:, step] - mean) / min(step + 1, length)
        averages[:, step] = mean
    return averages


def _add_rate(name: str, length: int, builder: ProgramBuilder) -> Tensor:
    """1 / count, int32 `[1]`; the state is the count before this step, which is the row of the tables."""
    count = builder.state(f"{name}/count", (1,), 1.0)
    rates = np.rint(1.0 / RATE_SCALE / np.arange(1, length + 1)).astype(int)
    digits = []
    for label, digit, scale in (("high", rates // BASE, BASE * RATE_SCALE), ("low", rates % BASE, RATE_SCALE)):
        table = builder.constant(f"{name}/{label}s", digit[:, None] - 128, "int8", scale)
        digits.append(builder.tensor(f"{name}/{label}", 1, "int8", scale, -128))
        builder.add(Embed(count.before, table, digits[-1]))
    one, last = (builder.constant(f"{name}/{n}", np.array([v]), "int32") for n, v in (("one", 1), ("last", length - 1)))
    counted = builder.add(Affine(count.before, one, one, 1.0, builder.tensor(f"{name}/counted", 1, "int32", 1.0)))
    builder.add(Minimum(counted.output, last, count.after))
    rate = builder.tensor(f"{name}/rate", 1, "int32", RATE_SCALE)
    return builder.add(Add(*digits, BASE, 1, RATE_SCALE, rate)).output
