"""Averages of a stream that never ends. No operator has conditions: what does not count is multiplied by 0."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import RecentMean, SlidingSum
from keras_s4.tflite.program.tensors import Tensor


@expands(RecentMean)
def expand_recent_mean(operation: RecentMean, file: Expansion) -> None:
    output, start, channels = operation.output, operation.start, operation.output.shape[0]
    state = _in_one_row(operation.state, file)
    mean, count = _part(state, 0, channels, file), _part(state, channels, channels + 1, file)
    scale = Quantization((float(operation.state.scale),))
    rounded = file.writer.tensor((1, channels), "int16", quantization_of(output))
    file.writer.operator("QUANTIZE", [file.copy(mean, scale)], rounded)
    rounded = file.cast(rounded, file.new_integers((1, channels)))
    value = file.multiply_by(_values_of(operation.input, file), operation.finer)
    distance = _subtract(value, rounded, file)
    # 2**15, or behind the first step `rate`.
    rest = file.new_constant(operation.rate.data - 2**15, (1, channels))
    part = file.add_constant(file.combine("MUL", rest, _reaches(count, start + 1, start + 1, file)), 2**15)
    if start:
        part = file.combine("MUL", part, _reaches(count, start, start + 1, file))
    moved = file.combine("ADD", mean, file.combine("MUL", distance, part))
    counted = _extremum("MINIMUM", file.add_constant(count, 1), start + 1, file)
    _write_state([moved, counted], operation.next_state, file)
    file.writer.operator("QUANTIZE", [file.copy(moved, scale)], file.declare(output))


@expands(SlidingSum)
def expand_sliding_sum(operation: SlidingSum, file: Expansion) -> None:
    """A hop is taken to be full, and what that changes counts where it is: `old + full * (new - old)`."""
    hop, hops, start, channels = operation.hop, operation.hops, operation.start, operation.output.shape[0]
    last = start + 2 * hop - 1
    state, ends = _in_one_row(operation.state, file), [hops * channels, (hops + 1) * channels, (hops + 2) * channels]
    ring, partial, total = (_part(state, *each, file) for each in zip([0, *ends], ends, strict=False))
    count = _part(state, ends[-1], ends[-1] + 1, file)
    added = _values_of(operation.input, file)
    if start:
        added = file.combine("MUL", added, _reaches(count, start, last, file))
    partial = file.combine("ADD", partial, added)
    later = _reaches(count, last, last, file)
    first = _subtract(_reaches(count, start + hop - 1, last, file), _reaches(count, start + hop, last, file), file)
    full = file.combine("ADD", first, later)
    # In place of the zeros in front of the first hop stands that hop.
    missing = file.combine("MUL", partial, first)
    shifted = [
        file.combine("ADD", _part(ring, place * channels, (place + 1) * channels, file), missing)
        for place in range(1, hops)
    ]
    gained = _subtract(partial, _part(ring, 0, channels, file), file)
    renewed = file.combine("ADD", file.combine("ADD", total, gained), file.multiply_by(missing, hops - 1))
    zeros = file.new_constant(np.zeros(channels), (1, channels))
    old, new = file.concatenate([ring, partial, total], 1), file.concatenate([*shifted, partial, zeros, renewed], 1)
    parts = file.combine("ADD", old, file.combine("MUL", _subtract(new, old, file), full))
    counted = file.combine("ADD", file.add_constant(count, 1), file.multiply_by(later, -hop))
    _write_state([parts, counted], operation.next_state, file)
    _part(parts, *ends[1:], file, file.declare(operation.output))


def _in_one_row(tensor: Tensor, file: Expansion, index: int | None = None) -> int:
    """`[1, size]`."""
    index = file.index[tensor.name] if index is None else index
    shape = (1, tensor.shape[-1])
    return index if file.shape_of(index) == shape else file.reshape(index, shape)


def _values_of(input: Tensor, file: Expansion) -> int:
    """Less their zero point, int32 `[1, H]`."""
    return _in_one_row(input, file, file.centre(input))


def _part(index: int, begin: int, end: int, file: Expansion, into: int | None = None) -> int:
    """Elements of a row `[1, size]`."""
    if into is None:
        into = file.new_integers((1, end - begin))
    return file.slice(index, (0, begin), (1, 1), into, (1, end))


def _subtract(a: int, b: int, file: Expansion) -> int:
    return file.combine("ADD", a, file.multiply_by(b, -1))


def _extremum(operator: str, index: int, value: int, file: Expansion) -> int:
    constant = file.new_constant(np.array([value]), (1,))
    return file.writer.operator(operator, [index, constant], file.new_integers(file.shape_of(index)))


def _reaches(count: int, least: int, most: int, file: Expansion) -> int:
    """1 where a count of at most `most` is at least `least`, and 0 elsewhere."""
    above = _extremum("MAXIMUM", file.add_constant(count, 1 - least), 0, file)
    return _extremum("MINIMUM", above, 1, file) if most > least else above


def _write_state(parts: list[int], next_state: Tensor, file: Expansion) -> None:
    shape = file.shape_of_end(next_state)
    if shape == (1, next_state.shape[-1]):
        file.concatenate(parts, 1, file.declare(next_state))
    else:
        file.reshape(file.concatenate(parts, 1), shape, file.declare(next_state, shape))
