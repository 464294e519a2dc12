"""What the custom operator for S4 blocks refuses, and that the check of files refuses the same."""

import dataclasses

import numpy as np
import pytest
import tflm_stand_in
from block_harness import Node, build, node_of, run
from block_programs import PROGRAMS
from cpp_compiler import needs_compiler

from keras_s4.testing.file_mutations import change_number
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.flatbuffer.custom_operator.checks import check_block
from keras_s4.tflite.flatbuffer.custom_operator.instructions import (
    OFFSET_BITS,
    WORDS,
    Code,
    Instruction,
    instructions_of,
)
from keras_s4.tflite.flatbuffer.operators.operands import Operand


def changed(node: Node, place: str, index: int, value) -> Node:
    """A node with another number in its options, or with another tensor."""
    if place == "options":
        numbers = np.frombuffer(node.options, "<i4").copy()
        numbers[index] = value
        return dataclasses.replace(node, options=numbers.tobytes())
    tensors = list(getattr(node, place))
    tensors[index] = value
    return dataclasses.replace(node, **{place: tensors})


@needs_compiler
@pytest.mark.parametrize(
    ("place", "index", "value", "message"),
    [
        ("options", 0, 1, "options of another version"),
        ("options", 1, -1, "the number of ends"),
        ("options", 3, 16, "the number of ends"),
        ("options", 1, 2, "another number of tensors"),
        ("options", 4, -1, "the size of the scratch memory"),
        ("options", 4, 2**24, "the size of the scratch memory"),
        ("options", 4, 4, "an instruction"),
        ("inputs", 0, ("int16", bytes(8)), "an instruction"),
        ("inputs", 1, ("int16", bytes(760)), "a state"),
        ("inputs", 1, ("int32", bytes(756)), "a state"),
        ("inputs", 2, ("int32", bytes(4)), "the instructions"),
        ("inputs", 2, ("int32", b""), "the instructions"),
        ("inputs", 2, ("int32", bytes(88)), "an instruction"),
        ("inputs", 3, ("int8", bytes(8)), "the constants"),
        ("inputs", 3, ("uint8", bytes(8)), "an instruction"),
        ("outputs", 0, ("int32", bytes(8)), "an instruction"),
        ("outputs", 2, ("int32", bytes(8)), "a state"),
    ],
)
def test_what_the_kernel_would_trip_over_is_refused(any_harness, place, index, value, message):
    node = changed(node_of(to_tflite(PROGRAMS["S4 block"], dss="custom")), place, index, value)
    done = run(any_harness, node.message())
    assert done.returncode == 3
    assert done.stderr.decode() == f"KERAS_S4_BLOCK does not know {message} of this file."


@needs_compiler
def test_files_without_options_or_with_tensors_missing_are_refused(any_harness):
    node = node_of(to_tflite(PROGRAMS["int8"], dss="custom"))
    for broken, message in [
        (dataclasses.replace(node, options=b""), "options of another version"),
        (dataclasses.replace(node, inputs=node.inputs[:-1]), "another number of tensors"),
        (dataclasses.replace(node, outputs=node.outputs[:-1]), "another number of tensors"),
    ]:
        done = run(any_harness, broken.message())
        assert (done.returncode, message in done.stderr.decode()) == (3, True)


def operands_of(node: Node) -> tuple[list[Operand], list[Operand]]:
    """The tensors of an operator as the checks of files see them; the last two inputs are constants."""

    def operand(type: str, content: bytes, constant: bool) -> Operand:
        values = np.frombuffer(content, type)
        return Operand(values.shape, type, data=values if constant else None)

    last = len(node.inputs) - 2
    inputs = [operand(*tensor, index >= last) for index, tensor in enumerate(node.inputs)]
    return inputs, [operand(*tensor, False) for tensor in node.outputs]


def passes(node: Node) -> bool:
    """Whether the check of files lets an operator pass."""
    try:
        check_block(*operands_of(node), node.options)
    except ValueError:
        return False
    return True


@needs_compiler
@pytest.mark.parametrize("name", ["S4 block", "S4 block of int16, of steps", "block of modes, of steps"])
def test_altered_instructions_are_refused_by_both_or_harmless(tmp_path, name):
    """The kernel and the check of files agree; what both let pass stays in its memory."""
    harness = build(tmp_path, tflm_stand_in.OLDER, ["-g", "-fsanitize=address"])
    node, random = node_of(to_tflite(PROGRAMS[name], dss="custom")), np.random.default_rng(1)
    state = len(node.inputs) - 3
    words = np.frombuffer(node.inputs[-2][1], "<i4")
    steps = b"".join(random.bytes(len(content)) for _, content in node.inputs[:-2])
    outcomes = []
    for seed in range(240):
        altered = words.copy()
        place = int(random.integers(len(altered)))
        altered[place] = change_number(int(altered[place]), np.random.default_rng(seed)) & 0x7FFFFFFF
        other = changed(node, "inputs", -2, ("int32", altered.tobytes()))
        done = run(harness, other.message(steps))
        assert done.returncode == (0 if passes(other) else 3), (words[place], altered[place], place % WORDS)
        outcomes.append(done.returncode)
    assert state >= 1
    assert min(outcomes.count(0), outcomes.count(3)) > 40


