import dataclasses
import json
import re

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, random_inputs, single
from keras_s4.tflite import verify
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.operations import Affine, DiagonalStep, FullyConnected, ModalStep, Requantize
from keras_s4.tflite.verification.first_difference import find_differing_tensor, tensors_of_file


def changed(program, index, field, by):
    """The program with a constant of one operation changed."""
    operations = list(program.operations)
    constant = getattr(operations[index], field)
    moved = dataclasses.replace(constant, data=(constant.data + by).astype(constant.type))
    operations[index] = dataclasses.replace(operations[index], **{field: moved})
    return dataclasses.replace(program, operations=tuple(operations))


@pytest.fixture(scope="module")
def verification(converted, reduced_model, test_windows):
    return verify(converted, reduced_model, *test_windows)


def test_emulator_and_tflm_are_equal_in_every_bit(verification, test_windows):
    assert verification.bit_exact, verification.first_difference
    assert verification.steps == test_windows[0].shape[0] * test_windows[0].shape[1]


def test_every_stage_has_its_accuracy(verification):
    assert list(verification.accuracy) == ["keras", "streamed", "emulator", "tflm", "c", "tensorflow"]
    assert verification.agreement["streamed"] == 1.0
    assert verification.streamed_deviation < 1e-5
    assert verification.accuracy["tflm"] == verification.accuracy["emulator"]
    assert verification.accuracy["keras"] > 0.8


def test_printed_and_as_json(verification):
    figures = json.loads(json.dumps(verification.figures()))
    assert figures["bit_exact"] is True
    assert "emulator, TFLM and C: equal in all 5,760 steps" in str(verification)


def test_first_difference_is_found(converted, reduced_model, test_windows):
    """The file of a program with one changed bias against the emulator of the unchanged one."""
    operations = converted.program.operations
    head = max(index for index, operation in enumerate(operations) if isinstance(operation, FullyConnected))
    other = changed(converted.program, head, "bias", 100_000)
    tampered = dataclasses.replace(converted, tflite=to_tflite(other))
    x, y = test_windows
    verification = verify(tampered, reduced_model, x[:2], y[:2])
    assert not verification.bit_exact
    assert verification.first_difference.startswith("head/product[0] of sequence 0 at step 0: emulator")
    assert "tensor that differs is head/product[0] at step 0, which FullyConnected" in verification.first_difference


def test_data_and_labels_must_match(converted, reduced_model, test_windows):
    x, y = test_windows
    with pytest.raises(ValueError, match=r"expected .*, at least one sequence and one step"):
        verify(converted, reduced_model, x[:0], y[:0])
    with pytest.raises(ValueError, match="got 4 of x, 3 of y; expected as many"):
        verify(converted, reduced_model, x[:4], y[:3])


@pytest.mark.parametrize("states", ["inputs", "variables"])
@pytest.mark.parametrize(("kind", "field", "by"), [(Affine, "offset", 5_000_000), (DiagonalStep, "feedthrough", 9_000)])
def test_first_tensor_inside_is_named(converted, test_windows, kind, field, by, states):
    """The emulator runs a program with one changed constant, which changes all that follows."""
    program, sequence = converted.program, [converted.quantize(test_windows[0])[0]]
    place = max(index for index, operation in enumerate(program.operations) if isinstance(operation, kind))
    found = find_differing_tensor(to_tflite(program, states), changed(program, place, field, by), sequence, 59)
    name = re.escape(program.operations[place].output.name)
    assert re.match(rf"The first tensor that differs is {name}\[\d+\] at step 0, which {kind.__name__} writes", found)


def test_search_ends_at_the_step_of_the_first_difference(converted, test_windows):
    """A product of another weight differs as soon as its input is not zero."""
    program, sequence = converted.program, np.zeros((9, 3), np.int16)
    sequence[6:] = converted.quantize(test_windows[0])[0, :3]
    place = next(index for index, operation in enumerate(program.operations) if isinstance(operation, FullyConnected))
    weights = program.operations[place].weights
    other = changed(program, place, "weights", np.where(weights.data > 0, -1, 1).astype(np.int8))
    tflite = to_tflite(program)
    assert "encoder/product" in find_differing_tensor(tflite, other, [sequence], 8)
    assert "at step 6, which FullyConnected" in find_differing_tensor(tflite, other, [sequence], 8)
    assert find_differing_tensor(tflite, other, [sequence], 5).startswith("No tensor inside differs")


@pytest.mark.parametrize("states", ["inputs", "variables"])
@pytest.mark.parametrize("name", SINGLE)
def test_tensors_of_a_file_are_those_of_the_emulator(name, states):
    """An equal program has no differing tensor inside: each is found in the file, under its own name."""
    program = single(name)
    tflite, inputs = to_tflite(program, states), random_inputs(program, 1, 3)
    computed = {tensor.name for operation in program.operations for tensor in operation.writes()}
    hidden = {
        operation.hidden.name for operation in program.operations if isinstance(operation, (DiagonalStep, ModalStep))
    }
    as_they_are = {
        operation.output.name
        for operation in program.operations
        if isinstance(operation, Requantize) and operation.input in program.inputs
    }
    assert computed - set(tensors_of_file(tflite, program)) <= hidden | as_they_are
    sequence = [array[0] for array in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
    assert find_differing_tensor(tflite, program, sequence, 2).startswith("No tensor inside differs")


def test_tensors_of_a_block_are_those_of_the_emulator(converted, test_windows):
    program = in_blocks(converted.program, 4)
    sequence = [converted.quantize(test_windows[0])[0].reshape(15, 4, 3)]
    assert "block_2/dss/partial" in tensors_of_file(to_tflite(program), program)
    assert find_differing_tensor(to_tflite(program), program, sequence, 14).startswith("No tensor inside differs")


def test_a_file_of_another_program_cannot_be_looked_into():
    other = to_tflite(single("lookup"))
    with pytest.raises(ValueError, match="other operators than the program"):
        tensors_of_file(other, single("squash"))


def test_table_of_the_layers(verification):
    """In the order of the program, below what the comparison of the stages shows."""
    inside = ["normalization", "dss", "activation", "value", "gate"]
    blocks = [[*(f"block_{number}/{name}" for name in inside), f"block_{number}"] for number in (1, 2)]
    assert list(verification.layers) == ["encoder", *blocks[0], *blocks[1], "pooling", "head"]
    rows = str(verification).splitlines()[-len(verification.layers) :]
    for row, (name, ratio) in zip(rows, verification.layers.items(), strict=True):
        assert row.split() == [name, f"{ratio:.1f}"]
