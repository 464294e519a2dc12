"""The table of costs against files whose instructions were counted."""

import pytest

from keras_s4.testing.programs import model, single
from keras_s4.tflite.flatbuffer import read_summary, to_tflite
from keras_s4.tflite.flatbuffer.operators.costs import COSTS, cost_of
from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS

# Instructions of a step on TensorFlow Lite Micro of August 2026 with CMSIS-NN on a Cortex-M4, counted in QEMU.
MEASURED = {
    "fully_connected_int8": 894,
    "fully_connected_int16": 832,
    "affine_int16": 3639,
    "diagonal_step": 18322,
    "diagonal_step_real_poles": 13364,
    "lookup": 1217,
    "multiply_int16": 3092,
    "add": 9384,
    "accumulate": 8697,
    "recent_mean": 38524,
    "sliding_sum": 135125,
    "requantize_int8": 2859,
    "broadcast": 7692,
}
CLASSIFIER = {"inputs": 207394, "variables": 213654}


@pytest.mark.parametrize("name", MEASURED)
def test_of_small_files_come_to_a_tenth(name):
    summary = read_summary(to_tflite(single(name, lowered=True)))
    assert summary.instructions == pytest.approx(MEASURED[name], rel=0.1)


@pytest.mark.parametrize("states", CLASSIFIER)
def test_of_a_classifier_come_to_a_fiftieth(states):
    """Two blocks of 32 channels and 8 modes, as the demo has."""
    program = model(0, 6, 32, 8, 2, 7, lowered=True)
    summary = read_summary(to_tflite(program, states))
    assert summary.instructions == pytest.approx(CLASSIFIER[states], rel=0.02)


def test_every_operator_has_a_cost():
    known = {name.split(" of ")[0].split(" with ")[0] for name in COSTS}
    assert set(OPERATORS) - known == {"MINIMUM"}
    x = Operand((1, 8), "int32")
    assert cost_of(Call("MINIMUM", (x, x), (x,), {})) == cost_of(Call("MAXIMUM", (x, x), (x,), {}))


def test_of_equal_shapes_are_the_least():
    """What the expansions choose by."""
    x, one, row, y = (Operand(shape, "int32") for shape in ((1, 4, 32), (1,), (1, 1, 32), (1, 4, 32)))
    for name in ("ADD", "MUL", "MAXIMUM"):
        equal, uniform, broadcast = (cost_of(Call(name, (x, other), (x,), {})) for other in (y, one, row))
        assert equal < broadcast
        assert name == "MUL" or equal < uniform


def test_are_unknown_of_files_with_a_custom_operator():
    assert read_summary(to_tflite(model(lowered=True), dss="custom")).instructions is None
