"""What the cost of a program depends on: its operations and their sizes, and what its C says of bytes."""

from __future__ import annotations

import math
import re
from collections import Counter

from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.program import Program

_NAME = "model"
_SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
_TYPES = "|".join(_SIZES)
_ARRAY = re.compile(rf"^static const ({_TYPES}) \w+\[(\d+)\] = \{{", re.MULTILINE)
_STRUCT = re.compile(r"^static const s4_\w+ \w+ = \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_STATE = re.compile(r"^typedef struct \{\n(.*?)^\} \w+_state;", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(rf"^ +({_TYPES}) \w+(?:\[(\d+)\])?;", re.MULTILINE)
_STEP = re.compile(rf"^\w+ {_NAME}_step\(.*?^\}}", re.MULTILINE | re.DOTALL)


def count_work(program: Program) -> Counter[str]:
    """How much of each kind of work a run of a program is.

    Returns:
        By the class of operations and the type that they read: how many there are, how many values they write and, of
        those that multiply, how many multiply-accumulates they make.
    """
    found: Counter[str] = Counter({"run": 1})
    for operation in program.operations:
        name = _kind(operation)
        found["operations"] += 1
        found[f"{name}, values"] += math.prod(operation.result.shape)
        if work := operation.multiply_accumulates():
            found[f"{name}, products"] += work
    return found


def count_code(source: dict[str, str]) -> Counter[str]:
    """What the size of compiled C depends on: the kernels that it calls, and the lines of its step.

    Args:
        source: as `c_source` gives it for the name "model".
    """
    step = _STEP.search(source[f"{_NAME}.c"])
    found: Counter[str] = Counter({"run": 1, "lines": 0 if step is None else step[0].count("\n")})
    found.update(name for name in source if name.endswith(".c") and name != f"{_NAME}.c")
    return found


def count_bytes(source: dict[str, str]) -> tuple[int, int]:
    """Bytes of the constants and of the state struct on a core of 32 bits, read from the C.

    Args:
        source: as `c_source` gives it for the name "model".
    """
    text = source[f"{_NAME}.c"]
    constants = sum(-(-_SIZES[type_] * int(size) // 4) * 4 for type_, size in _ARRAY.findall(text))
    constants += count_parameters(source)
    end, widest = 0, 1
    for type_, size in _FIELD.findall(_STATE.search(source[f"{_NAME}.h"])[1]):
        each = _SIZES[type_]
        end = -(-end // each) * each + each * int(size or 1)
        widest = max(widest, each)
    return constants, -(-end // widest) * widest


def count_parameters(source: dict[str, str]) -> int:
    """Bytes of the structs that kernels take, among the constants: a compiler takes some apart when it inlines.

    Args:
        source: as `c_source` gives it for the name "model".
    """
    return sum(4 * fields.count("\n") for fields in _STRUCT.findall(source[f"{_NAME}.c"]))


def source_of(program: Program) -> dict[str, str]:
    """The C of a program, under the name that the other functions look for."""
    return c_source(program, _NAME)


def _kind(operation: Operation) -> str:
    types = [tensor.type for tensor in operation.reads() if tensor.data is None]
    name = type(operation).__name__
    return f"{name} {types[0]}" if types else name
