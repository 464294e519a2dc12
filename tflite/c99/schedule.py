"""In which order the operations of a step run in C, and which of them become one loop.

- What only the outputs need runs last, so that it can be left out when nobody asks for them.
- A table behind an operation that ends in a loop over its elements is looked up in that loop.
- A table or a product that one sum or product reads, element by element, is computed there and never stored.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from keras_s4.tflite.c99.registry import translator_of
from keras_s4.tflite.program.operations import Lookup, Operation
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The operations as C runs them.

    Args:
        program: the same program, with its operations in this order.
        reads: for each operation the tensors that are read while it runs, those of what is computed in it included.
        tabulated: the table through which a tensor goes before it is stored, by the tensor's name.
        inlined: names of tensors that are computed where they are read.
        outputs_from: the index of the first operation that only outputs need.
    """

    program: Program
    reads: list[list[Tensor]]
    tabulated: dict[str, Lookup]
    inlined: set[str]
    outputs_from: int

    @property
    def never_stored(self) -> set[str]:
        """Names of tensors that are in no array."""
        return {*self.tabulated, *self.inlined}


def schedule(program: Program) -> Schedule:
    """Order a program for C."""
    needed = _needed_for_states(program)
    operations = [op for op in program.operations if id(op) in needed]
    outputs_from = len(operations)
    operations += [op for op in program.operations if id(op) not in needed]
    program = dataclasses.replace(program, operations=tuple(operations))
    tabulated = _find_tabulated(program, outputs_from)
    inlined = _find_inlined(program, tabulated)
    return Schedule(program, _reads_where_computed(program, inlined), tabulated, inlined, outputs_from)


def _needed_for_states(program: Program) -> set[int]:
    """The operations that the next states come from."""
    wanted = {state.after.name for state in program.states}
    needed = set()
    for operation in reversed(program.operations):
        if wanted & {tensor.name for tensor in operation.writes()}:
            needed.add(id(operation))
            wanted |= {tensor.name for tensor in operation.reads()}
    return needed


def _read_once(program: Program) -> set[str]:
    """Names of tensors that one operation reads, in one place, and that leave the step nowhere."""
    counts = Counter(tensor.name for operation in program.operations for tensor in operation.reads())
    ends = {tensor.name for tensor in (*program.outputs, *(state.after for state in program.states))}
    return {name for name, count in counts.items() if count == 1 and name not in ends}


def _find_tabulated(program: Program, outputs_from: int) -> dict[str, Lookup]:
    once = _read_once(program)
    found = {}
    for index, (before, lookup) in enumerate(zip(program.operations, program.operations[1:], strict=False)):
        if not isinstance(lookup, Lookup) or index + 1 == outputs_from or lookup.input.name not in once:
            continue
        if translator_of(before).can_look_up(before) and before.result is lookup.input:
            found[lookup.input.name] = lookup
    return found


def _find_inlined(program: Program, tabulated: dict[str, Lookup]) -> set[str]:
    once = _read_once(program)
    behind_loops = {lookup.output.name for lookup in tabulated.values()}
    readers = {tensor.name: op for op in program.operations for tensor in op.reads()}
    found = set()
    for operation in program.operations:
        output = operation.result
        if not translator_of(operation).inlined or output.name not in once - behind_loops:
            continue
        shapes = {tensor.shape for tensor in operation.reads() if tensor.data is None}
        reader = readers[output.name]
        if translator_of(reader).inlines and shapes == {output.shape} == {reader.result.shape}:
            found.add(output.name)
    return found


def _reads_where_computed(program: Program, inlined: set[str]) -> list[list[Tensor]]:
    makers = {operation.result.name: operation for operation in program.operations}

    def reads_of(operation: Operation) -> list[Tensor]:
        direct = operation.reads()
        return direct + [each for tensor in direct if tensor.name in inlined for each in reads_of(makers[tensor.name])]

    return [[] if operation.result.name in inlined else reads_of(operation) for operation in program.operations]
