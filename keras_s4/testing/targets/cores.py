"""The cores of 32 bits that the generated C is tried on, and where their emulators have memory."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Memory:
    """A range of addresses.

    Args:
        origin: the first.
        size: in bytes.
    """

    origin: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.origin + self.size


@dataclasses.dataclass(frozen=True)
class Core:
    """A core with the machine of QEMU that has it.

    Args:
        name: name in tests and budgets.
        cpu: name for compilers.
        flags: further flags of GCC.
        machine: name of QEMU's machine.
        flash: memory for the vector table, code and constants.
        ram: memory for everything else.
        in_unicorn: whether Unicorn has this core, which it calls as Arm does.
        extensions: what Clang does not take for granted in this core.
        architecture: "arm" or "riscv": which start-up code, and which of QEMU's emulators.
    """

    name: str
    cpu: str
    flags: tuple[str, ...]
    machine: str
    flash: Memory
    ram: Memory
    in_unicorn: bool = True
    extensions: str = ""
    architecture: str = "arm"


_KB = 1024
# Of 4 MiB that the boards have there.
_LOW = Memory(0, 1024 * _KB)
_HARD_FLOAT = "-mfloat-abi=hard"

CORES = {
    core.name: core
    for core in (
        Core("m0", "cortex-m0", (), "microbit", Memory(0, 256 * _KB), Memory(0x2000_0000, 16 * _KB)),
        Core("m3", "cortex-m3", (), "mps2-an385", _LOW, Memory(0x2000_0000, 256 * _KB)),
        Core("m4", "cortex-m4", (_HARD_FLOAT, "-mfpu=fpv4-sp-d16"), "mps2-an386", _LOW, Memory(0x2000_0000, 256 * _KB)),
        Core("m7", "cortex-m7", (_HARD_FLOAT, "-mfpu=fpv5-d16"), "mps2-an500", _LOW, Memory(0x2000_0000, 256 * _KB)),
        # Out of reset these two are in the secure state, which sees memory at addresses with bit 28 set.
        Core(
            "m33",
            "cortex-m33",
            (_HARD_FLOAT, "-mfpu=fpv5-sp-d16"),
            "mps2-an505",
            Memory(0x1000_0000, 512 * _KB),
            Memory(0x3800_0000, 256 * _KB),
            extensions="+dsp",
        ),
        Core(
            "m55",
            "cortex-m55",
            (_HARD_FLOAT,),
            "mps3-an547",
            Memory(0x1000_0000, 512 * _KB),
            Memory(0x3000_0000, 256 * _KB),
            in_unicorn=False,
        ),
    )
}

# What an ESP32-C3 has: no instructions for signal processing, and no floating point.
RISCV = Core(
    "rv32imc",
    "rv32imc",
    ("-mabi=ilp32",),
    "virt",
    Memory(0x8000_0000, 512 * _KB),
    Memory(0x8010_0000, 256 * _KB),
    in_unicorn=False,
    architecture="riscv",
)
