"""From a program for one step to a program for a block of T steps: one run reads T samples, `[T, features]`.

Why blocks. A layer that drops steps (a strided convolution, a pooling) gives fewer values than it reads. In a program
that runs at every sample, all layers behind it would compute values that nobody wants, or wait for a clock, which
TensorFlow Lite Micro cannot: it runs every operator at every invoke. A program for a block as long as the period of the
pattern needs no clock: a layer that drops steps has fewer rows behind it, every operator runs once a block, and nothing
is computed that is dropped.

What it is worth, for two S4 blocks of 32 channels and 8 modes on TensorFlow Lite Micro on a desktop: an average of
every 2 steps in front of them takes the time a sample from 45 to 24 us, of every 4 steps to 12, with 1 KB more of
arena. A model at full rate can take blocks as well, but hardly gains: with 8 steps there are 39 operators a sample
instead of 82, 41 us instead of 42, and 73 KB of arena instead of 23, since each operator and tensor has its records
there. What changes the states is repeated for each step in any case.

Why here, behind the lowerings. They describe one step, each layer at the rate of its own input; `in_blocks` derives the
block from that alone. So no lowering knows of blocks, those of one's own included, and a block computes bit for bit
what single steps do: all scales and constants are the same.

- Operations without memory work on the last axis, and take all rows at once.
- `DiagonalStep`, `Accumulate` and `Window` know what a block is.
- What else goes round in a circle through a state (a recurrent cell, a running maximum, a counter) is unrolled, and so
  is what says that it `repeats`: operations are repeated for each row, with the state passing from row to row. What
  only feeds the circle, such as the product of a recurrent layer's input, stays outside.
- Behind `Latest`, where a model has no time axis any more, only the last row matters: what leads there without memory
  is computed for that row alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

from keras_s4.tflite.program.operations import Concatenate, Operation, Reshape, Slice, Window
from keras_s4.tflite.program.operations.operation import read, written
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Latest(Operation):
    """`q_out = q_in` of the last step of a block: a value without time axis. `in_blocks` leaves none in a program."""

    input: Tensor = read()
    output: Tensor = written()


def in_blocks(program: Program, steps: int) -> Program:
    """The program that consumes blocks.

    Args:
        program: a program for one step; each `Window` with a stride, and each `Latest`, is one of several rates: what
            is behind it has fewer values.
        steps: samples in a block.

    Returns:
        A program whose inputs, and outputs that are sequences, have a row for each of their values in a block. Its
        states at the end of a block, and its outputs, are those of single steps. With one step it is the program as it
        is, without `Latest`.

    Raises:
        ValueError: the strides along some path do not divide the steps.
    """
    if steps == 1:
        return _without_latest(program)
    return _Unrolling(program, steps).run()


def _without_latest(program: Program) -> Program:
    """The program for one step, where every step is the latest."""
    _count_rows(program, 1)
    same: dict[str, Tensor] = {}
    operations = []
    for operation in program.operations:
        if isinstance(operation, Latest):
            same[operation.output.name] = same.get(operation.input.name, operation.input)
        else:
            operations.append(operation.with_tensors(lambda tensor: same.get(tensor.name, tensor)))
    outputs = tuple(same.get(tensor.name, tensor) for tensor in program.outputs)
    return dataclasses.replace(program, operations=tuple(operations), outputs=outputs)


class _Unrolling:
    """A program for blocks under construction.

    A tensor of the program for one step stands for several tensors here: one that holds all its rows, one for each row,
    or both. The one is made from the others when an operation asks for it.
    """

    def __init__(self, program: Program, steps: int):
        self._program, self._steps = program, steps
        self._counts = _count_rows(program, steps)
        self._after = {state.before.name: state.after for state in program.states}
        self._ends = {state.after.name for state in program.states}
        self._groups = _groups_in_order(program)
        self._whole = self._read_whole()
        self._operations: list[Operation] = []
        self._blocks: dict[str, Tensor] = {}
        self._rows: dict[tuple[str, int], Tensor] = {}
        self._flat: dict[str, Tensor] = {}
        # Of windows that need less than a step does, or nothing, by the state before.
        self._resized: dict[str, State | None] = {}

    def run(self) -> Program:
        """See `in_blocks`."""
        program = self._program
        inputs = tuple(self._new_block(tensor) for tensor in program.inputs)
        for group in self._groups:
            self._add_group(group)
        outputs = tuple(self._join_rows(tensor) for tensor in program.outputs)
        states = [
            self._resized[state.before.name]
            if state.before.name in self._resized
            else State(state.before, self._take_last(state.after))
            for state in program.states
        ]
        return dataclasses.replace(
            program,
            inputs=inputs,
            outputs=outputs,
            states=tuple(state for state in states if state is not None),
            operations=tuple(self._operations),
            steps=self._steps,
            output_rows=tuple(self._counts[tensor.name] for tensor in program.outputs),
        )

    def _read_whole(self) -> set[str]:
        """The names of the tensors of which more is read than the last row."""
        whole = {tensor.name for tensor in self._program.outputs}
        for group in reversed(self._groups):
            for operation in group:
                if isinstance(operation, Latest):
                    continue
                writes = {tensor.name for tensor in operation.writes()}
                if self._has_memory(group) or operation.holds_state or writes & whole:
                    reads = {tensor.name for tensor in operation.reads()}
                    # A state's values between the steps of a block are those behind the steps.
                    whole |= reads | {self._after[name].name for name in reads if name in self._after} - writes
        return whole

    def _has_memory(self, group: list[Operation]) -> bool:
        return len(group) > 1 or any(tensor.name in self._ends for tensor in group[0].writes())

    def _add_group(self, group: list[Operation]) -> None:
        operation = group[0]
        if isinstance(operation, Latest):
            self._rows[operation.output.name, 0] = self._take_last(operation.input)
        elif isinstance(operation, Window) and self._knows_blocks(group):
            self._add_window(operation)
        elif operation.holds_state and self._knows_blocks(group):
            self._add(operation, lambda t: t if t.name in self._after else self._join_rows(t), self._new_block)
        elif self._has_memory(group):
            self._unroll(group)
        elif any(tensor.name in self._whole for tensor in operation.writes()):
            self._add(operation, self._join_rows, self._new_block)
        else:
            self._add(operation, self._take_last, lambda tensor: self._new_row(tensor, self._counts[tensor.name] - 1))

    def _knows_blocks(self, group: list[Operation]) -> bool:
        """Whether the operation does all rows at once, and nobody else reads the state between the steps of a block."""
        after = group[0].next_state
        return len(group) == 1 and not group[0].repeats and (after is None or after.name not in self._whole)

    def _unroll(self, group: list[Operation]) -> None:
        """The operations once for each row."""
        for index in range(self._counts[group[0].writes()[0].name]):
            for operation in group:
                self._add(
                    operation,
                    lambda tensor, index=index: self._take_row(tensor, index),
                    lambda tensor, index=index: self._new_row(tensor, index),
                )

    def _add_window(self, window: Window) -> None:
        count, outputs = self._counts[window.input.name], self._counts[window.output.name]
        channels = window.input.shape[-1]
        stride, offset = window.stride, window.offset
        if window.output.name not in self._whole:
            stride, offset = count, offset + (outputs - 1) * stride
            output = self._new_row(window.output, outputs - 1)
        else:
            output = self._new_block(window.output)
        state = None
        if window.state is not None:
            # The first output reads so many inputs of the block itself.
            size = window.state.shape[0] - offset * channels
            if size > 0:
                ends = window.state, self._after[window.state.name]
                state = State(*(_with_shape(end, (size,)) for end in ends))
            self._resized[window.state.name] = state
        self._operations.append(
            dataclasses.replace(
                window,
                input=self._join_rows(window.input),
                state=state and state.before,
                next_state=state and state.after,
                output=output,
                stride=stride,
                offset=offset,
            )
        )

    def _add(self, operation: Operation, read: Callable[[Tensor], Tensor], write: Callable[[Tensor], Tensor]) -> None:
        """The operation on the tensors that stand for those that it reads and writes."""
        writes = {tensor.name for tensor in operation.writes()}
        self._operations.append(
            operation.with_tensors(lambda tensor: write(tensor) if tensor.name in writes else read(tensor))
        )

    def _new_block(self, tensor: Tensor) -> Tensor:
        """A tensor for all rows; of a state, whose rows nobody reads, for the last one."""
        count = self._counts[tensor.name]
        if count == 1 or tensor.name in self._ends:
            return self._new_row(tensor, count - 1)
        self._blocks[tensor.name] = _with_shape(tensor, (count, *tensor.shape))
        return self._blocks[tensor.name]

    def _new_row(self, tensor: Tensor, index: int) -> Tensor:
        """A tensor for one row; the last one of a state ends the block and has its name."""
        count = self._counts[tensor.name]
        if count > 1 and not (tensor.name in self._ends and index == count - 1):
            self._rows[tensor.name, index] = dataclasses.replace(tensor, name=f"{tensor.name}[{index}]")
        else:
            self._rows[tensor.name, index] = tensor
        return self._rows[tensor.name, index]

    def _take_last(self, tensor: Tensor) -> Tensor:
        return self._take_row(tensor, self._counts[tensor.name] - 1)

    def _take_row(self, tensor: Tensor, index: int) -> Tensor:
        """A row, cut from the others if need be; a state before a step is the one after the step before."""
        if tensor.name in self._after:
            return self._take_row(self._after[tensor.name], index - 1) if index else tensor
        if (tensor.name, index) not in self._rows:
            flat, size = self._flatten(tensor), math.prod(tensor.shape)
            row = self._new_row(tensor, index)
            if len(tensor.shape) == 1:
                self._operations.append(Slice(flat, index * size, row))
            else:
                cut = dataclasses.replace(row, name=f"{row.name}[flat]", shape=(size,))
                self._operations += [Slice(flat, index * size, cut), Reshape(cut, row)]
        return self._rows[tensor.name, index]

    def _flatten(self, tensor: Tensor) -> Tensor:
        """All rows, one after the other in one axis."""
        if tensor.name not in self._flat:
            block = self._blocks[tensor.name]
            flat = dataclasses.replace(block, name=f"{block.name}[flat]", shape=(math.prod(block.shape),))
            self._operations.append(Reshape(block, flat))
            self._flat[tensor.name] = flat
        return self._flat[tensor.name]

    def _join_rows(self, tensor: Tensor) -> Tensor:
        """All rows, joined if need be."""
        count = self._counts[tensor.name]
        if count == 1:
            return self._take_row(tensor, 0)
        if tensor.name not in self._blocks:
            rows = [self._take_row(tensor, index) for index in range(count)]
            if len(tensor.shape) != 1:
                flat = [
                    dataclasses.replace(row, name=f"{row.name}[flat]", shape=(math.prod(row.shape),)) for row in rows
                ]
                self._operations += [Reshape(row, part) for row, part in zip(rows, flat, strict=True)]
                rows = flat
            # A state has the name already.
            name = f"{tensor.name}[all]" if tensor.name in self._ends or tensor.name in self._after else tensor.name
            joined = dataclasses.replace(tensor, name=f"{name}[flat]", shape=(count * math.prod(tensor.shape),))
            block = dataclasses.replace(tensor, name=name, shape=(count, *tensor.shape))
            self._operations += [Concatenate(tuple(rows), joined), Reshape(joined, block)]
            self._flat[tensor.name], self._blocks[tensor.name] = joined, block
        return self._blocks[tensor.name]


def _with_shape(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor if tensor.shape == shape else dataclasses.replace(tensor, shape=shape)


def _count_rows(program: Program, steps: int) -> dict[str, int]:
    """How many rows each tensor has in a block, by name.

    Known is that of the inputs, and that of what has no time axis. From there it spreads through the operations, in
    both directions: a counter is told by what it is compared with how often it counts.

    Raises:
        ValueError: a stride does not divide a number of rows, or different rates meet.
    """
    counts = {tensor.name: steps for tensor in program.inputs}
    links: list[list[tuple[str, int]]] = [[(state.before.name, 1), (state.after.name, 1)] for state in program.states]
    for operation in program.operations:
        if isinstance(operation, Latest):
            counts[operation.output.name] = 1
            continue
        tensors = [tensor for tensor in (*operation.reads(), *operation.writes()) if tensor.data is None]
        links.append([(t.name, operation.stride if t is operation.result else 1) for t in tensors])
    known = -1
    while len(counts) > known:
        known = len(counts)
        for link in links:
            told = [counts[name] * stride for name, stride in link if name in counts]
            for name, stride in link:
                if told and told[0] % stride:
                    raise ValueError(
                        f"Of a block of {steps} steps, {told[0]} reach {name!r}, which is computed at every "
                        f"{stride}th; use a multiple of the strides."
                    )
                if told and counts.setdefault(name, told[0] // stride) != told[0] // stride:
                    raise ValueError(
                        f"{name!r} would have {counts[name]} and {told[0] // stride} values in a block of {steps} "
                        "steps; operations join tensors of one rate."
                    )
    return {tensor.name: 1 for tensor in _tensors(program)} | counts


def _tensors(program: Program) -> Iterable[Tensor]:
    yield from program.inputs
    for operation in program.operations:
        yield from operation.reads()
        yield from operation.writes()
    for state in program.states:
        yield from (state.before, state.after)


def _groups_in_order(program: Program) -> list[list[Operation]]:
    """The operations in an order in which they can run, those that go round in a circle through a state together.

    Whoever reads a state depends on whoever writes it, since a block needs the state before each of its steps.
    """
    writers = {tensor.name: index for index, op in enumerate(program.operations) for tensor in op.writes()}
    after = {state.before.name: state.after.name for state in program.states}

    def writer(name: str) -> int | None:
        for _ in after:  # the next value of a state may be another state
            name = after.get(name, name)
        return writers.get(name)

    sources = [{writer(tensor.name) for tensor in op.reads()} - {None} for op in program.operations]
    # All that an operation depends on, as bits.
    needs = [sum(1 << source for source in each) for each in sources]
    indices = range(len(needs))
    for middle in indices:
        for index in indices:
            if needs[index] >> middle & 1:
                needs[index] |= needs[middle]
    groups, placed = [], set()

    def place(index: int) -> None:
        if index in placed:
            return
        circle = [other for other in indices if needs[index] >> other & 1 and needs[other] >> index & 1] or [index]
        placed.update(circle)
        for source in sorted(source for each in circle for source in sources[each]):
            place(source)
        groups.append([program.operations[each] for each in circle])

    for index in indices:
        place(index)
    return groups
