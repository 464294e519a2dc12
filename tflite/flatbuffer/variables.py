"""States as resource variables: memory of the interpreter that lives from step to step.

READ_VARIABLE copies a variable into a tensor, so that whoever reads it sees the value before the step whenever the
variable is assigned; ASSIGN_VARIABLE copies back. TensorFlow Lite Micro keeps variables in its arena, beside tensors:
while a state is in use it takes memory twice or, once its next value is there too, three times. It is read as late and
assigned as early as the program allows, so that this is so for the states of one layer at a time. The arena grows by
about the bytes of the states; the caller saves as much, who keeps no copy of them.

A new variable is 0 in TensorFlow Lite Micro. TensorFlow's interpreter refuses to read one that was never assigned, so
CALL_ONCE runs a second subgraph, before the first step, that assigns zeros. A reset zeroes without running it again.
Large zeros are broadcast from a single one, so that they take no room in the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion
from keras_s4.tflite.flatbuffer.writer import ModelWriter
from keras_s4.tflite.program.program import State
from keras_s4.tflite.program.tensors import Tensor

# Bytes of zeros from which BROADCAST_TO takes less room in the file than the zeros.
_LARGE = 512


class StateVariables:
    """Writes the reading and assigning of states; does nothing when there are none.

    Args:
        states: the states that become variables, each by the name of its tensor before a step.
        file: the file under construction, which gets the operators.
    """

    def __init__(self, states: Iterable[State], file: Expansion):
        self._file = file
        self._unread = {state.before.name: state for state in states}
        self._unassigned = dict(self._unread)
        self._handles: dict[str, int] = {}

    def initialize(self) -> None:
        """The call of the subgraph that assigns zeros, and that subgraph."""
        if not self._unread:
            return
        self._file.writer.operator("CALL_ONCE", [], subgraph=1)
        first = self._file.writer.subgraph()
        zeros: dict[tuple, int] = {}
        for state in self._unread.values():
            kind = self._file.shape_of_end(state.before), state.before.type
            if kind not in zeros:
                zeros[kind] = _add_zeros(first, *kind)
            first.operator("ASSIGN_VARIABLE", [_add_handle(first, state), zeros[kind]])

    def read(self, tensors: Iterable[Tensor]) -> None:
        """Read the states among these tensors that were not read yet."""
        for tensor in tensors:
            if tensor.name not in self._unread:
                continue
            self._handles[tensor.name] = _add_handle(self._file.writer, self._unread.pop(tensor.name))
            value = self._file.declare(tensor, self._file.shape_of_end(tensor))
            self._file.writer.operator("READ_VARIABLE", [self._handles[tensor.name]], value)

    def assign(self) -> None:
        """Assign the states that have been read and whose next values are there."""
        for name, state in list(self._unassigned.items()):
            if name not in self._unread and state.after.name in self._file.index:
                del self._unassigned[name]
                value = self._file.index[state.after.name]
                self._file.writer.operator("ASSIGN_VARIABLE", [self._handles[name], value])

    def finish(self) -> None:
        """Read the states that no operation does (an output may be one, or the next value of another), and assign."""
        self.read([state.before for state in self._unassigned.values()])
        self.assign()


def _add_handle(writer: ModelWriter, state: State) -> int:
    return writer.operator("VAR_HANDLE", [], writer.tensor((1,), "resource"), shared_name=state.before.name)


def _add_zeros(writer: ModelWriter, shape: tuple[int, ...], type: str) -> int:
    if math.prod(shape) * np.dtype(type).itemsize < _LARGE:
        return writer.tensor(shape, type, data=np.zeros(shape))
    one = (1,) * len(shape)
    inputs = [writer.tensor(one, type, data=np.zeros(one)), writer.tensor((len(shape),), "int32", data=np.array(shape))]
    return writer.operator("BROADCAST_TO", inputs, writer.tensor(shape, type))
