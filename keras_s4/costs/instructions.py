"""Thumb instructions as their timing needs them: what kind each is, and which registers it reads and writes.

No disassembler: encodings of one timing are one kind, as the tables of "Instruction set encoding" in the Armv7-M and
Armv8.1-M Architecture Reference Manuals (A5 and C2) group them.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

PC, LR, SP = 15, 14, 13


class Kind(enum.Enum):
    """What a timing table has one row for."""

    ALU = "arithmetic, logic, moves"
    MUL = "multiply, 32 bits out of 32"
    MLA = "multiply and accumulate, 32 bits"
    DSP = "products of halves, parallel arithmetic, saturation"
    LONG = "multiply, 64 bits out of 32"
    LONG_MLA = "multiply and accumulate, 64 bits"
    DIV = "division"
    LOAD = "load"
    STORE = "store"
    LOAD_MANY = "load of several registers"
    STORE_MANY = "store of several registers"
    BRANCH = "branch to a fixed place"
    CALL = "call of a fixed place"
    JUMP = "branch to a register"
    TABLE = "branch by a table"
    LOOP = "end of a low-overhead loop"
    IT = "if-then"
    VECTOR_MEMORY = "vector load or store"
    VECTOR = "vector integer arithmetic"
    VECTOR_MULTIPLY = "vector multiplication"
    COPROCESSOR = "floating point, and moves between the register files"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of Thumb.

    Args:
        address: where it is.
        size: 2 or 4 bytes.
        kind: what it takes its time for.
        reads: numbers of core registers.
        writes: likewise.
        addresses: of those read, the ones that an address is made of.
        count: of registers, where several are loaded or stored.
        shifts: whether an operand is shifted on its way.
    """

    address: int
    size: int
    kind: Kind
    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    addresses: frozenset[int] = frozenset()
    count: int = 1
    shifts: bool = False

    @property
    def jumps(self) -> bool:
        """Whether it may go elsewhere than on."""
        return self.kind in _JUMPS or PC in self.writes


_JUMPS = {Kind.BRANCH, Kind.CALL, Kind.JUMP, Kind.TABLE, Kind.LOOP}


