"""Which operations of a program become one operator: those of a layer with a step of modes in it.

That is an S4 block of any class, or a DSS or DiagonalSSM layer alone; of a program that knows no layers, each step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from keras_s4.tflite.flatbuffer.custom_operator.encoding import Step, can_encode
from keras_s4.tflite.flatbuffer.custom_operator.instructions import MOST_ENDS
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """Operations that follow each other in a program, and become one operator.

    Args:
        operations: at least one, with a step of modes among them.
        wanted: names of tensors that someone else reads.
    """

    operations: tuple[Operation, ...]
    wanted: frozenset[str]

    def reads(self) -> list[Tensor]:
        """What comes from outside, states included, each once; as for an `Operation`."""
        made = {tensor.name for operation in self.operations for tensor in operation.writes()}
        read = {t.name: t for each in self.operations for t in each.reads() if t.data is None and t.name not in made}
        return list(read.values())

    @property
    def steps(self) -> list[Step]:
        """The steps of modes, whose states it keeps."""
        return [operation for operation in self.operations if isinstance(operation, Step)]

    @property
    def inputs(self) -> list[Tensor]:
        """What it reads that is no state of it."""
        states = {step.state.name for step in self.steps}
        return [tensor for tensor in self.reads() if tensor.name not in states]

    @property
    def outputs(self) -> list[Tensor]:
        """What others read of what it writes, next states aside."""
        states = {step.next_state.name for step in self.steps}
        internal = {tensor.name for operation in self.operations for tensor in operation.internals()}
        written = {tensor.name: tensor for operation in self.operations for tensor in operation.writes()}
        left = self.wanted - states - internal
        return [tensor for name, tensor in written.items() if name in left]


def in_runs(program: Program) -> Iterator[Operation | Run]:
    """The operations of a program in their order, those that become one operator as a `Run`."""
    together: list[Operation] = []
    layer = ""
    for operation in program.operations:
        path = program.layer_of(operation.result.name)
        fits = can_encode(operation, program)
        if together and (path != layer or not path or not fits):
            yield from _close(together, program)
            together = []
        if fits:
            together.append(operation)
            layer = path
        else:
            yield operation
    yield from _close(together, program)


def _close(operations: list[Operation], program: Program) -> Iterator[Operation | Run]:
    """These operations as one run if there is a step among them, and the operator has room for all ends."""
    if not any(isinstance(operation, Step) for operation in operations):
        yield from operations
        return
    run = _run_of(operations, program)
    if len(run.inputs) + 2 * len(run.steps) + len(run.outputs) <= MOST_ENDS:
        yield run
        return
    for operation in operations:
        yield _run_of([operation], program) if isinstance(operation, Step) else operation


def _run_of(operations: list[Operation], program: Program) -> Run:
    inside = set(map(id, operations))
    ends = {t.name for t in program.outputs} | {state.after.name for state in program.states}
    read = {t.name for other in program.operations if id(other) not in inside for t in other.reads()}
    return Run(tuple(operations), frozenset(read | ends))
