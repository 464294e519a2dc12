"""Where each tensor of a step lies: in an argument, in a state, in the working memory, or nowhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keras_s4.tflite.c99.registry import helper_of
from keras_s4.tflite.c99.schedule import Schedule
from keras_s4.tflite.c99.slots import Slot, share
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import State
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Placement:
    """The layout of a program's memory.

    Args:
        pointers: for each tensor that lies somewhere, its C expression, by name.
        slots: the arrays of the working memory.
        before: `(tensor, to, from)` to copy before the first operation.
        after: copies behind the last operation.
        helpers: by the name of an output, the array that its operation works in: where a `Window` is put together, and
            where a `DiagonalStep` leaves the sums of its channels.
        working_memory: C expressions of the arrays of the working memory.
    """

    pointers: dict[str, str]
    slots: list[Slot]
    before: list[tuple[Tensor, str, str]]
    after: list[tuple[Tensor, str, str]]
    helpers: dict[str, str]
    working_memory: frozenset[str]


def place(
    plan: Schedule, inputs: list[str], outputs: list[str], states: list[str], slot_name: Callable[[int], str]
) -> Placement:
    """Decide where everything lies.

    Args:
        plan: the operations of a program in the order in which they run.
        inputs: C expressions of the inputs, in the program's order.
        outputs: C expressions of the outputs.
        states: C expressions of the states.
        slot_name: a function from the index of an array of the working memory to its C expression.
    """
    program = plan.program
    pointers = {tensor.name: name for tensor, name in zip(program.inputs, inputs, strict=True)}
    shadows = _find_shadowed(plan)
    in_place = {state.before.name for state in program.states if _in_place(plan, state)}
    for state, name in zip(program.states, states, strict=True):
        if state.before.name not in shadows:
            pointers[state.before.name] = name
        if state.before.name in in_place:
            pointers.setdefault(state.after.name, name)
    # The caller may want no outputs: what the states need has to lie elsewhere.
    last = {tensor.name for operation in program.operations[plan.outputs_from :] for tensor in operation.writes()}
    for tensor, name in zip(program.outputs, outputs, strict=True):
        if tensor.name in last:
            pointers.setdefault(tensor.name, name)
    internal = {tensor.name for operation in program.operations for tensor in operation.internals()}
    extra: dict[int, list[Tensor]] = {}
    if shadows:
        extra[0] = list(shadows.values())
    helpers = {}
    for index, operation in enumerate(program.operations):
        if tensor := helper_of(operation):
            extra.setdefault(index, []).append(tensor)
            helpers[operation.result.name] = tensor.name
    memory = share(plan, extra, {*pointers, *internal, *plan.never_stored})
    pointers |= {name: slot_name(index) for name, index in memory.slot_of.items()}
    before = [
        (state.before, pointers[state.before.name], name)
        for state, name in zip(program.states, states, strict=True)
        if state.before.name in shadows
    ]
    ends = [*zip(program.outputs, outputs, strict=True)]
    ends += [(state.after, name) for state, name in zip(program.states, states, strict=True)]
    after = [(tensor, to, pointers[tensor.name]) for tensor, to in ends if pointers[tensor.name] != to]
    helpers = {output: pointers[name] for output, name in helpers.items()}
    arrays = frozenset(slot_name(index) for index in range(len(memory.slots)))
    return Placement(pointers, memory.slots, before, after, helpers, arrays)


def _in_place(plan: Schedule, state: State) -> bool:
    """Whether the new state can be written over the old one."""
    program = plan.program
    writers = [index for index, op in enumerate(program.operations) if state.after in op.writes()]
    readers = [index for index, tensors in enumerate(plan.reads) if state.before in tensors]
    if not writers or sum(other.after is state.after for other in program.states) > 1:
        return False
    (writer,) = writers
    operation: Operation = program.operations[writer]
    if operation.holds_state and operation.state is state.before:
        return True
    same_shape = operation.elementwise and operation.result.shape == state.before.shape
    return all(reader < writer or (reader == writer and same_shape) for reader in readers)


def _find_shadowed(plan: Schedule) -> dict[str, Tensor]:
    """The old states that are read when the new ones may be there already: a step works on copies of them."""
    program = plan.program
    ends = {tensor.name for tensor in (*program.outputs, *(state.after for state in program.states))}
    found = {}
    for state in program.states:
        readers = [index for index, tensors in enumerate(plan.reads) if state.before in tensors]
        owners = [index for index, op in enumerate(program.operations) if op.holds_state and op.state is state.before]
        if state.before.name in ends or (owners and max(readers) > owners[0]):
            found[state.before.name] = state.before
    return found
