"""What the kernel of KERAS_S4_BLOCK demands of its tensors, instructions and options; see the package."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from keras_s4.tflite.flatbuffer.custom_operator.expansion import LAYOUT_VERSION, OPTIONS
from keras_s4.tflite.flatbuffer.custom_operator.instructions import (
    CONSTANT,
    FIRST_END,
    MEMORY,
    MOST_COUNT,
    MOST_ENDS,
    MOST_SIZE,
    OFFSET_BITS,
    SCRATCH,
    Code,
    Instruction,
    instructions_of,
)
from keras_s4.tflite.flatbuffer.operators.operands import Operand
from keras_s4.tflite.program.dense_kernel import MOST_RIGHT
from keras_s4.tflite.program.diagonal_kernel import LAST, Form, is_outside

MOST_SCRATCH = 2**OFFSET_BITS - 1


def check_block(inputs: Sequence[Operand], outputs: Sequence[Operand], options: bytes) -> None:
    """Refuse an operator that the kernel would refuse or could not compute.

    Args:
        inputs: operands of which the last two are constants: instructions and what they read.
        outputs: operands.
        options: the operator's options as bytes.

    Raises:
        ValueError: anything that it would refuse.
    """
    if len(options) != struct.calcsize(OPTIONS):
        raise ValueError(f"KERAS_S4_BLOCK has {len(options)} bytes of options; expected {struct.calcsize(OPTIONS)}.")
    version, samples, states, results, scratch = struct.unpack(OPTIONS, options)
    if version != LAYOUT_VERSION:
        raise ValueError(f"KERAS_S4_BLOCK has options of version {version}; expected {LAYOUT_VERSION}.")
    counts = min(samples, states, results) >= 0 and samples + 2 * states + results <= MOST_ENDS
    if not counts or (len(inputs), len(outputs)) != (samples + states + 2, results + states):
        raise ValueError(
            f"KERAS_S4_BLOCK of {samples} inputs, {states} states and {results} outputs was given {len(inputs)} and "
            f"{len(outputs)} tensors."
        )
    if not 0 <= scratch <= MOST_SCRATCH:
        raise ValueError(f"KERAS_S4_BLOCK has {scratch} bytes of scratch memory; expected 0 to {MOST_SCRATCH}.")
    for before, after in zip(inputs[samples : samples + states], outputs[results:], strict=True):
        if (before.shape, before.type) != (after.shape, after.type) or before.type != "int32":
            raise ValueError(f"KERAS_S4_BLOCK takes a state from {list(before.shape)} to {list(after.shape)}.")
    constants = np.asarray(inputs[-1].values, np.uint8)
    sizes = [scratch, len(constants), *map(_bytes_of, (*inputs[:-2], *outputs))]
    first_output = FIRST_END + samples + states
    for instruction in instructions_of(inputs[-2].values):
        _check_numbers(instruction)
        for memory in MEMORY[instruction.code]:
            _check_memory(instruction, memory, sizes, first_output, first_output + results)
        if instruction.code == Code.DIAGONAL:
            _check_channels(instruction, constants)
        if instruction.code == Code.MODAL:
            _check_modes(instruction, constants)


def _bytes_of(operand: Operand) -> int:
    return math.prod(operand.shape) * np.dtype(operand.type).itemsize


def _check_numbers(instruction: Instruction) -> None:
    """The numbers that lead the kernel through its arrays, and the shifts."""
    code, inner, outer = instruction.code, instruction.inner, instruction.outer
    types = instruction.type_a, instruction.type_out, instruction.type_b
    joined = code in (Code.MULTIPLY, Code.ADD, Code.MAXIMUM, Code.MINIMUM)
    once = 1 <= instruction.shift <= 62
    twice = -31 <= instruction.shift <= 30
    holds = 0 < instruction.count <= MOST_COUNT and 0 <= inner <= MOST_SIZE and 0 <= outer <= MOST_SIZE
    match code:
        case Code.AFFINE:
            holds = holds and set(types[:2]) <= {1, 2, 4} and inner > 0 and instruction.count % inner == 0 and twice
        case Code.DENSE:
            holds = holds and inner > 0 and outer > 0 and instruction.count % outer == 0 and _is_dense(instruction)
        case Code.LINES:
            holds = holds and 7 <= inner <= 15 and once
        case Code.SIGMOID | Code.TANH:
            holds = holds and instruction.gain_a in (3, 6)
        case Code.DIAGONAL:
            holds = holds and inner > 0 and outer > 0 and instruction.count % outer == 0
            holds = holds and instruction.type_out in (1, 2) and twice and instruction.gain_b in set(Form)
        case Code.MODAL:
            # Clamped or not; what is not clamped is not fed back.
            holds = holds and inner > 0 and instruction.count % (2 * inner) == 0
            holds = holds and instruction.gain_b in (0, 1) and outer <= inner * instruction.gain_b
    if joined:
        holds = holds and set(types) <= {1, 2, 4} and twice and (code == Code.ADD or instruction.type_out == 4)
    if not holds:
        raise ValueError(f"KERAS_S4_BLOCK has numbers that its kernel does not know in {instruction}.")


def _is_dense(instruction: Instruction) -> bool:
    """Whether a kernel takes such a matrix, with such a shift."""
    if instruction.type_a not in (1, 2) or instruction.type_b not in (0, 1):
        return False
    if instruction.type_b:
        return instruction.outer >= 4 and (1 <= instruction.shift <= MOST_RIGHT or instruction.type_a == 2)
    return -31 <= instruction.shift <= 30 if instruction.type_a == 1 else 1 <= instruction.shift <= 62


def _check_memory(instruction: Instruction, memory, sizes: list[int], first_output: int, first_state: int) -> None:
    """An array lies in a memory where it may, whole, and where its values may begin."""
    address = memory.address(instruction)
    where, offset = address >> OFFSET_BITS, address % 2**OFFSET_BITS
    bytes = memory.bytes(instruction)
    may = {
        "read": where >= 0,
        "write": where == SCRATCH or first_output <= where < first_state,
        "constant": where == CONSTANT,
        "state": where >= first_state and offset == 0,
        "scratch": where == SCRATCH,
    }[memory.use]
    if not (may and 0 <= where < len(sizes)) or offset % min(bytes, 4):
        raise ValueError(f"KERAS_S4_BLOCK has a {memory.use} address {address} in {instruction}.")
    if offset + memory.values(instruction) * bytes > sizes[where]:
        raise ValueError(f"KERAS_S4_BLOCK leaves a memory of {sizes[where]} bytes in {instruction}.")


def _check_channels(instruction: Instruction, constants: np.ndarray) -> None:
    """Each channel ends with its last mode, and has a shift: kernels on cores with DSP go by such marks."""
    modes = instruction.inner * instruction.outer
    marks = _words(instruction, constants, modes)[:, 3] >> 16
    last = np.arange(modes) % instruction.inner == instruction.inner - 1
    if np.any((marks & LAST == LAST) != last) or np.any(marks & LAST == LAST - 1):
        raise ValueError("KERAS_S4_BLOCK has channels that end elsewhere than with their last mode.")
    start = instruction.constants[2] % 2**OFFSET_BITS
    shifts = constants[start : start + instruction.outer]
    if not (min(shifts) >= 1 and max(shifts) <= 62):
        raise ValueError("KERAS_S4_BLOCK shifts sums of channels by other than 1 to 62 bits.")


def _check_modes(instruction: Instruction, constants: np.ndarray) -> None:
    """Poles are such that no sum of what is fed back leaves 32 bits."""
    *_, decay, rotation = _words(instruction, constants, instruction.inner).T
    if is_outside(decay, rotation):
        raise ValueError("KERAS_S4_BLOCK has modes with poles outside the unit circle.")


def _words(instruction: Instruction, constants: np.ndarray, modes: int) -> np.ndarray:
    """The four words of each mode of a step, `[modes, 4]`."""
    start = instruction.constants[0] % 2**OFFSET_BITS
    return constants[start : start + 16 * modes].view("<i4").reshape(modes, 4)
