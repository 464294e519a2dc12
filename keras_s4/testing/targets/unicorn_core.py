"""Images in Unicorn, which emulates a core without a machine around it."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Sequence

import numpy as np
import unicorn
from unicorn import arm_const

from keras_s4.testing.targets.cores import Core
from keras_s4.testing.targets.image import Image
from keras_s4.tflite.c99.interface import interface_of
from keras_s4.tflite.program.tensors import Tensor

_RAM, _STACK, _PAGE = 1 << 20, 1 << 14, 1 << 12
_BACK = 0x0F00_0000  # to where calls return
_PAINT = 0xA5
_REGISTERS = (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1, arm_const.UC_ARM_REG_R2, arm_const.UC_ARM_REG_R3)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What came out of streams, and what they took.

    Args:
        outputs: for each output of the program, integers `[B, L, ...]`.
        states: for each state, where the streams ended, `[B, ...]`.
        instructions_per_step: the mean over the steps; NaN if they were not counted.
        functions: instructions per step by function, without what it calls.
        operations: instructions per step by operation, named as in the comments of the C file, with what it calls.
        stack_bytes: the deepest use of the stack by a step, without its arguments.
    """

    outputs: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]
    instructions_per_step: float
    functions: dict[str, float]
    operations: dict[str, float]
    stack_bytes: int


def run(
    image: Image,
    inputs: Sequence[np.ndarray],
    starts: Sequence[np.ndarray] | None = None,
    count: bool = True,
    aligned: bool = False,
    every: int = 1,
) -> Run:
    """Run streams, one after the other.

    Args:
        image: for a core that Unicorn has.
        inputs: for each input of the program, integers `[B, L, ...]`.
        starts: for each state where the streams start, `[B, ...]`; a reset when omitted.
        count: whether instructions are counted, which takes most of the time.
        aligned: whether accesses to addresses that are no multiples of their size are errors, as on cores of Armv6-M.
        every: of so many steps the last is asked for outputs; those of the others are given as zeros.

    Raises:
        ValueError: a token number is outside its table.
        RuntimeError: the code writes where it must not, reads where nothing is, or needs an alignment that is missing.
    """
    machine = Machine(image, aligned)
    batch, length = inputs[0].shape[:2]
    outputs = tuple(np.zeros((batch, length, *tensor.shape), tensor.type) for tensor in image.program.outputs)
    ends = tuple(np.zeros((batch, *state.before.shape), state.before.type) for state in image.program.states)
    blocks = _Blocks(image, machine.emulator) if count else None
    for stream in range(batch):
        machine.reset(None if starts is None else [start[stream] for start in starts])
        for step in range(length):
            wanted = step % every == every - 1
            results = machine.step([array[stream, step] for array in inputs], wanted)
            for output, result in zip(outputs, results if wanted else [], strict=wanted):
                output[stream, step] = result
        for end, values in zip(ends, image.states.read(machine.state()[None]), strict=True):
            end[stream] = values[0]
    machine.check_surroundings()
    functions, operations = blocks.per_step(batch * length) if blocks else ({}, {})
    instructions = sum(operations.values()) if blocks else float("nan")
    return Run(outputs, ends, instructions, functions, operations, machine.stack_bytes())


