"""Files whose states are resource variables do what files with explicit states do, and damaged ones are refused."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_s4 import models
from keras_s4.testing.programs import model, random_inputs, single
from keras_s4.tflite import convert, verify
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import check_tflite, read_summary, to_tflite
from keras_s4.tflite.flatbuffer.operators.table import TENSOR_TYPES
from keras_s4.tflite.flatbuffer.writer import ModelWriter, Quantization
from keras_s4.tflite.program.operations import FullyConnected, Requantize
from keras_s4.tflite.program.program import Program, State
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.tflite.runtimes import TensorFlowRunner, TflmRunner, measure_arena, run_tflm

STEPS = 200


def delay() -> Program:
    """Gives its input of two steps before: states that are read only as an output and as the next value of another."""
    x, copy = (Tensor(name, (4,), "int16", 0.5) for name in ("x", "copy"))
    first, second, unread = (Tensor(name, (4,), "int16", 0.5) for name in ("first", "second", "unread"))
    states = State(second, first), State(first, copy), State(unread, copy)
    return Program("delay", (x,), (second,), states, (Requantize(x, copy),))


@pytest.fixture(scope="module")
def keras_model():
    keras.utils.set_random_seed(0)
    return models.classifier((20, 3), classes=4, channels=4, states=2, blocks=1)


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(8, 20, 3))


@pytest.fixture(scope="module")
def converted(keras_model, data):
    return convert(keras_model, data, states="variables")


@pytest.fixture(scope="module", params=["window", "window_int16", "diagonal_step", "model", "delay", "converted"])
def program(request) -> Program:
    if request.param == "converted":
        return request.getfixturevalue("converted").program
    return {"model": lambda: model(3, blocks=2), "delay": delay}.get(request.param, lambda: single(request.param, 2))()


def outputs_of(runner, samples: np.ndarray) -> list[np.ndarray]:
    """Each output `[L, ...]` of a stream, from where the runner is."""
    steps = [runner.step(sample) for sample in samples]
    return [np.array(values) for values in zip(*steps, strict=True)]


def listed(outputs) -> list[np.ndarray]:
    """What `Runner.run` returns, as a list."""
    return [outputs] if isinstance(outputs, np.ndarray) else list(outputs)


def assert_all_equal(received, expected):
    for ours, theirs in zip(received, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


class TestTensorFlowLiteMicro:
    def test_gives_what_emulator_and_explicit_states_give(self, program):
        x = random_inputs(program, 2, STEPS)
        emulated = Emulator(program).trace(x).outputs
        explicit, inside = (TflmRunner(to_tflite(program, states)) for states in ("inputs", "variables"))
        for stream in range(2):
            expected = [output[stream] for output in emulated]
            assert_all_equal(outputs_of(explicit, x[stream]), expected)
            assert_all_equal(outputs_of(inside, x[stream]), expected)
            explicit.reset()
            inside.reset()

    def test_states_matter_and_stay_without_a_reset(self):
        runner, x = TflmRunner(to_tflite(delay(), "variables")), random_inputs(delay(), 1, 5)[0]
        (received,) = outputs_of(runner, x)
        np.testing.assert_array_equal(received, [*np.zeros((2, 4)), *x[:3]])
        np.testing.assert_array_equal(runner.step(x[0])[0], x[3])

    def test_streams_do_not_mix(self, program):
        x = random_inputs(program, 3, 20, 1)
        assert_all_equal(listed(run_tflm(to_tflite(program, "variables"), x)), Emulator(program).trace(x).outputs)


class TestTensorFlow:
    def test_gives_what_explicit_states_give_in_every_stream(self, program):
        x = random_inputs(program, 2, 40)
        runners = (TensorFlowRunner(to_tflite(program, states)) for states in ("inputs", "variables"))
        explicit, inside = (listed(runner.run(x)) for runner in runners)
        assert_all_equal(inside, explicit)
        if not any(isinstance(operation, FullyConnected) for operation in program.operations):
            assert_all_equal(inside, Emulator(program).trace(x).outputs)


class TestFile:
    def test_has_no_states_among_its_ends_and_lists_the_variables(self, program):
        summary = read_summary(to_tflite(program, "variables"))
        assert (len(summary.inputs), len(summary.outputs)) == (len(program.inputs), len(program.outputs))
        assert not summary.states
        variables = {(v.name, v.type, v.bytes) for v in summary.variables}
        befores = [state.before for state in program.states]
        assert variables == {(t.name, t.type, int(np.prod(t.shape)) * np.dtype(t.type).itemsize) for t in befores}
        assert {"AddCallOnce", "AddVarHandle", "AddReadVariable", "AddAssignVariable"} <= set(summary.registrations)

    def test_of_a_program_without_states_is_the_same_in_both_forms(self):
        assert to_tflite(single("add"), "variables") == to_tflite(single("add"))

    def test_large_zeros_take_no_room(self):
        """Two layers with 4 KB of states."""
        program = model(features=6, channels=32, modes=8, blocks=2, classes=7)
        explicit, inside = (to_tflite(program, states) for states in ("inputs", "variables"))
        assert len(inside) < len(explicit) + 1536
        # The variables are in the arena; what the caller keeps of explicit states is not.
        state_bytes = sum(variable.bytes for variable in read_summary(inside).variables)
        assert state_bytes == 2 * 2048 + 128
        TflmRunner(inside, measure_arena(explicit) + state_bytes)

    def test_another_form_is_refused(self, keras_model, data):
        for refused in (lambda: to_tflite(delay(), "outside"), lambda: convert(keras_model, data, states="outside")):
            with pytest.raises(ValueError, match="states='outside'; expected one of 'inputs', 'variables'"):
                refused()


@pytest.mark.parametrize("runner", [TflmRunner, TensorFlowRunner])
def test_states_cannot_be_read_or_set(runner):
    runner, x = runner(to_tflite(delay(), "variables")), random_inputs(delay(), 1, 2)
    message = 'resource variables inside the interpreter.*states="inputs"'
    with pytest.raises(ValueError, match=message):
        runner.run(x, keep_states=True)
    with pytest.raises(ValueError, match=message):
        runner.run(x, states=[np.zeros((1, 4), np.int16)] * 3)
    with pytest.raises(ValueError, match=message):
        _ = runner.states
    with pytest.raises(ValueError, match=message):
        runner.states = ()


class TestConverted:
    def test_verification_says_that_states_are_inside(self, converted, keras_model, data):
        verification = verify(converted, keras_model, data, np.zeros(len(data), int))
        assert verification.bit_exact
        assert verification.figures()["states_inside"] is True
        assert "equal in all 160 steps (TFLM: outputs only, the states are inside the interpreter)" in str(verification)

    def test_a_difference_is_found_in_the_outputs(self, converted, keras_model, data):
        operations = list(converted.program.operations)
        index = max(index for index, operation in enumerate(operations) if isinstance(operation, FullyConnected))
        head = operations[index]
        bias = dataclasses.replace(head.bias, data=head.bias.data + np.int32(100_000))
        operations[index] = dataclasses.replace(head, bias=bias)
        changed = to_tflite(dataclasses.replace(converted.program, operations=tuple(operations)), "variables")
        tampered = dataclasses.replace(converted, tflite=changed)
        verification = verify(tampered, keras_model, data[:2], np.zeros(2, int))
        assert "at step 0: emulator" in verification.first_difference

    def test_manifest_says_how_states_are_kept(self, converted):
        assert converted.manifest["states_kept_as"] == "variables"
        TflmRunner(converted.tflite, converted.manifest["arena_bytes"])


class File:
    """A file of one variable that is right unless a test changes its steps."""

    def __init__(self, other_name: str = "other", start: int = 0):
        self.writer = ModelWriter()
        self.once = self.writer.subgraph()
        self.x = self.writer.tensor((1, 4), "int8", Quantization((0.5,)))
        self.wide, self.before, self.after = (self.writer.tensor((1, 4), "int32") for _ in range(3))
        self.handles = [self.writer.tensor((1,), "resource") for _ in range(2)]
        self.other_name, self.start = other_name, start

    def add(self, step: str) -> None:
        writer, types = self.writer, (TENSOR_TYPES["int8"], TENSOR_TYPES["int32"])
        match step:
            case "call":
                writer.operator("CALL_ONCE", [], subgraph=1)
            case "handle":
                writer.operator("VAR_HANDLE", [], self.handles[0], shared_name="state")
            case "other handle":
                writer.operator("VAR_HANDLE", [], self.handles[1], shared_name=self.other_name)
            case "read":
                writer.operator("READ_VARIABLE", self.handles[:1], self.before)
            case "add":
                writer.operator("CAST", [self.x], self.wide, input_type=types[0], output_type=types[1])
                writer.operator("ADD", [self.before, self.wide], self.after)
            case "assign":
                writer.operator("ASSIGN_VARIABLE", [self.handles[0], self.after])
            case "assign narrow":
                writer.operator("ASSIGN_VARIABLE", [self.handles[0], writer.tensor((1, 3), "int32", data=np.ones(3))])
            case "start":
                handle = self.once.tensor((1,), "resource")
                self.once.operator("VAR_HANDLE", [], handle, shared_name="state")
                value = self.once.tensor((1, 4), "int32", data=np.full((1, 4), self.start))
                self.once.operator("ASSIGN_VARIABLE", [handle, value])

    def bytes(self, steps: str) -> bytes:
        for step in steps.split(", "):
            self.add(step)
        return self.writer.finish([self.x], [self.after])


RIGHT = "start, call, handle, read, add, assign"


class TestDamage:
    def test_this_writer_writes_a_right_file(self):
        (variable,) = check_tflite(File().bytes(RIGHT)).variables
        assert (variable.name, variable.type, variable.bytes) == ("state", "int32", 16)

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ("start, call, read, handle, add, assign", "READ_VARIABLE reads tensor . before it is written"),
            ("start, call, handle, add, read, assign", "ADD reads tensor . before it is written"),
            (
                "start, call, handle, read, add",
                "a step has READ_VARIABLE for variable 'state'; expected READ",
            ),
            ("start, call, handle, read, add, assign, assign", "has READ_VARIABLE, ASSIGN_VARIABLE, ASSIGN_VARIABLE"),
            ("start, call, handle, read, add, assign, other handle", "a step has nothing for variable 'other'"),
            ("start, call, handle, read, read, add, assign", "which has a value already"),
            ("start, call, handle, read, add, assign narrow", r"is \('int32', \(1, 4\)\), and \('int32', \(1, 3\)\)"),
            ("start, handle, read, add, assign", r"CALL_ONCE as \(operator, subgraph\) \[\]"),
            ("start, handle, call, read, add, assign", r"CALL_ONCE as \(operator, subgraph\) \[\(1, 1\)\]"),
            ("call, handle, read, add, assign", "the second subgraph does more or less than"),
            ("start, start, call, handle, read, add, assign", "two variables are named 'state'"),
        ],
    )
    def test_order(self, steps, message):
        with pytest.raises(ValueError, match=r"damaged \.tflite: .*" + message):
            check_tflite(File().bytes(steps))

    def test_two_states_of_one_name(self):
        with pytest.raises(ValueError, match="two variables are named 'state'"):
            check_tflite(File(other_name="state").bytes(RIGHT + ", other handle"))

    def test_a_state_without_a_name(self):
        with pytest.raises(ValueError, match=r"VAR_HANDLE of .* wants a name"):
            check_tflite(File(other_name="").bytes(RIGHT + ", other handle"))

    def test_a_start_that_a_reset_would_not_restore(self):
        with pytest.raises(ValueError, match="'state' does not start as zeros"):
            check_tflite(File(start=1).bytes(RIGHT))

    def test_flipped_bits(self):
        data = to_tflite(delay(), "variables")
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 1 << position % 8
            with pytest.raises(ValueError, match="damaged"):
                check_tflite(bytes(flipped))
