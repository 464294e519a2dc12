"""Steps of diagonal state spaces in delta form, and running sums."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import Accumulate, DiagonalStep, ModalStep


@expands(DiagonalStep)
def expand_diagonal_step(operation: DiagonalStep, file: Expansion) -> None:
    """Of a block, the state takes one step after the other, the output all at once."""
    step, shape = operation, (1, *operation.state.shape)
    channels = shape[-1]
    u, state = file.widen(step.input), file.index[step.state.name]
    inputs = _split_rows(u, channels, file) if len(step.input.shape) > 1 else [u]
    readout, strides = _add_readout(step, file)
    bias = file.new_constant(np.zeros(channels), (channels,), "int64")
    partials = []
    for position, row in enumerate(inputs):
        hidden = _round_state(step, state, file)
        partial = file.writer.tensor((1, 1, 1, channels), "int16", quantization_of(step.partial))
        partials.append(file.writer.operator("DEPTHWISE_CONV_2D", [hidden, readout, bias], partial, **strides))
        last = position == len(inputs) - 1
        state = _add_next_state(step, row, state, hidden, file.declare(step.next_state) if last else None, file)
    file.index[step.partial.name] = partials[0]
    if len(inputs) > 1:
        joined = file.concatenate(partials, 3)
        file.reshape(joined, (1, *step.partial.shape), file.declare(step.partial))

    def write(output: int) -> int:
        total = file.widen(step.partial)
        if not np.any(step.feedthrough.data):
            if step.partial_gain == 1:
                return file.retag(total, output)
            return file.combine("MUL", total, file.uniform(step.partial_gain, total), output)
        # Where shapes are equal down to the number of axes ADD and MUL take the quicker way.
        every = file.shape_of(total)
        direct = file.new_integers(every if math.prod(every) == channels else file.shape_of(u))
        file.combine("MUL", u, file.new_constant(step.feedthrough.data, (1, channels)), direct)
        total = file.multiply_by(total, step.partial_gain)
        return file.combine("ADD", total, direct, output)

    file.round_to(step.output, step.accumulator_scale, 0, file.shape_of(file.index[step.partial.name]), write)


def _add_readout(step: DiagonalStep, file: Expansion) -> tuple[int, dict[str, int]]:
    """The weights of the readout, and the strides with which the window leaves out the imaginary parts.

    Weights of imaginary parts that are all 0, as lowerings make them, are not stored, and cost no products.
    """
    weights = step.readout.data
    real = not np.any(weights[1])
    shape = (1, 1, *weights.shape[1:]) if real else (1, *weights.shape)
    data = (weights[0] if real else weights).reshape(shape)
    index = file.writer.tensor(shape, "int8", quantization_of(step.readout, 3), data)
    return index, {"stride_h": 2} if real else {}


@expands(ModalStep)
def expand_modal_step(operation: ModalStep, file: Expansion) -> None:
    """Of a block, the state takes one step after the other."""
    step, size = operation, math.prod(operation.state.shape)
    u, state = file.widen(step.input), file.index[step.state.name]
    inputs = _split_rows(u, size, file) if len(step.input.shape) > 1 else [u]
    rows = []
    for position, row in enumerate(inputs):
        shape = file.shape_of(state)
        hidden = _round_state(step, state, file)
        last = position == len(inputs) - 1
        into = file.declare(step.next_state, shape) if last else None
        state = _add_next_state(step, file.reshape(row, shape), state, hidden, into, file)
        rows.append(_round_state(step, state, file))
    joined = [file.reshape(row, (1, size)) for row in rows[:-1]]
    if not joined:
        file.reshape(rows[0], (1, size), file.declare(step.output))
        return
    joined = file.concatenate([*joined, file.reshape(rows[-1], (1, size))], 1)
    file.reshape(joined, (1, *step.output.shape), file.declare(step.output))


@expands(Accumulate)
def expand_accumulate(operation: Accumulate, file: Expansion) -> None:
    """The rows of a block are added to each other by halves."""
    state, added = file.index[operation.state.name], file.centre(operation.input)
    if len(operation.input.shape) > len(operation.next_state.shape):
        added = _add_rows(added, file)
    total = file.combine("ADD", state, added)
    _clamp(total, operation.limit, file.declare(operation.next_state, file.shape_of(state)), file)


def _split_rows(index: int, channels: int, file: Expansion) -> list[int]:
    """The rows of a block, `[1, H]` each."""
    count = math.prod(file.shape_of(index)) // channels
    flat, type = file.reshape(index, (1, count * channels)), file.type_of(index)
    return [
        file.slice(flat, (0, start), (1, 1), file.writer.tensor((1, channels), type), (1, start + channels))
        for start in range(0, count * channels, channels)
    ]


def _add_rows(index: int, file: Expansion) -> int:
    """The sum of int32 rows `[1, R, ..]` as `[1, 1, ..]`."""
    _, count, *rest = file.shape_of(index)
    if count == 1:
        return index
    half = count // 2

    def part(start: int, end: int) -> int:
        into = file.new_integers((1, end - start, *rest))
        zeros, ones = (0,) * len(rest), (1,) * len(rest)
        return file.slice(index, (0, start, *zeros), (1, 1, *ones), into, (1, end, *rest))

    total = _add_rows(file.combine("ADD", part(0, half), part(half, 2 * half)), file)
    return file.combine("ADD", total, part(count - 1, count)) if count % 2 else total


def _round_state(step: DiagonalStep | ModalStep, state: int, file: Expansion) -> int:
    """The rounded state, int16 in the state's shape."""
    hidden = file.writer.tensor(file.shape_of(state), "int16", quantization_of(step.hidden))
    return file.writer.operator("QUANTIZE", [file.copy(state, Quantization((float(step.state.scale),)))], hidden)


