"""The integer program: what every back-end (emulator, .tflite, C) reads, and nothing else.

A program computes one step: it reads one sample and the states, and writes the outputs and the next states. Or it does
so for a block of several steps at once (see `blocks.py`): its tensors then have a leading axis, one row a step.
Every number that a back-end needs is in here. All of it is exact integer arithmetic, written in the docstrings of the
operations (`operations/`), and a back-end that differs in one bit is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.operations import Accumulate, Embed, Operation
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class State(Brief):
    """A tensor that lives from step to step: `after` of one step is `before` of the next. It starts at 0."""

    before: Tensor
    after: Tensor


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Program(Brief):
    """One step of a model in integers.

    Args:
        name: the Keras model's name.
        inputs: the tensors that a sensor fills at each step.
        outputs: the tensors that are read after each step.
        states: the tensors that live from step to step; a start and a reset zero them.
        operations: all operations, in the order in which they run.
        output_activations: one word an output: "linear", or "softmax" where it ends in one: that keeps the order of the
            classes, so a device is spared it, and the host applies it to the dequantised outputs. Empty: all linear.
        steps: samples that a run of the program reads. If more than one, they are the rows of each input.
        output_rows: one number an output: how many values of a sequence a run gives, which are its rows if there is
            more than one. Empty: one of each.
        encodings: what the values stand for of tensors whose features have units of their own, by name: the host
            encodes such inputs. An output has none.
        layers: class of each Keras layer, by the path that the names of its tensors begin with; what the layers are
            called is all that a reader may take from it.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...]
    operations: tuple[Operation, ...]
    output_activations: tuple[str, ...] = ()
    steps: int = 1
    output_rows: tuple[int, ...] = ()
    encodings: Mapping[str, Encoding] = dataclasses.field(default_factory=dict)
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def output_activation(self) -> str:
        """The activation of the first output."""
        return self.output_activations[0] if self.output_activations else "linear"

    @property
    def sums_over_time(self) -> bool:
        """Whether it sums over the steps of a window, whose number then stands in its constants."""
        return any(isinstance(operation, Accumulate) for operation in self.operations)

    def layer_of(self, tensor: str) -> str:
        """The path of the Keras layer that the tensor of a name came from, "" where that is not known."""
        return max((path for path in self.layers if f"{tensor}/".startswith(f"{path}/")), key=len, default="")

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor once, in the order in which the operations name them."""
        seen: set[int] = set()
        for operation in self.operations:
            for tensor in operation.tensors():
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor

    def check(self) -> None:
        """Check what every back-end relies on: names, the order of operations, their axes, and equal ends of states.

        Raises:
            ValueError: when two tensors share a name, when something is read before it is written, when tensors of
                different numbers of axes are joined, or when the two ends of a state differ in shape, type, scale or
                zero point.
        """
        names: dict[str, Tensor] = {}
        for tensor in self.tensors():
            if names.setdefault(tensor.name, tensor) is not tensor:
                raise ValueError(
                    f"Two tensors of program {self.name!r} are named {tensor.name!r}; names must be unique."
                )
        known = {tensor.name for tensor in self.inputs} | {state.before.name for state in self.states}
        for operation in self.operations:
            for tensor in operation.reads():
                if tensor.data is None and tensor.name not in known:
                    kind = type(operation).__name__
                    raise ValueError(f"{kind} reads {tensor.name!r} before it is written; reorder the operations.")
            known |= {tensor.name for tensor in operation.writes()}
            operation.check()
        for tensor in (*self.outputs, *(state.after for state in self.states)):
            if tensor.name not in known:
                raise ValueError(f"No operation of program {self.name!r} writes {tensor.name!r}.")
        for state in self.states:
            ends = [(end.shape, end.type, end.scale, end.zero_point) for end in (state.before, state.after)]
            if ends[0] != ends[1]:
                raise ValueError(f"State {state.before.name!r} starts a step as {ends[0]} and ends it as {ends[1]}.")


def limits(program: Program, tensor: Tensor) -> tuple[int, int]:
    """The least and the largest integer that an input of a program may hold: of its type, or the rows of its table."""
    rows = rows_of_tables(program, tensor)
    if rows:
        return 0, min(rows) - 1
    return int(np.iinfo(tensor.type).min), int(np.iinfo(tensor.type).max)


def rows_of_tables(program: Program, tensor: Tensor) -> list[int]:
    """How many rows the tables have whose row numbers an input holds; of a block, a table may read a part of it."""
    moved = {tensor.name}
    for operation in program.operations:
        if operation.moves_values and moved & {tensor.name for tensor in operation.reads()}:
            moved.add(operation.result.name)
    return [len(op.table.data) for op in program.operations if isinstance(op, Embed) and op.input.name in moved]
