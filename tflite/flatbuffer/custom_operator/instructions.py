"""The instructions of KERAS_S4_BLOCK: 22 words each, and which memory each of them reads and writes; see the package.

`MEMORY` is what both the exporter's checks and the kernel's, in C++, go by: nothing of a file may lead it elsewhere.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence

import numpy as np


class Code(enum.IntEnum):
    """What an instruction does; the numbers are part of the file's layout."""

    AFFINE = 1
    LOOKUP = 2
    DENSE = 3
    MULTIPLY = 4
    ADD = 5
    MAXIMUM = 6
    MINIMUM = 7
    SIGMOID = 8
    TANH = 9
    LINES = 10
    DIAGONAL = 11
    MODAL = 12


@dataclasses.dataclass
class Instruction:
    """An instruction; fields that its code does not use are 0.

    Args:
        code: what it does.
        count: values that it writes to `out`.
        inner: gains of AFFINE; inputs of DENSE; the bits of LINES behind its rows; modes of DIAGONAL and MODAL.
        outer: outputs of DENSE; channels of DIAGONAL; how many modes of MODAL are fed back.
        type_a, type_b, type_out: bytes of a value of `a`, `b` and `out`. For DENSE `type_b` is 1 for the fast kernel.
        a, b, out: addresses of what is read and written; `b` of DIAGONAL and MODAL is their state.
        constants: addresses of up to four arrays of constants, and of a scratch array.
        mantissa, shift, zero_point: bring a sum to `out`, whose zero point the last is.
        gain_a, gain_b, offset: of ADD, and what else a code wants to know.
    """

    code: Code
    count: int
    inner: int = 0
    outer: int = 0
    type_a: int = 0
    type_b: int = 0
    type_out: int = 0
    a: int = 0
    b: int = 0
    out: int = 0
    constants: tuple[int, ...] = ()
    mantissa: int = 0
    shift: int = 0
    zero_point: int = 0
    gain_a: int = 0
    gain_b: int = 0
    offset: int = 0

    def words(self) -> np.ndarray:
        """The instruction as the file stores it."""
        constants = (*self.constants, *(0,) * (CONSTANTS - len(self.constants)))
        head = (self.code, self.count, self.inner, self.outer, self.type_a, self.type_b, self.type_out)
        tail = (self.mantissa, self.shift, self.zero_point, self.gain_a, self.gain_b, self.offset)
        words = (*head, self.a, self.b, self.out, *constants, *tail)
        return np.array(words, np.int64).astype(np.int32)


CONSTANTS = 6
WORDS = 16 + CONSTANTS
# An address is the number of a memory, and the offset in it in the lower bits: 0 is the scratch memory, 1 holds the
# constants, then come inputs and outputs.
OFFSET_BITS = 24
SCRATCH, CONSTANT, FIRST_END = 0, 1, 2
MOST_ENDS = 16
MOST_COUNT, MOST_SIZE = 2**20, 2**16 - 1


def instructions_of(words: Sequence[int]) -> list[Instruction]:
    """The instructions that a file stores.

    Raises:
        ValueError: they are not whole, or one has an unknown code.
    """
    if not len(words) or len(words) % WORDS:
        raise ValueError(f"KERAS_S4_BLOCK has {len(words)} words of instructions; expected some times {WORDS}.")
    found = []
    for start in range(0, len(words), WORDS):
        row = [int(word) for word in words[start : start + WORDS]]
        if row[0] not in list(Code):
            raise ValueError(f"KERAS_S4_BLOCK has an instruction with the unknown code {row[0]}.")
        constants = tuple(row[10 : 10 + CONSTANTS])
        found.append(Instruction(Code(row[0]), *row[1:10], constants, *row[10 + CONSTANTS :]))
    return found


@dataclasses.dataclass(frozen=True)
class Memory:
    """An array that an instruction uses.

    Args:
        field: the instruction's field with its address; a number for one of `constants`.
        values: how many values it has.
        bytes: of a value.
        use: "read", "write", "constant", "state" (of an output) or "scratch".
    """

    field: str | int
    values: Callable[[Instruction], int]
    bytes: Callable[[Instruction], int]
    use: str = "read"

    def address(self, instruction: Instruction) -> int:
        """Where it is."""
        return instruction.constants[self.field] if isinstance(self.field, int) else getattr(instruction, self.field)


def _all(instruction: Instruction) -> int:
    return instruction.count


def _times(*names: str, factor: int = 1) -> Callable[[Instruction], int]:
    def product(instruction: Instruction) -> int:
        result = factor
        for name in names:
            result *= getattr(instruction, name)
        return result

    return product


def _size(bytes: int) -> Callable[[Instruction], int]:
    return lambda instruction: bytes


def _constant(place: int, bytes: int, *names: str, factor: int = 1, use: str = "constant") -> Memory:
    return Memory(place, _times(*names, factor=factor), _size(bytes), use)


def _state(*names: str) -> Memory:
    return Memory("b", _times(*names, factor=2), _size(4), "state")


def _lines(instruction: Instruction) -> int:
    return 2**16 >> instruction.inner


_TYPE_A, _TYPE_B, _TYPE_OUT = (_times(name) for name in ("type_a", "type_b", "type_out"))
_READ_A, _READ_B = Memory("a", _all, _TYPE_A), Memory("b", _all, _TYPE_B)
_WRITE = Memory("out", _all, _TYPE_OUT, "write")
_GATE = (Memory("a", _all, _size(2)), Memory("out", _all, _size(2), "write"))
_JOINED = (_READ_A, _READ_B, _WRITE)

MEMORY: dict[Code, tuple[Memory, ...]] = {
    Code.AFFINE: (_READ_A, _WRITE, _constant(0, 4, "inner"), _constant(1, 4, "inner")),
    Code.LOOKUP: (Memory("a", _all, _size(1)), Memory("out", _all, _size(1), "write"), _constant(0, 1, factor=256)),
    Code.DENSE: (
        Memory("a", lambda each: each.count // each.outer * each.inner, _TYPE_A),
        Memory("out", _all, _TYPE_A, "write"),
        _constant(0, 1, "inner", "outer"),
        _constant(1, 4, "outer"),
    ),
    Code.MULTIPLY: _JOINED,
    Code.ADD: _JOINED,
    Code.MAXIMUM: _JOINED,
    Code.MINIMUM: _JOINED,
    Code.SIGMOID: (*_GATE, _constant(0, 2, factor=256)),
    Code.TANH: (*_GATE, _constant(0, 2, factor=256)),
    Code.LINES: (
        *_GATE,
        Memory(0, _lines, _size(1), "constant"),
        Memory(1, _lines, _size(2), "constant"),
    ),
    Code.DIAGONAL: (
        Memory("a", _all, _size(2)),
        _state("outer", "inner"),
        _WRITE,
        _constant(0, 4, "outer", "inner", factor=4),
        _constant(1, 4, "outer"),
        _constant(2, 1, "outer"),
        _constant(3, 4, "outer"),
        _constant(4, 4, "outer", use="scratch"),
    ),
    Code.MODAL: (*_GATE, _state("inner"), _constant(0, 4, "inner", factor=4)),
}
