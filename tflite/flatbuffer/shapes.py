"""Operations that move values and change none."""

from __future__ import annotations

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.program.operations import Concatenate, Embed, Reshape, Slice


@expands(Concatenate)
def expand_concatenate(operation: Concatenate, file: Expansion) -> None:
    parts = [file.restore_shape(tensor) for tensor in operation.inputs]
    file.concatenate(parts, len(operation.output.shape), file.declare(operation.output))


@expands(Reshape)
def expand_reshape(operation: Reshape, file: Expansion) -> None:
    file.reshape(file.index[operation.input.name], (1, *operation.output.shape), file.declare(operation.output))


@expands(Slice)
def expand_slice(operation: Slice, file: Expansion) -> None:
    input, output = file.restore_shape(operation.input), operation.output
    begin = (0,) * len(output.shape) + (operation.start,)
    end = (*file.shape_of(input)[:-1], operation.start + output.shape[-1])
    file.slice(input, begin, (1,) * len(begin), file.declare(output), end)


@expands(Embed)
def expand_embed(operation: Embed, file: Expansion) -> None:
    table, output = operation.table, operation.output
    rows = file.writer.tensor(table.shape, "int8", quantization_of(output), table.data)
    # A state has four axes in the file, and a row would add one.
    row = file.derive_once("shaped", operation.input, lambda: file.restore_shape(operation.input))
    if len(output.shape) > 1:
        row = file.reshape(row, (1, *output.shape[:-1]))
    file.writer.operator("GATHER", [rows, row], file.declare(output, (*file.shape_of(row), output.shape[-1])))
