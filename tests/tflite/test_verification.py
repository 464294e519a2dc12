import dataclasses
import json

import numpy as np
import pytest

from keras_s4.tflite import verify
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.operations import FullyConnected


@pytest.fixture(scope="module")
def verification(converted, reduced_model, test_windows):
    return verify(converted, reduced_model, *test_windows)


def test_emulator_and_tflm_are_equal_in_every_bit(verification, test_windows):
    assert verification.bit_exact, verification.first_difference
    assert verification.steps == test_windows[0].shape[0] * test_windows[0].shape[1]


def test_every_stage_has_its_accuracy(verification):
    assert list(verification.accuracy) == ["keras", "streamed", "emulator", "tflm", "tensorflow"]
    assert verification.agreement["streamed"] == 1.0
    assert verification.streamed_deviation < 1e-5
    assert verification.accuracy["tflm"] == verification.accuracy["emulator"]
    assert verification.accuracy["keras"] > 0.8


def test_printed_and_as_json(verification):
    figures = json.loads(json.dumps(verification.figures()))
    assert figures["bit_exact"] is True
    assert "emulator and TFLM: equal in all 5,760 steps" in str(verification)


def test_first_difference_is_found(converted, reduced_model, test_windows):
    """The file of a program with one changed bias against the emulator of the unchanged one."""
    operations = list(converted.program.operations)
    index = max(index for index, operation in enumerate(operations) if isinstance(operation, FullyConnected))
    head = operations[index]
    bias = dataclasses.replace(head.bias, data=head.bias.data + np.int32(100_000))
    operations[index] = dataclasses.replace(head, bias=bias)
    changed = dataclasses.replace(converted.program, operations=tuple(operations))
    tampered = dataclasses.replace(converted, tflite=to_tflite(changed))
    x, y = test_windows
    verification = verify(tampered, reduced_model, x[:2], y[:2])
    assert not verification.bit_exact
    assert "head/product" in verification.first_difference
    assert "at step 0: emulator" in verification.first_difference


def test_data_and_labels_must_match(converted, reduced_model, test_windows):
    x, y = test_windows
    with pytest.raises(ValueError, match="got 0 sequences"):
        verify(converted, reduced_model, x[:0], y[:0])
    with pytest.raises(ValueError, match="got 4 sequences and 3 labels"):
        verify(converted, reduced_model, x[:4], y[:3])
