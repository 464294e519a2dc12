"""Cycles of short sequences, as Arm's manuals and LLVM's scheduling models give them."""

import struct

import pytest

from keras_s4.costs.cycles import count_instructions, estimate_cycles
from keras_s4.costs.ranges import Range
from keras_s4.costs.timings import TIMINGS

AT = 0x100
LDR_01, LDR_12 = [0x6808], [0x6811]  # ldr r0, [r1]; ldr r1, [r2]
LDR_012, LDR_015, LDR_234 = [0x5888], [0xF851, 0x0005], [0x685A]  # [r1, r2]; [r1, r5]; ldr r2, [r3, #4]
STR_03, STR_132 = [0x6158], [0x5099]  # str r0, [r3, #20]; str r1, [r3, r2]
LDR_20 = [0x6802]  # ldr r2, [r0]
ADD_0 = [0x3001]  # adds r0, #1
BNE = [0xD1FE]
VLDR, VLDRB, VADD, VMUL, VSTR = (
    [0xED90, 0x1F00],
    [0xED91, 0x3E00],
    [0xEF22, 0x0844],
    [0xEF22, 0x0954],
    [0xED80, 0x1F00],
)


def cycles_of(core, *instructions, target=None):
    halves = [half for each in instructions for half in each]
    code = struct.pack(f"<{len(halves)}H", *halves)
    end = AT + len(code)
    memory = bytes(AT) + code + struct.pack("<2H", 0x3001, 0x3001) * 8
    block = {(AT, len(code), end if target is None else target): 1}
    return estimate_cycles(block, lambda address, size: memory[address : address + size], TIMINGS[core])


@pytest.mark.parametrize(
    ("instructions", "cycles"),
    [
        # The optimised examples of "Load/store timings" in the manuals of Cortex-M3 and M4.
        ((LDR_01, LDR_12), 3),
        ((LDR_012, STR_03), 3),
        ((LDR_012, STR_132), 3),
        ((LDR_015, LDR_12, LDR_234), 4),
        # Nothing is pipelined behind a store, nor where an address waits for a load.
        ((STR_03, LDR_12), 3),
        ((LDR_01, LDR_20), 4),
        # An address that the instruction before computes takes one cycle more.
        ((ADD_0, LDR_20), 4),
        ((STR_03,), 1),
        ((STR_132,), 2),
        (([0xE9D2, 0x0100],), 3),  # ldrd
        (([0xC80E],), 4),  # ldmia of three
    ],
)
@pytest.mark.parametrize("core", ["m3", "m4"])
def test_loads_and_stores_of_cortex_m3_and_m4(core, instructions, cycles):
    assert cycles_of(core, *instructions) == Range(cycles, cycles)


@pytest.mark.parametrize(
    ("instruction", "m0", "m3", "m4"),
    [
        ([0x4348], (1, 1), (1, 1), (1, 1)),  # muls
        ([0xFB01, 0x3002], None, (2, 2), (1, 1)),  # mla
        ([0xFB82, 0x0103], None, (3, 5), (1, 1)),  # smull
        ([0xFBC2, 0x0103], None, (4, 7), (1, 1)),  # smlal
        ([0xFB91, 0xF0F2], None, (2, 12), (2, 12)),  # sdiv
        ([0x6848], (2, 2), (2, 2), (2, 2)),  # ldr
        ([0x6048], (2, 2), (1, 1), (1, 1)),  # str
        ([0xB510], (3, 3), (3, 3), (3, 3)),  # push of two
    ],
)
def test_instructions_of_the_manuals(instruction, m0, m3, m4):
    for core, expected in (("m0+", m0), ("m3", m3), ("m4", m4)):
        if expected is not None:
            assert cycles_of(core, instruction) == Range(*expected), core


@pytest.mark.parametrize(("core", "cycles"), [("m0", (3, 3)), ("m0+", (2, 2)), ("m3", (2, 4)), ("m4", (2, 4))])
def test_branches_cost_more_when_they_are_taken(core, cycles):
    assert cycles_of(core, BNE) == Range(1, 1)
    assert cycles_of(core, BNE, target=AT) == Range(*cycles)


@pytest.mark.parametrize(
    ("instructions", "best"), [((VLDR, VADD, VMUL, VSTR), 5), ((VLDR, VLDRB, VADD, VSTR), 6)], ids=["pipes", "loads"]
)
def test_vector_instructions_of_different_pipes_overlap_by_half(instructions, best):
    """The two examples at the head of LLVM's model of the Cortex-M55."""
    assert cycles_of("m55", *instructions) == Range(best, 8)


def test_two_instructions_at_once_or_none():
    independent = [0x3001], [0x3101], [0x3201], [0x3301]  # adds to four registers
    assert cycles_of("m7", *independent) == Range(2, 4)
    dependent = ADD_0, ADD_0, ADD_0, ADD_0
    assert cycles_of("m7", *dependent) == Range(4, 4)
    wide = ([0xF101, 0x0101], [0xF102, 0x0201])
    assert cycles_of("m33", *wide) == Range(2, 2)
    assert cycles_of("m33", *independent) == Range(2, 4)


def test_a_result_of_a_load_is_waited_for():
    assert cycles_of("m33", LDR_01, ADD_0) == Range(3, 3)
    assert cycles_of("m33", LDR_01, [0xF103, 0x0301]) == Range(2, 2)  # add.w r3, r3, #1


def test_blocks_count_as_often_as_they_ran():
    code = struct.pack("<2H", *LDR_01, *LDR_12)
    blocks = {(0, 2, 2): 10, (0, 4, 4): 5}
    read = lambda address, size: code[address : address + size]  # noqa: E731
    assert count_instructions(blocks, read) == 20
    assert estimate_cycles(blocks, read, TIMINGS["m4"]) == Range(35, 35)
