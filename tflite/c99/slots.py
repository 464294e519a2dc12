"""Working memory: which tensors of a step may share an array.

Arrays have one type each, so that no array is ever read as another type, which C99 does not define.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from keras_s4.tflite.c99.schedule import Schedule
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(eq=False)
class Slot:
    """An array of the working memory.

    Args:
        type: integer type of the elements.
        size: number of elements.
        busy_until: the index of the last operation that reads what it holds now.
    """

    type: str
    size: int
    busy_until: int


@dataclasses.dataclass(frozen=True)
class WorkingMemory:
    """Arrays, and which of them holds which tensor, by name."""

    slots: list[Slot]
    slot_of: dict[str, int]


def share(plan: Schedule, extra: dict[int, list[Tensor]], elsewhere: Collection[str]) -> WorkingMemory:
    """Assign arrays to tensors: greedily, in the order of the operations, always the free array that grows least.

    Args:
        plan: the operations in the order in which they run.
        extra: by the index of an operation, tensors that it needs while it runs.
        elsewhere: the names of tensors that need no array, as they are inputs, outputs, states or never stored.
    """
    last_read = _last_reads(plan)
    slots: list[Slot] = []
    slot_of: dict[str, int] = {}
    for index, operation in enumerate(plan.program.operations):
        stored = [tensor for tensor in operation.writes() if tensor.name not in elsewhere]
        for tensor in (*stored, *extra.get(index, ())):
            slot = _free_slot(slots, tensor, index)
            slot.size = max(slot.size, math.prod(tensor.shape))
            slot.busy_until = last_read.get(tensor.name, index)
            slot_of[tensor.name] = slots.index(slot)
    return WorkingMemory(slots, slot_of)


def _last_reads(plan: Schedule) -> dict[str, int]:
    """The index of the last operation that reads a tensor; one behind them all for what leaves the step."""
    last = {tensor.name: index for index, tensors in enumerate(plan.reads) for tensor in tensors}
    ends = (*plan.program.outputs, *(state.after for state in plan.program.states))
    return last | {tensor.name: len(plan.program.operations) for tensor in ends}


def _free_slot(slots: list[Slot], tensor: Tensor, index: int) -> Slot:
    size = math.prod(tensor.shape)
    free = [slot for slot in slots if slot.type == tensor.type and slot.busy_until < index]
    if free:
        return min(free, key=lambda slot: abs(size - slot.size))
    slots.append(Slot(tensor.type, 0, index))
    return slots[-1]
