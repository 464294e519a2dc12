"""Operations that move values: parts, rows of tables, other shapes."""

from __future__ import annotations

import math

from keras_s4.tflite.c99.expressions import address_of, index_of
from keras_s4.tflite.c99.names import printable, short_name
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program.operations import Concatenate, Embed, Reshape, Slice
from keras_s4.tflite.program.tensors import Tensor


@translates(Reshape, does="the same values in another shape")
def translate_reshape(operation: Reshape, source: Translation) -> None:
    source.copy(source.pointer(operation.output), source.pointer(operation.input), operation.output)


def _sliced(operation: Slice) -> str:
    return f"part of {printable(short_name(operation.input.name))} from {operation.start} on"


@translates(Slice, does=_sliced)
def translate_slice(operation: Slice, source: Translation) -> None:
    _copy_columns(operation.output, 0, operation.input, operation.start, operation.output.shape[-1], source)


@translates(Concatenate, does="one behind the other")
def translate_concatenate(operation: Concatenate, source: Translation) -> None:
    start = 0
    for tensor in operation.inputs:
        _copy_columns(operation.output, start, tensor, 0, tensor.shape[-1], source)
        start += tensor.shape[-1]


def _copy_columns(to: Tensor, start_to: int, x: Tensor, start: int, columns: int, source: Translation) -> None:
    """Copy columns of each row."""
    with source.loop("row", math.prod(to.shape[:-1])) as row:
        target = address_of(source.pointer(to), (row, to.shape[-1]), first=start_to)
        source.copy(target, address_of(source.pointer(x), (row, x.shape[-1]), first=start), to, columns)


@translates(Embed, does="rows of a table")
def translate_embed(operation: Embed, source: Translation) -> None:
    """The step has checked the numbers."""
    output, size = operation.output, operation.output.shape[-1]
    table, tokens = source.pointer(operation.table), source.pointer(operation.input)
    with source.loop("row", operation.rows) as row:
        origin = f"&{table}[(uint32_t){tokens}[{index_of((row, 1))}] * {size}U]"
        source.copy(address_of(source.pointer(output), (row, size)), origin, output, size)