class Machine:
    """A core with flash that cannot be written, and RAM: the state, the inputs and the outputs with paint between them,
    and at its end the stack.

    Args:
        image: what it executes.
        aligned: as for `run`.

    Attributes:
        emulator: of Unicorn.
    """

    def __init__(self, image: Image, aligned: bool):
        self.image = image
        self.emulator = _emulator(image.core)
        core, uc = image.core, self.emulator
        uc.mem_map(core.flash.origin, core.flash.size, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        uc.mem_map(core.ram.origin, _RAM, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        uc.mem_map(_BACK, _PAGE)
        for segment in image.file.iter_segments("PT_LOAD"):
            uc.mem_write(segment["p_paddr"], segment.data())
        uc.mem_write(core.ram.origin, bytes([_PAINT]) * _RAM)
        if aligned:
            uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._check_alignment)
        self._misaligned: str | None = None
        self._stack = core.ram.origin + _RAM - 64
        self._next = core.ram.origin + 64
        self._owned: list[tuple[int, int]] = []
        self._state = self._array(image.state_bytes, 4)
        inputs, outputs = image.program.inputs, image.program.outputs
        self._inputs = [self._array(_size(tensor), np.dtype(tensor.type).itemsize) for tensor in inputs]
        self._outputs = [self._array(_size(tensor), np.dtype(tensor.type).itemsize) for tensor in outputs]
        self._may_refuse = bool(interface_of(image.program).tokens)

    def reset(self, states: Sequence[np.ndarray] | None) -> None:
        """Reset the state, and then set it if states are given."""
        self._call(self.image.reset, [self._state])
        if states is not None:
            struct = self.state()
            self.image.states.write(states, struct)
            self.emulator.mem_write(self._state, struct.tobytes())

    def step(self, inputs: Sequence[np.ndarray], wanted: bool = True) -> list[np.ndarray]:
        """Run a step; returns the outputs, or those of an earlier step if none are wanted."""
        for address, values in zip(self._inputs, inputs, strict=True):
            self.emulator.mem_write(address, np.ascontiguousarray(values).tobytes())
        outputs = self._outputs if wanted else [0] * len(self._outputs)
        self._call(self.image.step.address, [self._state, *self._inputs, *outputs])
        if self._may_refuse and self.emulator.reg_read(_REGISTERS[0]):
            raise ValueError("A token number is outside its table.")
        return [
            np.frombuffer(self.emulator.mem_read(address, _size(tensor)), tensor.type).reshape(tensor.shape)
            for address, tensor in zip(self._outputs, self.image.program.outputs, strict=True)
        ]

    def state(self) -> np.ndarray:
        """The bytes of the state struct."""
        return np.frombuffer(self.emulator.mem_read(self._state, self.image.state_bytes), np.uint8).copy()

    def stack_bytes(self) -> int:
        """The deepest use of the stack so far."""
        start = self._stack - _STACK
        painted = np.frombuffer(self.emulator.mem_read(start, _STACK), np.uint8) == _PAINT
        return _STACK - int(np.argmin(painted)) if not painted.all() else 0

    def check_surroundings(self) -> None:
        """All paint outside of the arrays and the stack is as it was."""
        origin = self.image.core.ram.origin
        ram = np.frombuffer(self.emulator.mem_read(origin, _RAM - _STACK - 64), np.uint8) == _PAINT
        for start, end in self._owned:
            ram[start - origin : end - origin] = True
        if not ram.all():
            raise RuntimeError(f"{self.image.core.name}: a byte at {origin + int(np.argmin(ram)):#x} was written.")

    def _array(self, size: int, alignment: int) -> int:
        """The address of an array that is aligned no better than it must be."""
        address = self._next + alignment
        self._owned.append((address, address + size))
        self._next = (address + size + 64) // 8 * 8
        return address

    def _call(self, function: int, arguments: list[int]) -> None:
        uc = self.emulator
        for register, argument in zip(_REGISTERS, arguments, strict=False):
            uc.reg_write(register, argument)
        uc.mem_write(self._stack, struct.pack(f"<{len(arguments[4:])}I", *arguments[4:]))
        uc.reg_write(arm_const.UC_ARM_REG_SP, self._stack)
        uc.reg_write(arm_const.UC_ARM_REG_LR, _BACK | 1)
        try:
            uc.emu_start(function | 1, _BACK)
        except unicorn.UcError as error:
            place = uc.reg_read(arm_const.UC_ARM_REG_PC)
            raise RuntimeError(f"{self.image.core.name}: {error} at {place:#x}.") from error
        if self._misaligned:
            raise RuntimeError(f"{self.image.core.name}: {self._misaligned}")

    def _check_alignment(self, uc, access, address, size, value, _) -> None:
        if address % min(size, 4) and not self._misaligned:
            place = uc.reg_read(arm_const.UC_ARM_REG_PC)
            self._misaligned = f"an access of {size} bytes to {address:#x} at {place:#x}."


class _Blocks:
    """Counts how often blocks of instructions run, and for whom: a hook for each instruction would take ten times as
    long, and what is in a block can be told from its bytes afterwards. Instructions that an IT block skips count, as
    they do in QEMU: they take a cycle."""

    def __init__(self, image: Image, emulator: unicorn.Uc):
        self.image = image
        self.counts: Counter[tuple[int, int, int]] = Counter()
        self._low, self._high = image.step.address, image.step.address + image.step.size
        self._reset = image.reset
        self._caller = 0
        self._emulator = emulator
        emulator.hook_add(unicorn.UC_HOOK_BLOCK, self._count)

    def _count(self, uc, address: int, size: int, _) -> None:
        if self._low <= address < self._high:
            self._caller = address + size  # the end of the block is the call, if the next one is elsewhere
            self.counts[0, address, size] += 1
        elif address == self._reset:
            self._caller = 0  # what runs until the step begins is not the step's
        elif self._caller:
            self.counts[self._caller, address, size] += 1

    def per_step(self, steps: int) -> tuple[dict[str, float], dict[str, float]]:
        """Instructions a step by function and by operation."""
        functions, operations = Counter(), Counter()
        owners = {
            address: name
            for name, symbol in self.image.functions.items()
            for address in range(symbol.address, symbol.address + symbol.size, 2)
        }
        for (caller, start, size), count in self.counts.items():
            for address in _instructions(self._emulator.mem_read(start, size), start):
                functions[owners.get(address, "?")] += count
                operations[self.image.operation_at(caller - 2 if caller else address)] += count
        return ({name: n / steps for name, n in counts.items()} for counts in (functions, operations))


def _instructions(code: bytes, address: int) -> list[int]:
    """The addresses of the Thumb instructions in a block; from 0b11101 at the top of a half-word on, they have two."""
    halves = struct.unpack(f"<{len(code) // 2}H", code)
    addresses, position = [], 0
    while position < len(halves):
        addresses.append(address + 2 * position)
        position += 2 if halves[position] >> 11 >= 0b11101 else 1
    return addresses


def _emulator(core: Core) -> unicorn.Uc:
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{core.cpu.upper().replace('-', '_')}"))
    return uc


def _size(tensor: Tensor) -> int:
    return np.dtype(tensor.type).itemsize * int(np.prod(tensor.shape))