@needs_compiler
@pytest.mark.parametrize(
    ("place", "offset", "value"),
    [(0, 14, 3), (0, 14, 2), (0, -2, 0), (0, -2, 1), (2, 0, 0), (2, 0, 63)],
    ids=["ends early", "ends by halves", "does not end", "ends its kind", "shifts not", "shifts too far"],
)
def test_constants_that_would_lead_the_kernel_astray_are_refused(any_harness, place, offset, value):
    """Channels that end elsewhere than with their last mode, and shifts by fewer bits than one or by too many."""
    node = node_of(to_tflite(PROGRAMS["S4 block"], dss="custom"))
    step = instruction_of(node, Code.DIAGONAL)
    constants = bytearray(node.inputs[-1][1])
    first = step.constants[place] % 2**OFFSET_BITS
    constants[first + offset + (16 * step.inner * step.outer if offset < 0 else 0)] = value
    altered = changed(node, "inputs", -1, ("uint8", bytes(constants)))
    assert passes(node)
    assert not passes(altered)
    assert run(any_harness, altered.message()).returncode == 3


def instruction_of(node: Node, code: Code) -> Instruction:
    """The only instruction of a code."""
    (found,) = (each for each in instructions_of(np.frombuffer(node.inputs[-2][1], "<i4")) if each.code == code)
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("word", "value", "holds"),
    [
        (2, 0, True),
        (2, 1, False),
        (2, -(2**16), True),
        (2, -(2**16) - 1, False),
        (3, 2**15 - 1, True),
        (3, 2**15, False),
        (3, 1 - 2**15, True),
        (3, -(2**15), False),
        (3, -(2**31), False),
    ],
)
def test_poles_with_which_sums_of_a_bank_might_leave_32_bits_are_refused(any_harness, word, value, holds):
    """Of any mode, here of one that is fed back; gains may be all there are."""
    node = node_of(to_tflite(PROGRAMS["bank, fed back"], dss="custom"))
    step, constants = instruction_of(node, Code.MODAL), np.frombuffer(node.inputs[-1][1], "<i4").copy()
    words = constants[step.constants[0] % 2**OFFSET_BITS // 4 :][: 4 * step.inner].reshape(-1, 4)
    words[:, :2] = -(2**31), 2**31 - 1
    words[-1, word] = value
    altered = changed(node, "inputs", -1, ("uint8", constants.tobytes()))
    assert passes(altered) == holds
    random = np.random.default_rng(0)
    steps = [b"".join(random.bytes(len(content)) for _, content in node.inputs[:-2]) for _ in range(50)]
    done = run(any_harness, altered.message(*steps))
    assert done.returncode == (0 if holds else 3), done.stderr


@needs_compiler
@pytest.mark.parametrize(
    ("field", "value", "holds"),
    [
        ("outer", 5, True),
        ("outer", 6, False),
        ("outer", -1, False),
        ("gain_b", 0, False),
        ("gain_b", 2, False),
        ("gain_b", -1, False),
        ("inner", 0, False),
        ("inner", 1, False),
        ("inner", 2**16, False),
        ("count", 10, True),
        ("count", 15, False),
        ("count", 40, False),
        ("count", 0, False),
    ],
)
def test_numbers_of_a_bank_that_its_kernel_does_not_know_are_refused(any_harness, field, value, holds):
    """Of 5 modes in a block of 3 steps, of which 2 are fed back."""
    node = node_of(to_tflite(PROGRAMS["block of modes, of steps"], dss="custom"))
    instructions = instructions_of(np.frombuffer(node.inputs[-2][1], "<i4"))
    (place,) = (index for index, each in enumerate(instructions) if each.code == Code.MODAL)
    instructions[place] = dataclasses.replace(instructions[place], **{field: value})
    words = np.concatenate([each.words() for each in instructions])
    altered = changed(node, "inputs", -2, ("int32", words.tobytes()))
    assert passes(altered) == holds
    step = b"".join(content for _, content in node.inputs[:-2])
    assert run(any_harness, altered.message(step)).returncode == (0 if holds else 3)
