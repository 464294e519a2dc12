"""Division by the root of the sum of squares."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization
from keras_s4.tflite.program.operations import Normalize
from keras_s4.tflite.program.operations.normalize import ROOT_OFFSET
from keras_s4.tflite.program.tensors import Tensor


@expands(Normalize)
def expand_normalize(operation: Normalize, file: Expansion) -> None:
    """See `operations.Normalize`. The sum of squares is the product of a row with itself as a column."""
    rows, size = math.prod(operation.input.shape[:-1]), operation.input.shape[-1]
    row, column = (
        file.reshape(file.index[operation.input.name], shape) for shape in ((rows, 1, size), (rows, size, 1))
    )

    def term(energy: Tensor, gain: Tensor) -> int:
        file.writer.operator("BATCH_MATMUL", [row, column], file.declare(energy, (rows, 1, 1)))
        return file.binary("MUL", file.plain(energy), file.constant(gain.data, gain.shape))

    coarse, fine = term(operation.coarse, operation.coarse_gain), term(operation.fine, operation.fine_gain)
    ranges = operation.level.shape[-1]
    file.round_to(operation.level, 1.0, 0, (rows, 1, ranges), lambda output: file.binary("ADD", coarse, fine, output))
    positions = file.binary("ADD", file.plain(operation.level), file.constant(256 * np.arange(ranges) + 128, (ranges,)))
    part, root = operation.part, operation.root
    table = file.writer.tensor(operation.table.shape, "int8", quantization(part), operation.table.data)
    file.writer.operator("GATHER", [table, positions], file.declare(part, (rows, 1, ranges)))
    parts = file.reshape(file.index[part.name], (rows, ranges))
    wide = file.cast(parts, file.writer.tensor((rows, ranges), "int16", quantization(part)))
    weights = file.writer.tensor((1, ranges), "int8", quantization(operation.weights), operation.weights.data)
    bias = file.writer.tensor((1,), "int64", quantization(operation.weights), operation.bias.data)
    file.in_shape(
        root, (rows, 1), lambda output: file.writer.operator("FULLY_CONNECTED", [wide, weights, bias], output)
    )
    input, factor = file.plain(operation.input), file.offset(file.plain(root), ROOT_OFFSET)
    file.round_to(
        operation.output,
        operation.input.scale * operation.root_scale,
        0,
        np.broadcast_shapes(file.shape(input), file.shape(factor)),
        lambda output: file.binary("MUL", input, factor, output),
    )
