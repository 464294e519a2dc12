"""Encodings, assembled by GNU as: what kind each instruction is, and which registers it reads and writes."""

import struct

import pytest

from keras_s4.costs.instructions import LR, PC, SP, Kind, decode

# Text of the instruction, its half-words, and what is to be found.
CASES = [
    ("adds r0, r1, r2", [0x1888], Kind.ALU, {1, 2}, {0}),
    ("muls r0, r1", [0x4348], Kind.MUL, {0, 1}, {0}),
    ("mov r8, r1", [0x4688], Kind.ALU, {1, 8}, {8}),
    ("bx lr", [0x4770], Kind.JUMP, {LR}, set()),
    ("ldr r3, [pc, #8]", [0x4B02], Kind.LOAD, set(), {3}),
    ("ldrsb r0, [r1, r2]", [0x5688], Kind.LOAD, {1, 2}, {0}),
    ("strh r0, [r1, r2]", [0x5288], Kind.STORE, {0, 1, 2}, set()),
    ("ldr r0, [r1, #4]", [0x6848], Kind.LOAD, {1}, {0}),
    ("str r0, [sp, #4]", [0x9001], Kind.STORE, {0, SP}, set()),
    ("cbz r2, .", [0xB102], Kind.BRANCH, {2}, set()),
    ("push {r4, lr}", [0xB510], Kind.STORE_MANY, {4, LR, SP}, {SP}),
    ("pop {r4, pc}", [0xBD10], Kind.LOAD_MANY, {SP}, {4, PC}),
    ("itt eq", [0xBF04], Kind.IT, set(), set()),
    ("ldmia r0!, {r1, r2}", [0xC806], Kind.LOAD_MANY, {0}, {1, 2}),
    ("bne.n", [0xD1FE], Kind.BRANCH, set(), set()),
    ("b.n", [0xE7FE], Kind.BRANCH, set(), set()),
    ("bl", [0xF000, 0xF800], Kind.CALL, set(), {LR}),
    ("bne.w", [0xF47F, 0xAFFE], Kind.BRANCH, set(), set()),
    ("ldr.w r0, [r1, r2, lsl #2]", [0xF851, 0x0022], Kind.LOAD, {1, 2}, {0}),
    ("ldr.w r0, [r1], #4", [0xF851, 0x0B04], Kind.LOAD, {1}, {0, 1}),
    ("ldrsh.w r0, [r1, #2]", [0xF9B1, 0x0002], Kind.LOAD, {1}, {0}),
    ("str.w r0, [r1, #256]", [0xF8C1, 0x0100], Kind.STORE, {0, 1}, set()),
    ("pld [r0]", [0xF890, 0xF000], Kind.ALU, set(), set()),
    ("ldrd r0, r1, [r2]", [0xE9D2, 0x0100], Kind.LOAD_MANY, {2}, {0, 1}),
    ("strd r0, r1, [r2, #8]!", [0xE9E2, 0x0102], Kind.STORE_MANY, {0, 1, 2}, {2}),
    ("stmdb sp!, {r4-r11, lr}", [0xE92D, 0x4FF0], Kind.STORE_MANY, {*range(4, 12), LR, SP}, set()),
    ("tbb [pc, r0]", [0xE8DF, 0xF000], Kind.TABLE, {0, PC}, set()),
    ("mla r0, r1, r2, r3", [0xFB01, 0x3002], Kind.MLA, {1, 2, 3}, {0}),
    ("mul.w r0, r1, r2", [0xFB01, 0xF002], Kind.MUL, {1, 2}, {0}),
    ("smlad r0, r1, r2, r3", [0xFB21, 0x3002], Kind.DSP, {1, 2, 3}, {0}),
    ("smmulr r0, r1, r2", [0xFB51, 0xF012], Kind.DSP, {1, 2}, {0}),
    ("smull r0, r1, r2, r3", [0xFB82, 0x0103], Kind.LONG, {2, 3}, {0, 1}),
    ("smlal r0, r1, r2, r3", [0xFBC2, 0x0103], Kind.LONG_MLA, {0, 1, 2, 3}, {0, 1}),
    ("sdiv r0, r1, r2", [0xFB91, 0xF0F2], Kind.DIV, {1, 2}, {0}),
    ("ssat r0, #16, r1", [0xF301, 0x000F], Kind.DSP, {1}, {0}),
    ("sbfx r0, r1, #4, #8", [0xF341, 0x1007], Kind.ALU, {1}, {0}),
    ("movw r0, #1234", [0xF240, 0x40D2], Kind.ALU, set(), {0}),
    ("dls lr, r0", [0xF040, 0xE001], Kind.ALU, {0}, {LR}),
    ("le lr, .", [0xF00F, 0xC001], Kind.LOOP, {LR}, {LR}),
    ("vldrw.u32 q0, [r0]", [0xED90, 0x1F00], Kind.VECTOR_MEMORY, {0}, set()),
    ("vadd.i32 q0, q1, q2", [0xEF22, 0x0844], Kind.VECTOR, set(), set()),
    ("vmul.i32 q0, q1, q2", [0xEF22, 0x0954], Kind.VECTOR_MULTIPLY, set(), set()),
    ("vqrdmulh.s32 q0, q1, q2", [0xFF22, 0x0B44], Kind.VECTOR_MULTIPLY, set(), set()),
    ("vmla.s32 q0, q1, r2", [0xEE23, 0x0E42], Kind.VECTOR_MULTIPLY, set(), set()),
    ("vldr s0, [r1]", [0xED91, 0x0A00], Kind.COPROCESSOR, {1}, set()),
    ("vmov r0, s0", [0xEE10, 0x0A10], Kind.COPROCESSOR, set(), set()),
]


@pytest.mark.parametrize(("text", "halves", "kind", "reads", "writes"), CASES, ids=[case[0] for case in CASES])
def test_kind_and_registers(text, halves, kind, reads, writes):
    (found,) = decode(struct.pack(f"<{len(halves)}H", *halves), 0x100)
    assert (found.kind, found.size, found.address) == (kind, 2 * len(halves), 0x100)
    assert found.writes >= writes and not found.writes - writes - {SP}
    assert found.reads >= reads


def test_instructions_of_both_widths_follow_each_other():
    found = decode(struct.pack("<4H", 0x6848, 0xFB01, 0x3002, 0x4770), 0x200)
    assert [(each.address, each.size) for each in found] == [(0x200, 2), (0x202, 4), (0x206, 2)]
    assert [each.jumps for each in found] == [False, False, True]
