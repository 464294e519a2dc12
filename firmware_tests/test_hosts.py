"""The C on this computer of 64 bits: at all levels of optimisation, from any state."""

import struct

import numpy as np
import pytest

from keras_s4.testing.programs import single
from keras_s4.testing.targets import from_any_state, from_reset
from keras_s4.tflite.c99 import CRunner

LEVELS = [("-O0",), ("-Os",), ("-O3", "-funroll-loops", "-fno-strict-aliasing")]
OPERATIONS = ["diagonal_step", "diagonal_step_real_poles", "modal_step", "modal_step_fed_back"]
OPERATIONS += ["recent_mean", "sliding_sum"]


def assert_equal(program, vectors, flags):
    runner = CRunner(program, flags)
    outputs, states = runner.run(vectors.inputs, states=vectors.starts, keep_states=True)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for ours, theirs in zip(outputs, vectors.outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(states, vectors.ends, strict=True):
        np.testing.assert_array_equal(ours[:, -1], theirs)


@pytest.mark.skipif(struct.calcsize("P") != 8, reason="a computer of 32 bits")
@pytest.mark.parametrize("flags", LEVELS, ids=" ".join)
def test_a_model_on_64_bits(random_program, flags):
    assert_equal(random_program, from_any_state(random_program), flags)
    assert_equal(random_program, from_reset(random_program), flags)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_with_states(name):
    program = single(name, 1, lowered=True)
    assert_equal(program, from_any_state(program), ("-O3",))
