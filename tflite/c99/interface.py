"""What a caller of the C sees: the arguments of a step, and the state struct."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from keras_s4.tflite.c99.constants import describe
from keras_s4.tflite.c99.names import identifiers, printable, short_name
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.program import Program, limits, rows_of_tables
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Field:
    """An argument of `step`, or a field of the state struct.

    Args:
        tensor: what it holds.
        name: identifier.
        size: how many integers.
        comment: what it is.
        limits: the least and the largest integer.
    """

    tensor: Tensor
    name: str
    size: int
    comment: str
    limits: tuple[int, int]

    @property
    def type(self) -> str:
        """Of an element in C."""
        return f"{self.tensor.type}_t"

    @property
    def scale(self) -> str:
        """The real value of one unit as a literal of C."""
        return f"{float(self.tensor.scale)!r}"


@dataclasses.dataclass(frozen=True)
class Interface:
    """What a caller of the C sees.

    Args:
        inputs: arguments of `step`.
        outputs: those behind them.
        states: fields of the state struct that live from step to step.
        tokens: for inputs that are numbers of rows of a table: name, size and largest number.
    """

    inputs: list[Field]
    outputs: list[Field]
    states: list[Field]
    tokens: list[tuple[str, int, int]]


def interface_of(program: Program) -> Interface:
    """The arguments of `step` and the states of a program."""
    tensors = [*program.inputs, *program.outputs, *(state.before for state in program.states)]
    in_modes = states_in_modes(program)
    fields = [
        Field(tensor, name, math.prod(tensor.shape), _comment(tensor, tensor.name in in_modes), limits(program, tensor))
        for tensor, name in zip(tensors, interface_names(program), strict=True)
    ]
    first_output, first_state = len(program.inputs), len(program.inputs) + len(program.outputs)
    inputs = fields[:first_output]
    tokens = [(field.name, field.size, field.limits[1]) for field in inputs if rows_of_tables(program, field.tensor)]
    return Interface(inputs, fields[first_output:first_state], fields[first_state:], tokens)


def interface_names(program: Program) -> list[str]:
    """The identifiers of the inputs, outputs and states of a program, in this order: those of the Keras layers.

    An output is called as its layer; where two of them come from one layer, or an input is called so, as its tensor.
    A state is called as what stands for both of its ends.
    """
    inputs = [tensor.name for tensor in program.inputs]
    outputs = [_output_name(program, tensor.name) for tensor in program.outputs]
    counts = Counter([*inputs, *outputs])
    outputs = [
        name if counts[name] == 1 else tensor.name for name, tensor in zip(outputs, program.outputs, strict=True)
    ]
    states = [state.before.name.removesuffix("/before") for state in program.states]
    return identifiers(["state", *inputs, *outputs, *states])[1:]


def states_in_modes(program: Program) -> set[str]:
    """The names of the states of DSS layers, whose axes C has in another order than the program."""
    return {op.state.name for op in program.operations if isinstance(op, DiagonalStep)}


def _output_name(program: Program, tensor: str) -> str:
    return program.layer_of(tensor) or short_name(tensor)


def _comment(tensor: Tensor, in_modes: bool) -> str:
    layer = printable(tensor.name)
    if in_modes:
        _, modes, channels = tensor.shape
        return f"{layer}: [{channels} channels][{modes} modes][re, im] in 2**-30"
    return f"{layer}: {describe(tensor)}"