def _add_next_state(
    step: DiagonalStep | ModalStep, u: int, state: int, hidden: int, into: int | None, file: Expansion
) -> int:
    """Add the three terms to the state, in the emulator's order, with as few int32 arrays alive as possible."""
    shape, rotation = file.shape_of(state), step.rotation.data
    turns, clamps = bool(np.any(rotation)), bool(step.limit)
    before = state
    if np.any(step.input_gain.data):
        state = file.combine("ADD", state, file.combine("MUL", u, file.new_constant(step.input_gain.data, shape)))
    wide = file.cast(hidden, file.new_integers(shape))
    decayed = file.combine("MUL", wide, _constant_of_parts(step, step.decay.data, shape, file))
    state = file.combine("ADD", state, decayed, None if turns or clamps else into)
    if turns:
        signed = file.new_constant(np.stack([-rotation, rotation]), shape)
        turned = file.combine("MUL", _swap_rows(step, hidden, file), signed)
        state = file.combine("ADD", state, turned, None if clamps else into)
    if any(np.any(half) for half in step.halves()):
        state = file.combine("ADD", state, _turn_residue(step, before, hidden, wide, file))
    return _clamp(state, step.limit, into, file) if clamps else state


def _turn_residue(step: DiagonalStep | ModalStep, state: int, hidden: int, wide: int, file: Expansion) -> int:
    """Twice what the rounding of the state left out, turned by the halves of the poles."""
    shape = file.shape_of(state)

    def rounded(total: int, units: float) -> int:
        tagged = file.copy(total, Quantization((float(step.state.scale),)))
        into = file.writer.tensor(shape, "int16", Quantization((float(step.state.scale * units),)))
        return file.writer.operator("QUANTIZE", [tagged], into)

    residue = rounded(file.combine("ADD", state, file.multiply_by(wide, -(2**15))), 1.0)
    half_decay, half_rotation = step.halves()
    error = file.cast(residue, file.new_integers(shape))
    decayed = file.combine("MUL", error, _constant_of_parts(step, half_decay, shape, file))
    signed = file.new_constant(np.stack([-half_rotation, half_rotation]), shape)
    turned = file.combine("ADD", decayed, file.combine("MUL", _swap_rows(step, residue, file), signed))
    half = file.cast(rounded(turned, 2.0**15), file.new_integers(shape))
    return file.combine("ADD", half, half)


def _clamp(index: int, limit: int, into: int | None, file: Expansion) -> int:
    """The integers from `-limit` to `limit - 1`."""
    below = file.combine("MINIMUM", index, file.new_constant(np.array([limit - 1]), (1,)))
    return file.combine("MAXIMUM", below, file.new_constant(np.array([-limit]), (1,)), into)


def _constant_of_parts(
    step: DiagonalStep | ModalStep, values: np.ndarray, shape: tuple[int, ...], file: Expansion
) -> int:
    """What both parts of a state are multiplied by: stored for each where it is small, which kernels are quicker with.

    Args:
        step: one of the two.
        values: in the shape of its decay.
        shape: of the state.
        file: under construction.
    """
    if isinstance(step, ModalStep):
        return file.new_constant(np.stack([values, values]), shape)
    return file.new_constant(values, (1,) * (len(shape) - values.ndim) + values.shape)


def _swap_rows(step: DiagonalStep | ModalStep, hidden: int, file: Expansion) -> int:
    """The two parts of the hidden state swapped, then widened to int32: in this order it takes less memory."""
    record = file.writer.tensors[hidden]
    parts = len(record.shape) - len(step.decay.shape) - 1
    axis = file.new_constant(np.array([parts]), (1,))
    swapped = file.writer.tensor(record.shape, record.type, record.quantization)
    return file.cast(file.writer.operator("REVERSE_V2", [hidden, axis], swapped), file.new_integers(record.shape))
