"""Whether the shapes of an operator's tensors, and the constants that say more about them, fit each other."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand
from keras_s4.tflite.program import fixed_point

# The 64-bit accumulators of 16-bit kernels: they are scaled by less than 2**7, and stay below 2**47.
LARGEST_SHIFT, ACCUMULATOR_BITS = 7, 47
_BIAS_TOLERANCE = 0.02


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that all of these are broadcast to, None if there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def is_broadcast(call: Call) -> bool:
    """Whether the output has the shape that its inputs are broadcast to.

    Leading axes of size 1 do not matter: the kernels add such axes to the shorter shapes.
    """
    *inputs, output = (
        operand.shape[next((axis for axis, size in enumerate(operand.shape) if size != 1), operand.axes) :]
        for operand in (*call.inputs, call.output)
    )
    return output == broadcast(*inputs)


def reverses_neighbours(call: Call) -> bool:
    """Whether the axes of REVERSE_V2 follow each other."""
    axes = sorted(axis + call.input.axes * (axis < 0) for axis in call.inputs[1].values)
    return axes == list(range(axes[0], axes[0] + len(axes))) and axes[0] >= 0 and axes[-1] < call.input.axes


def joins(call: Call) -> bool:
    """Whether the inputs of CONCATENATION make up its output."""
    axis, shape = call.options["axis"], call.output.shape
    if not 0 <= axis < len(shape) or any(operand.axes != len(shape) for operand in call.inputs):
        return False
    rest = {operand.shape[:axis] + operand.shape[axis + 1 :] for operand in (*call.inputs, call.output)}
    return len(rest) == 1 and sum(operand.shape[axis] for operand in call.inputs) == shape[axis]


def cuts(call: Call) -> bool:
    """Whether STRIDED_SLICE stays inside its input, and the output has the shape of what it cuts out."""
    parts = list(zip(*(operand.values for operand in call.inputs[1:]), call.input.shape, strict=True))
    inside = all(0 <= begin < end <= size and stride > 0 for begin, end, stride, size in parts)
    return inside and call.output.shape == tuple(-(-(end - begin) // stride) for begin, end, stride, _ in parts)


def multiplies_matrices(call: Call) -> bool:
    """Whether the matrices of BATCH_MATMUL fit, and the output has the shape of their product."""
    a, b = (operand.shape for operand in call.inputs)
    batch = broadcast(a[:-2], b[:-2])
    return a[-1] == b[-2] and batch is not None and call.output.shape == (*batch, a[-2], b[-1])


def moves_window(call: Call, height: int, width: int) -> bool:
    """Whether a window of this size, moved over an image by its stride, gives the output; channels do not matter."""
    batch, rows, columns, _ = call.input.shape
    places = (rows - height) // call.options["stride_h"] + 1, columns - width + 1
    return (
        min(height, width, *places) > 0
        and min(rows - height, columns - width) >= 0
        and call.output.shape[:3] == (batch, *places)
    )


def multiplies_alike(call: Call) -> bool:
    """Whether a MUL of int16 rounds in the same way on all engines; of int32 nothing is rounded."""
    if call.input.type != "int16":
        return True
    if not all(each.has_one_scale and each.is_symmetric and each.shape == call.output.shape for each in call.operands):
        return False
    factor = math.prod(operand.scale for operand in call.inputs) / call.output.scale
    return fixed_point.quantize_multiplier(factor).mantissa == fixed_point.UNIT.mantissa


def is_reduced(factor: float) -> bool:
    """Whether 64-bit accumulators may be scaled by this."""
    return fixed_point.quantize_multiplier(factor).shift <= LARGEST_SHIFT


def largest_sum(terms: int, call: Call, bias: Operand | None = None) -> int:
    """The largest magnitude of an accumulator."""
    bits = [{"int4": 3, "int8": 7, "int16": 15}[operand.type] for operand in call.inputs[:2]]
    return terms * 2 ** sum(bits) + max(map(abs, bias.values if bias else ()), default=0)


def sums_fit(call: Call) -> bool:
    """Whether FULLY_CONNECTED and DEPTHWISE_CONV_2D of int16 keep to what 64-bit accumulators may hold."""
    input, weights, bias = call.inputs
    terms = math.prod(weights.shape[1:3]) if weights.axes == 4 else weights.shape[1]
    factor = input.scale * max(weights.scales) / call.output.scale
    return input.type == "int8" or (is_reduced(factor) and largest_sum(terms, call, bias) < 2**ACCUMULATOR_BITS)


def bias_fits(call: Call) -> bool:
    """Whether a bias has the scale of the products that it is added to, within what kernels tolerate."""
    input, weights, bias = call.inputs
    return abs(input.scale * weights.scale - bias.scale) <= _BIAS_TOLERANCE * call.output.scale
