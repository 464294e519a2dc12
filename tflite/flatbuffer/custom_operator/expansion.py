"""Runs of operations as the custom operator KERAS_S4_BLOCK."""

from __future__ import annotations

import math
import struct

import numpy as np

from keras_s4.tflite.flatbuffer.custom_operator.encoding import BYTES, Encoding
from keras_s4.tflite.flatbuffer.custom_operator.instructions import FIRST_END, OFFSET_BITS
from keras_s4.tflite.flatbuffer.custom_operator.runs import Run
from keras_s4.tflite.flatbuffer.expansion import Expansion
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.program import Program

LAYOUT_VERSION = 2
OPTIONS = "<5i"


def state_shapes_of(program: Program) -> dict[str, tuple[int, ...]]:
    """The shape `[1, H, N, 2]` of both ends of the states of DSS layers, by name; others keep theirs."""
    shapes = {}
    for operation in program.operations:
        if isinstance(operation, DiagonalStep):
            shape = (1, *operation.state.shape[::-1])
            shapes |= {operation.state.name: shape, operation.next_state.name: shape}
    return shapes


def expand_run(run: Run, file: Expansion) -> None:
    """One KERAS_S4_BLOCK; of a block of steps, it takes all of them."""
    steps = run.steps
    inputs = [*(file.index[tensor.name] for tensor in run.inputs), *(file.index[step.state.name] for step in steps)]
    outputs = [file.declare(tensor, file.shape_of_end(tensor)) for tensor in run.outputs]
    outputs += [file.declare(step.next_state, file.shape_of_end(step.next_state)) for step in steps]
    ends = [*run.inputs, *(step.state for step in steps), *run.outputs, *(step.next_state for step in steps)]
    addresses = {tensor.name: FIRST_END + number << OFFSET_BITS for number, tensor in enumerate(ends)}
    scratch, size = plan_scratch(run, set(addresses))
    encoding = Encoding((addresses | scratch).__getitem__, lambda output: scratch[_sums_of(output)])
    words = np.concatenate([encoding.encode(operation).words() for operation in run.operations])
    constants = encoding.constants.array()
    inputs += [file.new_constant(words, words.shape), file.new_constant(constants, constants.shape, "uint8")]
    options = struct.pack(OPTIONS, LAYOUT_VERSION, len(run.inputs), len(steps), len(run.outputs), size)
    file.writer.custom(inputs, outputs, options)


def plan_scratch(run: Run, ends: set[str]) -> tuple[dict[str, int], int]:
    """Addresses in the scratch memory of what no end of the operator holds, and how many bytes that takes.

    Each array gets the lowest place that is free from where it is written to where it is last read.
    """
    arrays: dict[str, list[int]] = {}
    for time, operation in enumerate(run.operations):
        for tensor in operation.writes():
            if tensor.name not in ends and tensor not in operation.internals():
                arrays[tensor.name] = [math.prod(tensor.shape) * BYTES[tensor.type], time, time]
        if isinstance(operation, DiagonalStep):
            arrays[_sums_of(operation.output.name)] = [4 * operation.state.shape[-1], time, time]
        for tensor in operation.reads():
            if tensor.name in arrays:
                arrays[tensor.name][2] = time
    places: dict[str, tuple[int, int, int, int]] = {}
    for name, (size, first, last) in arrays.items():
        start = 0
        for begin, end, *times in sorted(places.values()):
            if first <= times[1] and times[0] <= last and start < end and begin < start + size:
                start = -(-end // 4) * 4
        places[name] = start, start + size, first, last
    return {name: place[0] for name, place in places.items()}, max((place[1] for place in places.values()), default=0)


def _sums_of(output: str) -> str:
    return f"{output} (sums)"
