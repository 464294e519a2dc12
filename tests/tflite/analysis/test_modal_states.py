"""The states of DiagonalSSM layers in integers, against the emulator and against the layer in float64."""

import keras
import numpy as np
import pytest

from keras_s4.layers import DiagonalSSM
from keras_s4.testing.programs import random_inputs, single
from keras_s4.tflite import analyse, convert
from keras_s4.tflite.analysis.modal_states import analyse_bank, bank_response, banks_of
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.program import Program


@pytest.fixture(scope="module")
def converted():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((80, 3))
    hidden = DiagonalSSM(5, 6, name="first")(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, DiagonalSSM(2, 7, None, name="second")(keras.layers.Activation("gelu")(hidden)))
    x = np.cumsum(np.random.default_rng(0).normal(0.0, 0.3, (12, 80, 3)), axis=1)
    return model, x, convert(model, x)


def test_layers_are_told_as_dss_layers_are(converted):
    model, x, firmware = converted
    analysis = analyse(firmware, x, model)
    assert [layer.name for layer in analysis.layers] == ["first", "second"]
    assert analysis.refusals == []
    assert analysis.predicted == pytest.approx(analysis.measured, abs=6)
    for layer in analysis.layers:
        assert layer.predicted == pytest.approx(layer.measured, abs=6)
        assert layer.measured > 36
        assert layer.states.pole_error.max() < 2.0**-15
        assert layer.states.largest_kernel_error < 0.03
        assert layer.states.headroom("data").min() > 1.0
    assert "first" in str(analysis)
    assert analysis.states_table("second").row_count == 7


def test_response_is_what_the_integers_give(converted):
    """Step by step from the program's own integers, and near the layer's."""
    bank = banks_of(converted[2].program)["second"]
    step, drive, read = bank.step, bank.drive, bank.read
    modes, response = len(step.decay.data), bank_response(bank, 30)
    for index in range(response.shape[1]):
        driven = drive.weights.data[:, index] * drive.weights.scale / drive.output.scale
        gains = step.input_gain.data * driven.reshape(2, modes)
        state, pole = gains[0] + 1j * gains[1], 1.0 + (step.decay.data + 1j * step.rotation.data) / 2.0**15
        for time in range(30):
            hidden = np.concatenate([state.real, state.imag]) * step.state.scale
            expected = read.weights.data @ hidden * read.weights.scale
            np.testing.assert_allclose(response[:, index, time], expected, rtol=1e-9, atol=1e-12)
            state = state * pole
    wanted = converted[0].get_layer("second").system().impulse_response(30)
    assert np.linalg.norm(response - wanted) < 0.03 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["modal_step", "modal_step_fed_back"])
def test_peaks_and_decay_are_those_of_the_emulator(name):
    program = single(name, 3)
    x = random_inputs(program, 3, 60) // 2
    bank = next(iter(banks_of(program).values()))
    step = bank.step
    trace = Emulator(program).trace(x, record=[step.input.name, step.next_state.name]).tensors
    states = analyse_bank(bank, trace[step.input.name], None, 60, steps=300)
    reached = np.abs(trace[step.next_state.name].astype(np.int64)).max(axis=(0, 1, 2))
    np.testing.assert_allclose(states.peaks["data"][0], reached, rtol=0.02)
    assert np.all(states.peaks["data"] <= states.peaks["range"] * (1 + 1e-9))
    assert np.all(states.peaks["range"] <= states.peaks["worst"])
    # Without input, from the same start.
    start = np.zeros((1, *step.state.shape), np.int32)
    start[0, 0] = np.rint(states.peaks["data"][0])
    ends = tuple(state for state in program.states if state.after is step.next_state)
    alone = Program("alone", (step.input,), (step.output,), ends, (step,))
    zeros = np.zeros((1, 300, *step.input.shape), np.int16)
    left = Emulator(alone).trace(zeros, record=[step.next_state.name], states=[start])
    left = left.tensors[step.next_state.name][0, -1].astype(float)
    np.testing.assert_allclose(states.decay[0] * start[0, 0], np.hypot(*left), rtol=1e-9)


def test_of_another_model_is_refused(converted):
    _, x, firmware = converted
    keras.utils.set_random_seed(0)
    other = keras.Sequential([keras.Input((80, 3)), DiagonalSSM(2, 9, None, name="second")])
    with pytest.raises(ValueError, match=r"DiagonalSSM layer '(first|second)' of \d modes.*give the model that was"):
        analyse(firmware, x, other)
