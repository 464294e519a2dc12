"""Where emulator and TensorFlow Lite Micro part: the first tensor inside a program that differs.

The file itself is looked into, not one that is written anew: its list of outputs is replaced by a longer one, and all
else stays byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import flatbuffers
import numpy as np
from flatbuffers.table import Table

from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.flatbuffer.export import expand
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.flatbuffer.writer import DESCRIPTION, checksum
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.tflite.runtimes import TflmRunner

# Places of fields in tables of the file format's schema.
_SUBGRAPHS, _DESCRIPTION, _OUTPUTS = (4 + 2 * slot for slot in (2, 3, 2))


def find_differing_tensor(tflite: bytes, program: Program, sequence: Sequence[np.ndarray], last: int) -> str:
    """The first operation, over the steps of one sequence, whose output is another on TensorFlow Lite Micro.

    Args:
        tflite: the file.
        program: what the emulator runs.
        sequence: integers `[L, ...]` for each input.
        last: the step at which an output or a state was seen to differ: where the search ends.

    Returns:
        A sentence that names the tensor, its operation, the step and both numbers; or that says why there is none.
    """
    try:
        found = tensors_of_file(tflite, program)
    except ValueError as error:
        return str(error)
    summary = read_summary(tflite)
    # The outputs and explicit states of the file are outputs already.
    inner = [index for index in dict.fromkeys(found.values()) if index not in summary.outputs]
    opened = TflmRunner(add_outputs(tflite, inner))
    emulator, states = Emulator(program), None
    count = len(summary.outputs) - len(summary.states)
    for step in range(last + 1):
        trace = emulator.trace([array[None, step : step + 1] for array in sequence], record=list(found), states=states)
        states = trace.final_states
        given = opened.step(*(array[step] for array in sequence))
        ends = opened.states if summary.states else ()
        order = (*summary.outputs[:count], *inner, *summary.outputs[count:])
        by_index = dict(zip(order, (*given, *ends), strict=True))
        received = {name: by_index[index] for name, index in found.items()}
        for operation, tensor in _written(program):
            if tensor.name not in found:
                continue
            ours, theirs = trace.tensors[tensor.name].ravel(), received[tensor.name].ravel()
            if np.array_equal(ours, theirs):
                continue
            element = int(np.argmax(ours != theirs))
            place = [int(index) for index in np.unravel_index(element, tensor.shape)]
            return (
                f"The first tensor that differs is {tensor.name}{place} at step {step}, which "
                f"{type(operation).__name__} writes: emulator {ours[element]}, TFLM {theirs[element]}"
            )
    return "No tensor inside differs, as far as the file has them"


def add_outputs(tflite: bytes, tensors: Sequence[int]) -> bytes:
    """The file with more outputs, between those of its program and its explicit states.

    A longer list of outputs is put at the end of the file, and the reference to the old one points to it.

    Args:
        tflite: a file that `to_tflite` wrote.
        tensors: indices of tensors of the file that an operator writes, and that are no outputs yet.
    """
    summary = read_summary(tflite)
    count = len(summary.outputs) - len(summary.states)
    outputs = [*summary.outputs[:count], *tensors, *summary.outputs[count:]]
    data = bytearray(tflite)
    data += bytes(-len(data) % 4)
    root = Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
    graph = Table(data, root.Indirect(root.Vector(root.Offset(_SUBGRAPHS))))
    reference = graph.Pos + graph.Offset(_OUTPUTS)
    struct.pack_into("<I", data, reference, len(data) - reference)
    data += struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)
    digits = root.Vector(root.Offset(_DESCRIPTION)) + len(DESCRIPTION)
    data[digits : digits + 8] = checksum(bytes(data), digits).encode()
    return bytes(data)


def tensors_of_file(tflite: bytes, program: Program) -> dict[str, int]:
    """The index in a file of each tensor that its program computes, by name; a few have no copy in the file.

    Constants may differ. The writer sorts the tensors of a file, but never the operators: a tensor is known by the one
    that writes it.

    Raises:
        ValueError: the file has other operators than such a program.
    """
    summary = read_summary(tflite)
    expansion = expand(program, "variables" if summary.variables else "inputs")
    expansion.finish()
    operators = expansion.writer.operators
    if [record.operator.name for record in operators] != list(summary.operators):
        raise ValueError(
            "The file has other operators than the program, so that it cannot be looked into; write it anew with "
            "to_tflite(program)"
        )
    indices = {
        ours: theirs
        for record, outputs in zip(operators, summary.operator_outputs, strict=True)
        for ours, theirs in zip(record.outputs, outputs, strict=True)
    }
    places = {tensor.name: indices.get(expansion.index.get(tensor.name)) for _, tensor in _written(program)}
    return {name: place for name, place in places.items() if place is not None}


def _written(program: Program) -> Iterator[tuple[Operation, Tensor]]:
    """Each operation with each tensor that it writes."""
    for operation in program.operations:
        for tensor in operation.writes():
            yield operation, tensor
