"""Diagonal steps of DSS layers, and running sums."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.expansion.expansion import Expansion, expands, quantization
from keras_s4.tflite.flatbuffer_writer import Quantization
from keras_s4.tflite.program import Accumulate, DiagonalStep, Tensor


@expands(DiagonalStep)
def expand_diagonal_step(operation: DiagonalStep, file: Expansion) -> None:
    """See `program.DiagonalStep`."""
    step, shape = operation, (1, *operation.state.shape)
    channels = shape[-1]
    u, state = file.plain(step.input), file.index[step.state.name]
    hidden = file.declare(step.hidden, shape)
    file.writer.operator("QUANTIZE", [file.copy(state, Quantization((float(step.state.scale),)))], hidden)
    readout = file.writer.tensor(shape, "int8", quantization(step.readout, 3), step.readout.data.reshape(shape))
    bias = file.constant(np.zeros(channels), (channels,), "int64")
    partial = file.declare(step.partial, (1, 1, 1, channels))
    file.writer.operator("DEPTHWISE_CONV_2D", [hidden, readout, bias], partial)
    _add_next_state(step, u, state, file)

    def write(output: int) -> int:
        total = file.plain(step.partial)
        gain = file.constant(np.array([step.partial_gain]), (1,))
        if not np.any(step.feedthrough.data):
            return file.retag(total, output) if step.partial_gain == 1 else file.binary("MUL", total, gain, output)
        direct = file.binary("MUL", u, file.constant(step.feedthrough.data, (1, channels)))
        total = total if step.partial_gain == 1 else file.binary("MUL", total, gain)
        return file.binary("ADD", total, direct, output)

    file.round_to(step.output, step.accumulator_scale, 0, (1, 1, 1, channels), write)


@expands(Accumulate)
def expand_accumulate(operation: Accumulate, file: Expansion) -> None:
    """See `program.Accumulate`."""
    state = file.index[operation.state.name]
    file.binary("ADD", state, file.centred(operation.input), file.declare(operation.next_state, file.shape(state)))


def _add_next_state(step: DiagonalStep, u: int, state: int, file: Expansion) -> None:
    """Add the three terms to the state, in the emulator's order, with as few int32 arrays alive as possible."""
    shape, flat = (1, *step.state.shape), (1, 1, *step.decay.shape)
    rotation = step.rotation.data
    terms = []
    if np.any(step.input_gain.data):
        terms.append(lambda: file.binary("MUL", u, file.constant(step.input_gain.data, shape)))
    terms.append(lambda: file.binary("MUL", _wide(step.hidden, file), file.constant(step.decay.data, flat)))
    if np.any(rotation):
        signed = np.stack([-rotation, rotation])
        terms.append(lambda: file.binary("MUL", _swapped(step.hidden, file), file.constant(signed, shape)))
    total = state
    for position, term in enumerate(terms):
        output = file.declare(step.next_state) if position == len(terms) - 1 else None
        total = file.binary("ADD", total, term(), output)


def _wide(tensor: Tensor, file: Expansion) -> int:
    return file.cast(file.index[tensor.name], file.integers(file.shape(file.index[tensor.name])))


def _swapped(hidden: Tensor, file: Expansion) -> int:
    """The two rows of the hidden state swapped, then widened to int32: in this order it takes less memory."""
    index = file.index[hidden.name]
    axis = file.constant(np.array([1]), (1,))
    record = file.writer.tensors[index]
    swapped = file.writer.tensor(record.shape, record.type, record.quantization)
    return file.cast(file.writer.operator("REVERSE_V2", [index, axis], swapped), file.integers(record.shape))
