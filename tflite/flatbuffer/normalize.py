"""Division by the root of the sum of squares."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.program.operations import Normalize
from keras_s4.tflite.program.operations.normalize import ROOT_OFFSET
from keras_s4.tflite.program.tensors import Tensor


@expands(Normalize)
def expand_normalize(operation: Normalize, file: Expansion) -> None:
    """The sum of squares is the product of a row with itself as a column."""
    rows, size = operation.rows, operation.input.shape[-1]
    row, column = (
        file.reshape(file.index[operation.input.name], shape) for shape in ((rows, 1, size), (rows, size, 1))
    )

    def weigh(energy: Tensor, gain: Tensor) -> int:
        file.writer.operator("BATCH_MATMUL", [row, column], file.declare(energy, (rows, 1, 1)))
        return file.combine("MUL", file.widen(energy), file.new_constant(gain.data, gain.shape))

    coarse, fine = weigh(operation.coarse, operation.coarse_gain), weigh(operation.fine, operation.fine_gain)
    ranges = operation.level.shape[-1]
    file.round_to(operation.level, 1.0, 0, (rows, 1, ranges), lambda output: file.combine("ADD", coarse, fine, output))
    level, starts = file.widen(operation.level), file.new_constant(256 * np.arange(ranges) + 128, (ranges,))
    positions = file.combine("ADD", level, starts)
    part, root = operation.part, operation.root
    table = file.writer.tensor(operation.table.shape, "int8", quantization_of(part), operation.table.data)
    file.writer.operator("GATHER", [table, positions], file.declare(part, (rows, 1, ranges)))
    parts = file.reshape(file.index[part.name], (rows, ranges))
    wide = file.cast(parts, file.writer.tensor((rows, ranges), "int16", quantization_of(part)))
    weights = file.writer.tensor((1, ranges), "int8", quantization_of(operation.weights), operation.weights.data)
    bias = file.writer.tensor((1,), "int64", quantization_of(operation.weights), operation.bias.data)
    file.write_in_shape(
        root, (rows, 1), lambda output: file.writer.operator("FULLY_CONNECTED", [wide, weights, bias], output)
    )
    input, factor = file.widen(operation.input), file.add_constant(file.widen(root), ROOT_OFFSET)
    file.round_to(
        operation.output,
        operation.input.scale * operation.root_scale,
        0,
        np.broadcast_shapes(file.shape_of(input), file.shape_of(factor)),
        lambda output: file.combine("MUL", input, factor, output),
    )
