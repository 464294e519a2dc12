"""The C files of a program: a header, a source, and the kernels that it calls."""

from __future__ import annotations

import dataclasses
import math
import string
from pathlib import Path

from keras_s4.tflite.c99 import dense, elementwise, shapes, states  # noqa: F401 (each registers translations)
from keras_s4.tflite.c99.names import check_file_stem, file_stem, identifiers, printable
from keras_s4.tflite.c99.placement import place
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.c99.schedule import Schedule, schedule
from keras_s4.tflite.c99.translation import INDENT, Translation, describe
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.program import Program, limits, rows_of_tables
from keras_s4.tflite.program.tensors import Tensor

LIBRARY = Path(__file__).parent / "library"
TEMPLATES = Path(__file__).parent / "templates"
ALWAYS = ("keras_s4_arithmetic.h",)


@dataclasses.dataclass(frozen=True)
class Field:
    """An argument of `step`, or a field of the state struct.

    Args:
        tensor: that it holds.
        name: the identifier.
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
        states: the fields of the state struct that live from step to step.
        tokens: for inputs that are numbers of rows of a table: their name, their size and the largest number.
    """

    inputs: list[Field]
    outputs: list[Field]
    states: list[Field]
    tokens: list[tuple[str, int, int]]


def interface_of(program: Program) -> Interface:
    """The arguments of `step` and the states of a program."""
    before = [state.before for state in program.states]
    tensors = [*program.inputs, *program.outputs, *before]
    # A field of the struct stands for both ends of its state.
    names = identifiers(["state", *(tensor.name.removesuffix("/before") for tensor in tensors)])[1:]
    in_modes = states_in_modes(program)
    fields = [
        Field(tensor, name, math.prod(tensor.shape), _comment(tensor, tensor.name in in_modes), limits(program, tensor))
        for tensor, name in zip(tensors, names, strict=True)
    ]
    first_output, first_state = len(program.inputs), len(program.inputs) + len(program.outputs)
    inputs = fields[:first_output]
    tokens = [(field.name, field.size, field.limits[1]) for field in inputs if rows_of_tables(program, field.tensor)]
    return Interface(inputs, fields[first_output:first_state], fields[first_state:], tokens)


def states_in_modes(program: Program) -> set[str]:
    """The names of the states of DSS layers, whose axes C has in another order than the program."""
    return {op.state.name for op in program.operations if isinstance(op, DiagonalStep)}


def c_source(program: Program, name: str | None = None) -> dict[str, str]:
    """C99 that computes a program bit for bit, without interpreter, heap, globals or floating point.

    Args:
        program: the integer program.
        name: what the functions and the first two files are called; when omitted the program's name, with "model_"
            in front where that is taken.

    Returns:
        The text of each file, by name: `NAME.h` with the state struct, which the caller owns, and `NAME_reset` and
        `NAME_step`; `NAME.c`; the kernels `keras_s4_*.h` and `.c` that this program calls.

    Raises:
        ValueError: `name` is no identifier of C, or taken: by its headers, for example, or by files of this package.
        NotImplementedError: an operation in a form that the kernels leave out.
    """
    name = file_stem(program.name) if name is None else name
    check_file_stem(name)
    interface = interface_of(program)
    taken = [f"{name}_{end}" for end in ("reset", "state", "step")]
    arguments = [field.name for field in (*interface.inputs, *interface.outputs)]
    if clash := set(taken) & set(arguments):
        raise ValueError(f"Received name={name!r}, but {min(clash)!r} is an input or output already; choose another.")
    plan = schedule(program)
    placement = place(
        plan,
        [field.name for field in interface.inputs],
        [field.name for field in interface.outputs],
        [f"state->{field.name}" for field in interface.states],
        lambda index: f"state->{_slot_name(index)}",
    )
    # Constants must not have the names of arguments, which would hide them.
    translation = Translation(placement, plan, [*taken, *arguments])
    for tensor, to, origin in placement.before:
        translation.copy(to, origin, tensor)
    for operation in plan.program.operations[: plan.outputs_from]:
        translation.translate(operation)
    _finish(translation, plan, [field.name for field in interface.outputs])
    context = {
        "name": name,
        "title": printable(program.name),
        "steps": program.steps,
        **vars(interface),
        "slots": [(_slot_name(index), slot.type, slot.size) for index, slot in enumerate(placement.slots)],
        "constants": translation.constants,
        "statements": translation.statements,
        "unused": not any("state->" in statement for statement in translation.statements),
        "kernels": sorted(translation.kernels),
    }
    model = {f"{name}.{end}": render(TEMPLATES / f"model.{end}.jinja", **context) for end in "hc"}
    return {**model, **_library(translation.kernels)}


def _finish(source: Translation, plan: Schedule, outputs: list[str]) -> None:
    """What only outputs need, if they are wanted, and copies of what lies elsewhere."""
    needed = source.statements
    source.statements = []
    for operation in plan.program.operations[plan.outputs_from :]:
        source.translate(operation)
    for tensor, to, origin in source.placement.after:
        if to in outputs:
            source.copy(to, origin, tensor)
    wanted = [INDENT + line if line else line for line in source.statements]
    source.statements = needed
    if wanted:
        source.statements += ["", f"if ({outputs[0]} != NULL) {{", *wanted[wanted[0] == "" :], "}"]
    for tensor, to, origin in source.placement.after:
        if to not in outputs:
            source.copy(to, origin, tensor)


def _comment(tensor: Tensor, in_modes: bool) -> str:
    layer = printable(tensor.name)
    if in_modes:
        _, modes, channels = tensor.shape
        return f"{layer}: [{channels} channels][{modes} modes][re, im] in 2**-30"
    return f"{layer}: {describe(tensor)}"


def _slot_name(index: int) -> str:
    letter = string.ascii_lowercase[index % 26]
    return f"work_{letter}{index // 26 or ''}"


def _library(kernels: set[str]) -> dict[str, str]:
    names = [*ALWAYS, *(f"keras_s4_{kernel}.{end}" for kernel in sorted(kernels) for end in "hc")]
    return {name: (LIBRARY / name).read_text() for name in names}
