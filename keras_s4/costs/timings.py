"""What instructions take on each core, as it is published; a range where what is published leaves one.

All are for memory without wait states. Where Arm publishes no table (Cortex-M7, M33, M55), the timings are those of
LLVM's scheduling models, which Arm's engineers write, and the range is wide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras_s4.costs.instructions import Instruction, Kind
from keras_s4.costs.ranges import Range

_ONE = Range(1, 1)
_NONE = Range(0, 0)
_VECTORS = (Kind.VECTOR, Kind.VECTOR_MULTIPLY, Kind.VECTOR_MEMORY)


@dataclasses.dataclass(frozen=True)
class Timing:
    """The published timings of a core.

    Args:
        core: its name.
        source: where they are published.
        assumed: what is not, and was taken to be so.
        cycles: of an instruction by kind, one where nothing is said; of those with several registers, without them.
        taken: what a branch adds when it is taken to a fixed place; to a register or from memory, `far`.
        far: see `taken`.
        likely: where in the range boards were found: 0 for its lower end, 1 for its upper one (see README.md).
        unaligned_target: what a wide instruction at an odd half-word adds as a target.
        pipelines: whether a load or store right behind a load takes one cycle, and a store at the sum of two registers
            two elsewhere.
        late_addresses: what an address adds that the instruction before has computed.
        latencies: cycles after which a result can be read, where it is more than one, by kind.
        pairs: whether, at best, two instructions are issued at once: "narrow" some of 16 bits, "any" most.
        beats: whether vector instructions of different pipes overlap by half, at best.
    """

    core: str
    source: str
    assumed: str
    cycles: Mapping[Kind, Range]
    taken: Range
    far: Range
    likely: float
    unaligned_target: int = 0
    pipelines: bool = False
    late_addresses: Range = _NONE
    latencies: Mapping[Kind, int] = dataclasses.field(default_factory=dict)
    pairs: str = ""
    beats: bool = False

    def alone(self, instruction: Instruction) -> Range:
        """Cycles of an instruction for which nothing waits, without what a taken branch adds."""
        each = self.cycles.get(instruction.kind, _ONE)
        if self.pipelines and instruction.kind is Kind.STORE and len(instruction.addresses) == 2:
            return each + 1  # an address of two registers, unless it is behind a load
        if instruction.kind in (Kind.LOAD_MANY, Kind.STORE_MANY):
            return each + instruction.count
        return each


_V6M = {
    Kind.LOAD: Range(2, 2),
    Kind.STORE: Range(2, 2),
    Kind.LOAD_MANY: _ONE,
    Kind.STORE_MANY: _ONE,
}
_V7M = {
    Kind.LOAD: Range(2, 2),
    Kind.LOAD_MANY: _ONE,
    Kind.STORE_MANY: _ONE,
    Kind.DIV: Range(2, 12),
    Kind.IT: Range(0, 1),
    Kind.TABLE: Range(2, 2),
    Kind.COPROCESSOR: Range(1, 3),
}
_LATE = {
    Kind.LOAD: 2,
    Kind.LOAD_MANY: 2,
    Kind.MUL: 2,
    Kind.MLA: 2,
    Kind.DSP: 2,
    Kind.LONG: 2,
    Kind.LONG_MLA: 2,
}

TIMINGS = {
    timing.core: timing
    for timing in (
        Timing(
            "m0",
            "Cortex-M0 Technical Reference Manual (Arm DDI 0432C), table 3-1",
            "the multiplier of one cycle, not of 32; the middle of the range is the likely place",
            _V6M,
            taken=Range(2, 2),
            far=Range(2, 3),
            likely=0.5,
        ),
        Timing(
            "m0+",
            "Cortex-M0+ Technical Reference Manual (Arm DDI 0484C), table 3-1",
            "the multiplier of one cycle, not of 32; the middle of the range is the likely place",
            _V6M,
            taken=_ONE,
            far=Range(1, 2),
            likely=0.5,
        ),
        Timing(
            "m3",
            "Cortex-M3 Technical Reference Manual (Arm DDI 0337I), table 3-1 and load/store timings",
            "the likely place in the range is that of an M4 with CoreMark",
            _V7M
            | {
                Kind.MLA: Range(2, 2),
                Kind.LONG: Range(3, 5),
                Kind.LONG_MLA: Range(4, 7),
            },
            taken=Range(1, 3),
            far=Range(1, 3),
            likely=0.15,
            unaligned_target=1,
            pipelines=True,
            late_addresses=_ONE,
        ),
        Timing(
            "m4",
            "Cortex-M4 Technical Reference Manual (Arm 100166), table 3-1 and load/store timings",
            "the likely place in the range is that of CoreMark; no floating point but of 1 to 3 cycles",
            _V7M,
            taken=Range(1, 3),
            far=Range(1, 3),
            likely=0.15,
            unaligned_target=1,
            pipelines=True,
            late_addresses=_ONE,
        ),
        Timing(
            "m7",
            "no table of Arm's; LLVM's ARMScheduleM7.td: two instructions at once, products and loads after two cycles "
            "(of words after one at best), divisions of 7 cycles",
            "branches of 0 to 2 cycles more; divisions of 3 cycles at best; nothing paired at worst; the likely place "
            "in the range is that of CoreMark",
            {
                Kind.LOAD_MANY: Range(0, 1),
                Kind.STORE_MANY: Range(0, 1),
                Kind.DIV: Range(3, 7),
                Kind.IT: Range(0, 1),
                Kind.TABLE: Range(2, 2),
            },
            taken=Range(0, 1),
            far=Range(0, 2),
            likely=0.2,
            latencies=_LATE,
            pairs="any",
        ),
        Timing(
            "m33",
            "no table of Arm's; LLVM's ARMScheduleM55.td, of a core that it says is a lot like the M33 in scheduling: "
            "loads and products after two cycles",
            "the M55's pairs of 16 bits at best; an M4's divisions of 2 to 12 cycles; branches of 1 to 3 cycles more; "
            "the likely place in the range is that of CoreMark",
            {
                Kind.LOAD_MANY: Range(0, 1),
                Kind.STORE_MANY: Range(0, 1),
                Kind.DIV: Range(2, 12),
                Kind.IT: Range(0, 1),
                Kind.TABLE: Range(2, 2),
            },
            taken=Range(1, 2),
            far=Range(1, 3),
            likely=0.55,
            latencies=_LATE,
            pairs="narrow",
        ),
        Timing(
            "m55",
            "no table of Arm's; LLVM's ARMScheduleM55.td: loads and products after two cycles, some pairs of 16 bits "
            "at once, two cycles a vector instruction, half of them beside one of another pipe at best",
            "an M4's divisions of 2 to 12 cycles; branches of 1 to 3 cycles more; the likely place in the range makes "
            "it as much faster than the M33 as Arm says",
            {
                Kind.LOAD_MANY: Range(0, 1),
                Kind.STORE_MANY: Range(0, 1),
                Kind.DIV: Range(2, 12),
                Kind.IT: Range(0, 1),
                Kind.LOOP: Range(0, 1),
                Kind.TABLE: Range(2, 2),
                **dict.fromkeys(_VECTORS, Range(2, 2)),
            },
            taken=Range(1, 3),
            far=Range(1, 3),
            likely=0.3,
            latencies=_LATE,
            pairs="narrow",
            beats=True,
        ),
    )
}
# What is assumed of the time of every core; simavr takes an AVR's from its datasheet.
ASSUMED = {core: timing.assumed for core, timing in TIMINGS.items()} | {
    "rv32": "1 to 1.65 cycles an instruction, and CoreMark's 1.32 for all code",
}
