"""Straight lines that stand for a function of one int16 value."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import Interpolate


@expands(Interpolate)
def expand_interpolate(operation: Interpolate, file: Expansion) -> None:
    """A line is the product of a row of a table with a column: the input and two factors.

    The table holds int8, as GATHER wants: a slope, and an offset as two digits with a base of 256.
    """
    input, output, writer = operation.input, operation.output, file.writer
    count, gain = math.prod(input.shape), operation.offset_gain
    factors = np.tile(np.array([256 * gain, gain], np.int16), (count, 1))
    tag, slope_tag = quantization_of(input), quantization_of(operation.slope)
    q = file.reshape(file.index[input.name], (count, 1), writer.tensor((count, 1), "int16", tag))
    table = _table_of(operation)
    table = writer.tensor(table.shape, "int8", slope_tag, table)
    row = _find_row(operation, q, file)
    line = writer.operator("GATHER", [table, row], writer.tensor((count, 1, 3), "int8", slope_tag))
    line = file.cast(line, writer.tensor((count, 1, 3), "int16", slope_tag))
    column = writer.tensor((count, 3), "int16", tag)
    writer.operator("CONCATENATION", [q, writer.tensor((count, 2), "int16", tag, factors)], column, axis=1)
    column = file.reshape(column, (count, 3, 1))
    product = writer.tensor((count, 1, 1), "int16", quantization_of(output))
    file.reshape(writer.operator("BATCH_MATMUL", [line, column], product), (1, *output.shape), file.declare(output))


def _find_row(operation: Interpolate, q: int, file: Expansion) -> int:
    """The row of the table for each input, counted from 1.

    QUANTIZE rounds to the nearest, and twice: first `place / 2`, ties upwards, then the rest, ties away from zero. With
    half a step less one added, each row begins and ends where it should; counted from 0 the first would become -1.
    """
    step, shape = 2**16 // len(operation.slope.data), file.shape_of(q)
    place = file.new_integers(shape, Quantization((1.0,)))
    start = file.new_constant(np.array([2**15 + step // 2 - 1]), (1,))
    file.combine("ADD", file.cast(q, file.new_integers(shape)), start, place)
    row = file.writer.tensor(shape, "int16", Quantization((float(step),)))
    return file.cast(file.writer.operator("QUANTIZE", [place], row), file.new_integers(shape))


def _table_of(operation: Interpolate) -> np.ndarray:
    """Slopes and offsets, `[1 + rows, 3]` of int8; the first row is never read."""
    offset = operation.offset.data.astype(np.int64)
    upper = (offset + 128) >> 8
    rows = np.stack([operation.slope.data, upper, offset - (upper << 8)], axis=1)
    return np.concatenate([np.zeros((1, 3)), rows]).astype(np.int8)
