"""Cycles of executed code, estimated: the published timings of a core applied to every run of every block."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keras_s4.costs.instructions import PC, Instruction, Kind, decode
from keras_s4.costs.ranges import Range
from keras_s4.costs.timings import Timing

# Blocks that ran, as (first address, bytes, address that ran next), and how often.
Blocks = Mapping[tuple[int, int, int], float]
_ONE_CYCLE = Range(1, 1)
_MEMORY = (Kind.LOAD, Kind.STORE)
_PIPES = {Kind.VECTOR_MEMORY: 0, Kind.VECTOR: 1, Kind.VECTOR_MULTIPLY: 2}
_SECOND = (Kind.ALU, Kind.BRANCH, Kind.IT)


def count_instructions(blocks: Blocks, read: Callable[[int, int], bytes]) -> float:
    """Instructions of blocks that ran; those that an if-then skips count.

    Args:
        blocks: what ran, and how often.
        read: function from an address and a number of bytes to the code there.
    """
    return sum(times * len(decode(read(start, size), start)) for (start, size, _), times in blocks.items())


def estimate_cycles(blocks: Blocks, read: Callable[[int, int], bytes], timing: Timing) -> Range:
    """Cycles of blocks that ran.

    Args:
        blocks: what ran, and how often.
        read: function from an address and a number of bytes to the code there.
        timing: of the core.
    """
    found = Range(0, 0)
    straight: dict[tuple[int, int], tuple[list[Instruction], Range]] = {}
    for (start, size, target), times in blocks.items():
        if (start, size) not in straight:
            instructions = decode(read(start, size), start)
            straight[start, size] = instructions, _straight_line(instructions, timing)
        instructions, cycles = straight[start, size]
        if target != start + size:
            cycles += _departure(instructions[-1], target, read(target & ~1, 2), timing)
        found += cycles * times
    return found


def _straight_line(instructions: list[Instruction], timing: Timing) -> Range:
    if timing.latencies:
        return Range(_issue(instructions, timing, best=True), _issue(instructions, timing, best=False))
    found, before = Range(0, 0), None
    for instruction in instructions:
        cycles = timing.alone(instruction)
        if before is not None and instruction.kind in (*_MEMORY, Kind.LOAD_MANY, Kind.STORE_MANY):
            late = instruction.addresses & before.writes
            if timing.pipelines and before.kind is Kind.LOAD and instruction.kind in _MEMORY and not late:
                cycles = _ONE_CYCLE
            elif late and before.kind not in (*_MEMORY, Kind.LOAD_MANY, Kind.STORE_MANY):
                cycles += timing.late_addresses
        found += cycles
        before = instruction
    return found


def _issue(instructions: list[Instruction], timing: Timing, best: bool) -> float:
    """Cycles of a pipeline that issues in order: with every pair that can be and all overlap, or with none."""
    now = 0.0  # when the next instruction can be issued
    ready: dict[int, float] = {}
    pipes = [0.0, 0.0, 0.0]
    partner: Instruction | None = None  # what was issued last and can still have another beside it
    for instruction in instructions:
        bound = timing.alone(instruction)
        takes = bound.low if best else bound.high
        wanted = max([ready.get(register, 0.0) for register in instruction.reads], default=0.0)
        if best and partner is not None and wanted <= now - 1 and _pairs(partner, instruction, timing):
            at, partner = now - 1, None
        else:
            at = max(now, wanted)
            pipe = _PIPES.get(instruction.kind) if timing.beats else None
            if pipe is not None:
                at = max(at, pipes[pipe])
                pipes[pipe] = at + takes
                takes = 1 if best else takes
            now = at + takes
            partner = instruction if takes == 1 else None
        latency = timing.latencies.get(instruction.kind, 1)
        ready |= dict.fromkeys(instruction.writes, at + max(latency, takes))
    return max(now, *pipes)


def _pairs(first: Instruction, second: Instruction, timing: Timing) -> bool:
    """Whether two instructions can be issued at once, the operands of the second being there."""
    if first.writes & (second.reads | second.writes):
        return False
    if timing.pairs == "narrow":
        return first.size == second.size == 2 and (second.kind in _SECOND or first.kind in _SECOND)
    products = (Kind.MUL, Kind.MLA, Kind.DSP, Kind.LONG, Kind.LONG_MLA)
    alone = (Kind.LOAD_MANY, Kind.STORE_MANY, Kind.DIV, Kind.TABLE, Kind.COPROCESSOR)
    kinds = {first.kind, second.kind}
    if kinds & set(alone) or second.kind is Kind.DSP:
        return False
    if first.kind in products and second.kind in products:
        return False
    if first.kind is Kind.STORE and second.kind is Kind.STORE:
        return False
    return not (first.shifts and second.shifts)


def _departure(last: Instruction, target: int, code: bytes, timing: Timing) -> Range:
    """What it takes to go elsewhere."""
    wide = len(code) == 2 and code[1] >> 3 >= 0b11101 and target & 2
    if last.kind is Kind.LOOP:
        return Range(0, 0)
    far = last.kind in (Kind.JUMP, Kind.TABLE) or PC in last.writes
    call = last.kind is Kind.CALL
    refill = timing.far if far else timing.taken + (1 if call and timing.core in ("m0", "m0+") else 0)
    if not wide:
        return refill
    low = refill.low + timing.unaligned_target
    return Range(low, max(low, refill.high))
