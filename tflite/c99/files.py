"""The C files of a program: a header, a source, and the kernels that it calls."""

from __future__ import annotations

import functools
import re
import string
from pathlib import Path

# Each of these modules registers translations.
from keras_s4.tflite.c99 import (  # noqa: F401
    averages,
    dense,
    elementwise,
    interpolate,
    normalize,
    shapes,
    states,
    windows,
)
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.c99.names import LIBRARY, check_file_stem, file_stem, printable
from keras_s4.tflite.c99.placement import place
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.c99.schedule import Schedule, schedule
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

TEMPLATES = Path(__file__).parent / "templates"
ALWAYS = ("keras_s4_arithmetic.h", "keras_s4_kernels.h")
_INCLUDED = re.compile(r'^#include "(keras_s4_\w+\.h)"$', re.MULTILINE)
_VERSION = re.compile(r"^#define KERAS_S4_KERNELS_VERSION (\d+)$", re.MULTILINE)


@functools.cache
def kernels_version() -> int:
    """The version of the kernels, which generated C compares with that of the kernels that it finds."""
    return int(_VERSION.search((LIBRARY / "keras_s4_kernels.h").read_text())[1])


def kernel_files() -> dict[str, str]:
    """The text of all kernels by name, whichever a model calls: a library that several models share."""
    return {path.name: path.read_text() for path in sorted(LIBRARY.iterdir()) if path.suffix in (".c", ".h")}


def c_source(program: Program, name: str | None = None, window: int | None = None) -> dict[str, str]:
    """C99 that computes a program bit for bit, without interpreter, heap, globals or floating point.

    Args:
        program: the integer program.
        name: what the functions and the first two files are called; when omitted the program's name, with "model_"
            in front where that is taken.
        window: samples of the windows that the program averages over, for the header to tell; None if it does not.

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
    _translate_step(translation, plan, [field.name for field in interface.outputs])
    context = {
        "name": name,
        "title": printable(program.name),
        "steps": program.steps,
        "window": window,
        **vars(interface),
        "slots": [(_slot_name(index), slot.type, slot.size) for index, slot in enumerate(placement.slots)],
        "constants": translation.constants.definitions,
        "statements": translation.statements,
        "unused": not any("state->" in statement for statement in translation.statements),
        "kernels": sorted(translation.kernels),
        "kernels_version": kernels_version(),
    }
    model = {f"{name}.{end}": render(TEMPLATES / f"model.{end}.jinja", **context) for end in "hc"}
    return {**model, **_library(translation.kernels)}


def _translate_step(source: Translation, plan: Schedule, outputs: list[str]) -> None:
    """All operations, what only outputs need last, if they are wanted; and copies of what lies elsewhere."""
    for tensor, _, origin in source.placement.before:
        source.declare(tensor)
        source.copy(source.pointer(tensor), origin, tensor)
    for operation in plan.program.operations[: plan.outputs_from]:
        source.translate(operation)
    late, copies = plan.program.operations[plan.outputs_from :], source.placement.after
    if late or any(to in outputs for _, to, _ in copies):
        source.separate()
        with source.scope(f"if ({outputs[0]} != NULL)"):
            for operation in late:
                source.translate(operation)
            _copy_out([copy for copy in copies if copy[1] in outputs], source)
    _copy_out([copy for copy in copies if copy[1] not in outputs], source)


def _copy_out(copies: list[tuple[Tensor, str, str]], source: Translation) -> None:
    if copies:
        source.separate()
    for tensor, to, _ in copies:
        source.copy(to, source.pointer(tensor), tensor)


def _slot_name(index: int) -> str:
    letter = string.ascii_lowercase[index % 26]
    return f"work_{letter}{index // 26 or ''}"


def _library(kernels: set[str]) -> dict[str, str]:
    names = [*ALWAYS, *(f"keras_s4_{kernel}.{end}" for kernel in sorted(kernels) for end in "hc")]
    texts = {name: (LIBRARY / name).read_text() for name in names}
    # Headers that kernels share, and that declare nothing for the model.
    shared = {header for text in texts.values() for header in _INCLUDED.findall(text)} - texts.keys()
    return texts | {name: (LIBRARY / name).read_text() for name in sorted(shared)}


def read_with(name: str, texts: dict[str, str]) -> dict[str, str]:
    """A kernel's file and the headers of kernels that it includes, and those that these include, by name."""
    found, pending = {}, [name]
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = texts[name]
            pending += _INCLUDED.findall(texts[name])
    return found