def decode(code: bytes, address: int) -> list[Instruction]:
    """The instructions of a stretch of code.

    Args:
        code: whole instructions.
        address: of the first.
    """
    halves = struct.unpack(f"<{len(code) // 2}H", code[: len(code) // 2 * 2])
    found, position = [], 0
    while position < len(halves):
        place = address + 2 * position
        if halves[position] >> 11 >= 0b11101 and position + 1 < len(halves):
            found.append(_wide(halves[position], halves[position + 1], place))
            position += 2
        else:
            found.append(_narrow(halves[position], place))
            position += 1
    return found


def _make(address: int, size: int, kind: Kind, reads=(), writes=(), addresses=(), **more) -> Instruction:
    reads = frozenset(reads) | frozenset(addresses)
    return Instruction(address, size, kind, reads, frozenset(writes), frozenset(addresses), **more)


def _listed(bits: int) -> list[int]:
    return [number for number in range(16) if bits >> number & 1]


def _narrow(half: int, at: int) -> Instruction:
    low, middle, high = half & 7, half >> 3 & 7, half >> 6 & 7
    wide_low = half >> 8 & 7
    top = half >> 12
    if half < 0x2000:
        reads = [middle, high] if 0x1800 <= half < 0x1C00 else [middle]
        return _make(at, 2, Kind.ALU, reads, [low])
    if half < 0x4000:
        return _make(at, 2, Kind.ALU, [] if half < 0x2800 else [wide_low], [wide_low])
    if half < 0x4400:
        multiplies = half >> 6 & 15 == 13
        return _make(at, 2, Kind.MUL if multiplies else Kind.ALU, [low, middle], [low])
    if half < 0x4800:
        target, source = low | half >> 4 & 8, half >> 3 & 15
        if half >= 0x4700:
            return _make(at, 2, Kind.JUMP, [source], [LR] if half & 0x80 else [])
        if target == PC and half >> 8 != 0x45:
            return _make(at, 2, Kind.JUMP, [source])
        return _make(at, 2, Kind.ALU, [target, source], [target])
    if half < 0x5000:
        return _make(at, 2, Kind.LOAD, (), [wide_low])
    if half < 0xA000:
        return _narrow_memory(half, at, low, middle, high, wide_low)
    if half < 0xB000:
        return _make(at, 2, Kind.ALU, [SP] if half & 0x800 else [], [wide_low])
    if half < 0xC000:
        return _miscellaneous(half, at, low, middle)
    if half < 0xD000:
        registers = _listed(half & 0xFF)
        if half & 0x800:
            return _make(at, 2, Kind.LOAD_MANY, (), registers, [wide_low], count=len(registers))
        return _make(at, 2, Kind.STORE_MANY, registers, [wide_low], [wide_low], count=len(registers))
    if top == 0xD and half >> 8 & 15 >= 14:
        return _make(at, 2, Kind.ALU)
    return _make(at, 2, Kind.BRANCH)


def _narrow_memory(half: int, at: int, low: int, middle: int, high: int, wide_low: int) -> Instruction:
    if half < 0x6000:
        loads = half >> 9 & 7 >= 3
        place = [middle, high]
    elif half < 0x9000:
        loads = bool(half & 0x800)
        place = [middle]
    else:
        loads, place, low = bool(half & 0x800), [SP], wide_low
    return _make(at, 2, Kind.LOAD, (), [low], place) if loads else _make(at, 2, Kind.STORE, [low], (), place)


def _miscellaneous(half: int, at: int, low: int, middle: int) -> Instruction:
    kind = half >> 8 & 15
    if kind in (1, 3, 9, 11):
        return _make(at, 2, Kind.BRANCH, [low])
    if kind in (4, 5):
        registers = _listed(half & 0xFF) + ([LR] if half & 0x100 else [])
        return _make(at, 2, Kind.STORE_MANY, registers, [SP], [SP], count=len(registers))
    if kind in (12, 13):
        registers = _listed(half & 0xFF) + ([PC] if half & 0x100 else [])
        return _make(at, 2, Kind.LOAD_MANY, (), registers, [SP], count=len(registers))
    if kind == 15 and half & 15:
        return _make(at, 2, Kind.IT)
    return _make(at, 2, Kind.ALU, [middle], [low]) if kind in (2, 10) else _make(at, 2, Kind.ALU, [SP], [SP])


def _wide(first: int, second: int, at: int) -> Instruction:
    group = first >> 11 & 3
    if group == 1:
        return _wide_memory_or_shifted(first, second, at)
    if group == 2:
        return _immediate_or_branch(first, second, at)
    if first & 0xFE00 == 0xF800:
        return _wide_memory(first, second, at)
    if first & 0xFF00 == 0xFA00:
        parallel = first & 0x80 and second & 0xC0 != 0x80
        reads = [first & 15, second & 15]
        return _make(at, 4, Kind.DSP if parallel else Kind.ALU, reads, [second >> 8 & 15], shifts=not parallel)
    if first & 0xFF00 == 0xFB00:
        return _multiply(first, second, at)
    return _coprocessor(first, second, at)


def _wide_memory_or_shifted(first: int, second: int, at: int) -> Instruction:
    base, loads = first & 15, bool(first & 0x10)
    if first & 0xFE40 == 0xE800:
        registers = _listed(second)
        if loads:
            return _make(at, 4, Kind.LOAD_MANY, (), registers, [base], count=len(registers))
        return _make(at, 4, Kind.STORE_MANY, registers, (), [base], count=len(registers))
    if first & 0xFE40 == 0xE840:
        if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
            return _make(at, 4, Kind.TABLE, (), (), [base, second & 15])
        pair = [second >> 12, second >> 8 & 15]
        written = [base] if first & 0x20 else []
        if loads:
            return _make(at, 4, Kind.LOAD_MANY, (), [*pair, *written], [base], count=2)
        return _make(at, 4, Kind.STORE_MANY, pair, written, [base], count=2)
    if first & 0xFE00 == 0xEA00:
        return _make(at, 4, Kind.ALU, [base, second & 15], [second >> 8 & 15], shifts=bool(second & 0x70F0))
    return _coprocessor(first, second, at)


def _immediate_or_branch(first: int, second: int, at: int) -> Instruction:
    if not second & 0x8000:
        saturates = first & 0xFF50 == 0xF300
        target = [] if first & 0x0210 == 0x0010 and second >> 8 & 15 == PC else [second >> 8 & 15]
        reads = [] if first & 0xFBF0 in (0xF240, 0xF2C0) else [first & 15]
        return _make(at, 4, Kind.DSP if saturates else Kind.ALU, reads, target)
    if second & 0xD000 == 0xD000:
        return _make(at, 4, Kind.CALL, (), [LR])
    if second & 0xF001 == 0xE001:
        return _make(at, 4, Kind.ALU, [first & 15], [LR])
    if second & 0xF001 == 0xC001:
        return _make(at, 4, Kind.LOOP, [LR], [LR])
    if second & 0xD000 == 0x8000 and first & 0x0380 == 0x0380:
        return _make(at, 4, Kind.ALU)
    return _make(at, 4, Kind.BRANCH)


def _wide_memory(first: int, second: int, at: int) -> Instruction:
    base, register = first & 15, second >> 12
    immediate = first & 0x80 or base == PC
    place = [base] if immediate or second & 0x800 else [base, second & 15]
    written = [base] if not immediate and second & 0x900 == 0x900 else []
    if not first & 0x10:
        return _make(at, 4, Kind.STORE, [register], written, place)
    if register == PC and first & 0x60 != 0x40:
        return _make(at, 4, Kind.ALU)  # a hint to a cache
    return _make(at, 4, Kind.LOAD, (), [register, *written], place)


def _multiply(first: int, second: int, at: int) -> Instruction:
    factors, accumulator = [first & 15, second & 15], second >> 12
    operation = first >> 4 & 15
    target = second >> 8 & 15
    if operation >= 8:
        kind = {8: Kind.LONG, 9: Kind.DIV, 10: Kind.LONG, 11: Kind.DIV}.get(operation, Kind.LONG_MLA)
        if kind is Kind.DIV:
            return _make(at, 4, kind, factors, [target])
        reads = factors if kind is Kind.LONG else [*factors, accumulator, target]
        return _make(at, 4, kind, reads, [accumulator, target])
    if operation:
        reads = factors if accumulator == PC else [*factors, accumulator]
        return _make(at, 4, Kind.DSP, reads, [target])
    if accumulator == PC:
        return _make(at, 4, Kind.MUL, factors, [target])
    return _make(at, 4, Kind.MLA, [*factors, accumulator], [target])


def _coprocessor(first: int, second: int, at: int) -> Instruction:
    """Floating point and Helium, whose encodings share the space of coprocessors 8 to 15."""
    group = second >> 8 & 15
    if first & 0xEF00 == 0xEF00:
        multiplies = second & 0x0F50 == 0x0950 or second & 0x0F40 == 0x0B40
        return _make(at, 4, Kind.VECTOR_MULTIPLY if multiplies else Kind.VECTOR)
    moves = first & 0xFFE0 == 0xEC40
    if moves or group in (9, 10, 11):
        memory = first & 0xFE00 == 0xEC00 and not moves
        return _make(at, 4, Kind.COPROCESSOR, (), (), [first & 15] if memory else ())
    if first & 0xEE00 == 0xEC00:
        return _make(at, 4, Kind.VECTOR_MEMORY, (), (), [first & 15])
    return _make(at, 4, Kind.VECTOR_MULTIPLY if first & 0xEF00 == 0xEE00 else Kind.VECTOR)
