"""What the cost of a program depends on, read from its C: what runs how often, and how many bytes it has."""

from __future__ import annotations

import re
from collections import Counter

from keras_s4.costs.kernels import HELIUM, Layers, form_on, is_call, kernel_work, read_layers
from keras_s4.costs.statements import SIZES, Statement, Step, normal_form, read_step
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.program.program import Program

_NAME = "model"
_TYPES = "|".join(SIZES)
_ARRAY = re.compile(rf"^static const ({_TYPES}) (\w+)\[(\d+)\] = \{{\n(.*?)^\}};", re.MULTILINE | re.DOTALL)
_POINTER = re.compile(r"\b([a-z]\w*)\b(?!\[)", re.IGNORECASE)
_STRUCT = re.compile(r"^static const (s4_\w+) \w+ = \{\n", re.MULTILINE)
_TYPE = re.compile(r"^typedef struct \{\n(.*?)^\} (s4_\w+);", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(rf"^ +(?:const )?({_TYPES}) (\*?)\w+;", re.MULTILINE)
_STATE = re.compile(r"^typedef struct \{\n(.*?)^\} \w+_state;", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(rf"^ +({_TYPES}) \w+(?:\[(\d+)\])?;", re.MULTILINE)
_COPY = re.compile(r"\(void\)memcpy\(.*, (\d+)U \* sizeof\((\w+)\)\)$")
_STRAIGHT, _INLINED = 32, 64  # bytes that compilers copy or set without a loop; in one
_WRITTEN_OUT = {"rest of words", *(f"words one by one, {bits} bits" for bits in (8, 16, 32))}
# Where loops may become vectors: how many elements a round may have of them.
_VECTORS = (16, 8, 4)


def count_work(source: dict[str, str], core: str) -> Counter[str]:
    """How much of each kind of work a run of a program is.

    Args:
        source: as `source_of` gives it.
        core: a core of the cost model.

    Returns:
        How often each part of the kernels runs, each form of statement, each kind of copy, and loops around them.
    """
    text = source[f"{_NAME}.c"]
    step, layers, form = read_step(text, source[f"{_NAME}.h"]), read_layers(text), form_on(core)
    found: Counter[str] = Counter({"run": 1})
    for loop in step.loops:
        found["loops"] += loop.entries
        found["rounds"] += loop.rounds
    for statement in step.statements:
        for name, count in _work_of(statement, step, layers, form).items():
            found[name] += count * statement.times
    return +found


def count_code(source: dict[str, str], core: str) -> Counter[str]:
    """What the size of compiled C depends on: the kernels that it calls, each once, and what its step is made of.

    Args:
        source: as `source_of` gives it.
        core: a core of the cost model.
    """
    text = source[f"{_NAME}.c"]
    step, layers, form = read_step(text, source[f"{_NAME}.h"]), read_layers(text), form_on(core)
    found: Counter[str] = Counter({"run": 1, "loops": len(step.loops)})
    kernels = set()
    for statement in step.statements:
        if function := is_call(statement.text):
            kernels.add(f"{function}, kernel")
            found["calls"] += 1
            found["arguments"] += statement.text.count(",") + 1
            continue
        work = _work_of(statement, step, layers, form)
        for name, count in work.items():
            found[name] += count * statement.written if name in _WRITTEN_OUT else statement.written
        if _COPY.match(statement.text):
            kernels.add("memcpy" if "copies" in work else "memcpy of a few bytes")
    if count_bytes(source, core)[1] > _STRAIGHT:
        kernels.add("memset")
    found.update(kernels)
    return found


def count_bytes(source: dict[str, str], core: str) -> tuple[int, int]:
    """Bytes of the constants and of the state struct, read from the C.

    Compilers keep one of arrays that are equal, if the C does nothing but index them.

    Args:
        source: as `source_of` gives it.
        core: a core of the cost model; on an AVR nothing is aligned, and pointers have 16 bits.
    """
    text, aligned = source[f"{_NAME}.c"], core != "avr"
    pointed_to = set(_POINTER.findall(text))
    arrays = {
        (type_, size, values, name if name in pointed_to else "") for type_, name, size, values in _ARRAY.findall(text)
    }
    constants = sum(_rounded_up(SIZES[type_] * int(size), 4 if aligned else 1) for type_, size, _, _ in arrays)
    constants += count_parameters(source, core)
    fields = _FIELD.findall(_STATE.search(source[f"{_NAME}.h"])[1])
    return constants, _size_of([(SIZES[type_], int(size or 1)) for type_, size in fields], aligned)


def count_parameters(source: dict[str, str], core: str) -> int:
    """Bytes of the structs that kernels take, among the constants: Clang takes some apart when it inlines.

    Args:
        source: as `source_of` gives it.
        core: see `count_bytes`.
    """
    aligned = core != "avr"
    sizes = {}
    for name, text in source.items():
        for members, struct in _TYPE.findall(text) if name.endswith(".h") else ():
            fields = [
                ((4 if aligned else 2) if pointer else SIZES[type_], 1) for type_, pointer in _MEMBER.findall(members)
            ]
            sizes[struct] = _size_of(fields, aligned)
    return sum(sizes[struct] for struct in _STRUCT.findall(source[f"{_NAME}.c"]))


def _size_of(fields: list[tuple[int, int]], aligned: bool) -> int:
    """Of a struct whose fields are arrays of so many elements: bytes of each, and their number."""
    end, widest = 0, 1
    for each, count in fields:
        alignment = each if aligned else 1
        end = _rounded_up(end, alignment) + each * count
        widest = max(widest, alignment)
    return _rounded_up(end, widest)


def _rounded_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def source_of(program: Program) -> dict[str, str]:
    """The C of a program, under the name that the other functions look for."""
    return c_source(program, _NAME)


def _work_of(statement: Statement, step: Step, layers: Layers, form: str) -> Counter[str]:
    """What a statement is, each time that it runs."""
    if is_call(statement.text):
        return kernel_work(statement.text, layers, form)
    if copy := _COPY.match(statement.text):
        return _copy(int(copy[1]), SIZES[copy[2]])
    name = normal_form(statement.text, step.types)
    if statement.written > 1:
        return Counter({"moves written out": 1})
    if form == HELIUM and (vector := next((size for size in _VECTORS if statement.rounds % size == 0), 0)):
        name = f"{name} (by {vector})"
    return Counter({name: 1})


def _copy(count: int, size: int) -> Counter[str]:
    """A copy by the library's function, or of a few bytes: word by word, in a loop if there are more, and the rest."""
    words, rest = divmod(count * size, 4)
    if count * size > _INLINED:
        return Counter({"copies": 1, "copied bytes": count * size})
    place = "one by one" if count * size <= _STRAIGHT else "in a loop"
    return Counter(
        {f"copies {place}, {8 * size} bits": 1, f"words {place}, {8 * size} bits": words, "rest of words": rest}
    )
