"""The emulator and TensorFlow Lite Micro agree in every bit of every output and state; TensorFlow nearly does."""

import sys

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, full_range, model, random_inputs, single
from keras_s4.tflite import runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.operations import FullyConnected, ModalStep
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.runtimes import TensorFlowRunner, TflmRunner, measure_arena, run_tflm


def stream(program: Program, batch: int, length: int, seed: int) -> np.ndarray:
    return random_inputs(program, batch, length, seed)


def emulate(program: Program, x: np.ndarray, states=None) -> tuple[tuple[np.ndarray, ...], list[np.ndarray]]:
    names = [state.after.name for state in program.states]
    trace = Emulator(program).trace(x, record=names, states=states)
    return trace.outputs, [trace.tensors[name] for name in names]


def assert_equal(program: Program, x: np.ndarray, states=None):
    outputs, trajectories = run_tflm(to_tflite(program), x, states=states, keep_states=True)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    expected, expected_trajectories = emulate(program, x, states)
    for ours, theirs in zip((*outputs, *trajectories), (*expected, *expected_trajectories), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


class TestTensorFlowLiteMicro:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", SINGLE)
    def test_each_operation(self, name, seed):
        program = single(name, seed)
        assert_equal(program, stream(program, 2, 120, seed))

    @pytest.mark.parametrize(
        ("seed", "options"),
        [
            (0, {}),
            (1, {"channels": 1, "modes": 1, "classes": 1, "features": 1}),
            (2, {"channels": 5, "modes": 3, "blocks": 3}),
            (3, {"channels": 32, "modes": 8, "blocks": 2}),
        ],
    )
    def test_models(self, seed, options):
        program = model(seed, **options)
        assert_equal(program, stream(program, 1, 300, seed))

    def test_states_of_the_full_range(self):
        """The hidden state saturates, and sums wrap: on both sides alike."""
        program = model(4)
        random = np.random.default_rng(0)
        states = [full_range(random, (2, *state.before.shape), "int32") for state in program.states]
        assert_equal(program, stream(program, 2, 50, 5), states)

    def test_constant_inputs(self):
        program = model(6)
        x = np.full((1, 200, *program.inputs[0].shape), np.iinfo("int16").min, np.int16)
        assert_equal(program, x)


class TestTensorFlow:
    @pytest.mark.parametrize("name", [*SINGLE, "model"])
    def test_agrees_but_for_the_rounding_of_dense_layers(self, name):
        program = model() if name == "model" else single(name)
        x = stream(program, 1, 80, 0)
        outputs, trajectories = TensorFlowRunner(to_tflite(program)).run(x, keep_states=True)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        expected, expected_trajectories = emulate(program, x)
        # Differences of 1 pass through tables and states; those that drive a bank of modes add up in it.
        drives = any(isinstance(operation, ModalStep) for operation in program.operations)
        passed_on = drives or name == "model"
        for ours, theirs in zip(outputs, expected, strict=True):
            difference = np.abs(ours.astype(int) - theirs)
            if passed_on:
                assert np.mean(difference) < (4 if drives else 1)
            else:
                dense = any(isinstance(operation, FullyConnected) for operation in program.operations)
                assert difference.max() <= (1 if dense else 0)
        if not passed_on:
            for ours, theirs in zip(trajectories, expected_trajectories, strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def program():
    return model()


class TestRunner:
    def test_step_feeds_states_back_and_reset_zeroes_them(self, program):
        runner, x = TflmRunner(to_tflite(program)), stream(program, 1, 20, 0)
        expected = Emulator(program).run(x)[0]
        for _ in range(2):
            for index, sample in enumerate(x[0]):
                np.testing.assert_array_equal(runner.step(sample)[0], expected[index])
            assert any(state.any() for state in runner.states)
            runner.reset()

    def test_states_can_be_saved_and_restored(self, program):
        runner, x = TflmRunner(to_tflite(program)), stream(program, 1, 20, 0)[0]
        for sample in x[:10]:
            runner.step(sample)
        saved = runner.states
        first = [runner.step(sample)[0] for sample in x[10:]]
        runner.states = saved
        np.testing.assert_array_equal([runner.step(sample)[0] for sample in x[10:]], first)

    def test_reports_progress(self, program):
        calls = []
        run_tflm(to_tflite(program), stream(program, 3, 4, 0), progress=lambda *numbers: calls.append(numbers))
        assert calls == [(4, 12), (8, 12), (12, 12)]

    def test_refuses_other_shapes_and_types(self, program):
        runner = TflmRunner(to_tflite(program))
        with pytest.raises(ValueError, match=r"expected int16\[3\]"):
            runner.step(np.zeros(4, np.int16))
        with pytest.raises(ValueError, match=r"received float64"):
            runner.step(np.zeros(3))
        with pytest.raises(ValueError, match="Received 2 inputs"):
            runner.step(np.zeros(3, np.int16), np.zeros(3, np.int16))
        with pytest.raises(ValueError, match=r"expected \[B, L, H\]"):
            runner.run(np.zeros((4, 3), np.int16))

    def test_refuses_damaged_files_before_the_runtime_sees_them(self, program, monkeypatch):
        monkeypatch.setattr(runtimes, "load_tflm", lambda: pytest.fail("the runtime was asked"))
        data = to_tflite(program)
        for damaged in (data[:100], data[:-1], b"", data[:50] + b"\xff" + data[51:]):
            with pytest.raises(ValueError, match=r"damaged \.tflite"):
                run_tflm(damaged, stream(program, 1, 1, 0))

    def test_says_what_to_install(self, program, monkeypatch):
        monkeypatch.setitem(sys.modules, "tflite_micro", None)
        with pytest.raises(ImportError, match="pip install tflite-micro"):
            TflmRunner(to_tflite(program))


class TestArena:
    def test_of_two_blocks_of_32_channels_and_8_states(self):
        """What the demonstration's model must fit; the bisected number is one that runs, and 64 bytes less do not."""
        data = to_tflite(model(features=6, channels=32, modes=8, blocks=2, classes=7))
        size = measure_arena(data)
        assert size <= 24 * 1024
        TflmRunner(data, size)
        with pytest.raises(ValueError, match="see `measure_arena`"):
            TflmRunner(data, size - 64)

    def test_never_crashes_the_process(self):
        with pytest.raises(ValueError, match="expected at least"):
            TflmRunner(to_tflite(model()), 100)
