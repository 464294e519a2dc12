"""The C99 back-end: it computes what the emulator computes, in C that is strict and free of surprises."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, Builder, model, random_inputs, single
from keras_s4.tflite.c99 import CRunner, c_source
from keras_s4.tflite.c99.host import STRICT, compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.blocks import Latest, in_blocks
from keras_s4.tflite.program.operations import Add, DiagonalStep, Embed, FullyConnected, Requantize
from keras_s4.tflite.program.program import Program, State, limits
from keras_s4.tflite.program.tensors import Tensor

PROGRAMS = [*SINGLE, "model"]
# Undefined behaviour ends the process.
FLAGS = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all")


def program_of(name: str, seed: int) -> Program:
    return model(seed, blocks=2, lowered=True) if name == "model" else single(name, seed, lowered=True)


def assert_equal_to_emulator(program: Program, inputs, runner: CRunner | None = None) -> None:
    names = [state.after.name for state in program.states]
    trace = Emulator(program).trace(inputs, record=names)
    outputs, states = (runner or CRunner(program, FLAGS)).run(inputs, keep_states=True)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for tensor, ours, theirs in zip(program.outputs, outputs, trace.outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs, tensor.name)
    for name, ours in zip(names, states, strict=True):
        np.testing.assert_array_equal(ours, trace.tensors[name], name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_computes_what_the_emulator_computes(name):
    program = program_of(name, 1)
    assert_equal_to_emulator(program, random_inputs(program, 2, 40))


@pytest.mark.parametrize(("real_poles", "type"), [(True, "int8"), (False, "int16")])
def test_steps_of_dss_layers_saturate_as_in_the_emulator(real_poles, type):
    """From states of all 32-bit values, and with states that are clamped."""
    for limit in (0, 2**30):
        b = Builder(3, lowered=True)
        x = b.activation(5, "int16", 2.0**-12, name="x")
        program = b.program(x, b.diagonal_step(x, 7, type, real_poles))
        (step,) = program.operations
        program = dataclasses.replace(program, operations=(dataclasses.replace(step, limit=limit),))
        random = np.random.default_rng(0)
        start = random.integers(-(2**31), 2**31, (50, *step.state.shape), dtype=np.int32)
        ends = [-(2**31), 2**31 - 1, -(2**30), -(2**30) - 1, 2**30, 2**30 - 1, 0, -1, 16383, 16384, -16383, -16384]
        start[: len(ends)] = np.array(ends)[:, None, None, None]
        inputs = random_inputs(program, 50, 3)
        trace = Emulator(program).trace(inputs, record=[step.next_state.name], states=[start])
        outputs, states = CRunner(program).run(inputs, states=[start], keep_states=True)
        np.testing.assert_array_equal(outputs, trace.outputs[0])
        np.testing.assert_array_equal(states[0], trace.tensors[step.next_state.name])


def test_sums_of_every_step_of_a_block_may_be_read():
    program = in_blocks(single("accumulate", 1), 3)
    assert_equal_to_emulator(program, random_inputs(program, 2, 10))


def test_a_table_behind_a_copy_is_looked_up():
    b = Builder(0)
    x = b.activation(5, "int8", 0.05, -17, "x")
    program = b.program(x, b.lookup(b.requantize(x, "int8", 0.05, -17)))
    assert_equal_to_emulator(program, random_inputs(program, 2, 40))


def test_a_stream_may_be_cut_anywhere():
    program = model(1, lowered=True)
    inputs = random_inputs(program, 1, 60)
    runner = CRunner(program)
    whole, states = runner.run(inputs, keep_states=True)
    for cut in (1, 17, 59):
        first, middle = runner.run(inputs[:, :cut], keep_states=True)
        second = runner.run(inputs[:, cut:], states=[state[:, -1] for state in middle])
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    assert len(states) == len(program.states)


@pytest.mark.parametrize("name", ["model", "state_int16", "accumulate", "window", "embed", "add"])
def test_outputs_that_nobody_asks_for_change_nothing(name):
    program = program_of(name, 2)
    inputs = random_inputs(program, 1, 20)
    runner = CRunner(program)
    whole, states = runner.run(inputs, keep_states=True)
    late, same_states = runner.run(inputs, keep_states=True, silent=15)
    several = isinstance(whole, tuple)
    for ours, theirs in zip(late if several else [late], whole if several else [whole], strict=True):
        np.testing.assert_array_equal(ours[:, 15:], theirs[:, 15:])
        assert not ours[:, :15].any()
    for ours, theirs in zip(same_states, states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class TestMemory:
    def test_a_new_state_waits_while_the_old_one_is_read(self):
        """h <- W h + x: no element may be replaced before all are read; and it is an output as well."""
        b = Builder(0)
        x = b.activation(6, "int8", 0.05, 0, "x")
        before, after = b.like(x, x.shape), b.like(x, x.shape)
        product = b.fully_connected(before, 6, zero_point=0)
        total = b.add(Add(product, x, 1, 1, x.scale, b.like(x, x.shape)))
        b.add(Requantize(total, after))
        late = b.sum(before, x)
        program = Program("recurrent", (x,), (after, late), (State(before, after),), tuple(b.operations))
        assert_equal_to_emulator(program, random_inputs(program, 3, 30))

    def test_a_state_may_be_an_input_or_another_state(self):
        """A delay of two steps, and what comes out of it."""
        x, one, two = (Tensor(name, (4,), "int16", 0.5) for name in ("x", "one", "two"))
        y = Tensor("y", (4,), "int16", 0.5)
        program = Program("delay", (x,), (y, one), (State(one, x), State(two, one)), (Requantize(two, y),))
        inputs = random_inputs(program, 2, 10)
        for ours, theirs in zip(CRunner(program).run(inputs), Emulator(program).run(inputs), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(Emulator(program).run(inputs)[0][:, 2:], inputs[:, :-2])

    def test_arrays_of_the_working_memory_are_shared(self):
        """Twelve int16 signals one behind the other take the room of two."""
        b = Builder(0)
        x = b.activation(16, "int16", 2.0**-12, name="x")
        y = x
        for _ in range(12):
            y = b.affine(y)
        header = c_source(b.program(x, y), "chain")["chain.h"]
        sizes = [int(size) for size in re.findall(r"int16_t work_\w+\[(\d+)\]", header)]
        assert sizes == [16, 16]


class TestText:
    def test_is_the_same_each_time(self):
        assert c_source(model(lowered=True)) == c_source(model(lowered=True))

    def test_has_integers_only_and_nothing_beyond_string_h(self):
        for name, text in c_source(model(lowered=True), "model").items():
            code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
            assert not re.search(r"\b(float|double|malloc|free|printf)\b", code), name
            includes = set(re.findall(r"#include <(\S+)>", code))
            assert includes <= {"stdint.h", "stddef.h", "string.h", "arm_acle.h", "arm_mve.h"}, name

    def test_has_no_variable_outside_functions(self, tmp_path):
        """All that an object file would put into RAM is the caller's."""
        files = c_source(model(lowered=True), "model")
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        sources = sorted(name for name in files if name.endswith(".c"))
        subprocess.run([*compiler(), *STRICT, "-fno-pie", "-c", *sources], cwd=tmp_path, check=True)
        objects = [name.replace(".c", ".o") for name in sources]
        symbols = subprocess.run(["nm", *objects], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert not re.search(r" [bBdDcC] ", symbols)

    def test_says_where_constants_come_from(self):
        program = model(lowered=True)
        text = c_source(program, "model")["model.c"]
        dense = next(op for op in program.operations if isinstance(op, FullyConnected))
        assert f"/* {dense.weights.name}: {list(dense.weights.shape)}, scale " in text


class TestRefusals:
    def test_names_that_are_no_identifiers(self):
        with pytest.raises(ValueError, match=r"name='my model'; expected an identifier of C, such as 'my_model'"):
            c_source(model(lowered=True), "my model")

    def test_readouts_of_imaginary_parts(self):
        program = single("diagonal_step")
        assert isinstance(program.operations[0], DiagonalStep)
        with pytest.raises(NotImplementedError, match="readouts of imaginary parts"):
            c_source(program)

    def test_layers_of_more_inputs_than_kernels_count(self):
        b = Builder(0)
        x = b.activation(2**16, "int8", 0.05, name="x")
        with pytest.raises(NotImplementedError, match="the C kernels count inputs to 65,535, and here are 65,536"):
            c_source(b.program(x, b.fully_connected(x, 1)))

    def test_inputs_of_another_shape_or_type(self):
        program = single("lookup")
        runner = CRunner(program)
        with pytest.raises(ValueError, match=r"received int16\[1, 2, 3\]; expected int8 of shape \[B, L, "):
            runner.run(np.zeros((1, 2, 3), np.int16))

    def test_tokens_outside_their_table(self):
        runner = CRunner(single("embed"))
        tokens = np.array([[[3], [9]]], np.int32)
        with pytest.raises(ValueError, match="Step 1: a token number is outside its table"):
            runner.run(tokens)

    def test_tokens_of_a_block_of_which_the_last_alone_is_looked_up(self):
        b = Builder(0)
        token = Tensor("token", (1,), "int32")
        row = b.embed(token, 11, 3)
        last = b.like(row, row.shape)
        b.operations.append(Latest(row, last))
        program = in_blocks(b.program(token, last), 4)
        assert all(op.input is not program.inputs[0] for op in program.operations if isinstance(op, Embed))
        assert limits(program, program.inputs[0]) == (0, 10)
        assert_equal_to_emulator(program, random_inputs(program, 1, 5))
        with pytest.raises(ValueError, match="Step 0: a token number is outside its table"):
            CRunner(program).run(np.array([[[[1], [2], [3], [11]]]], np.int32))

    def test_a_compiler_that_refuses(self):
        with pytest.raises(RuntimeError, match=r"failed \(status .*no-such-flag"):
            CRunner(single("lookup"), ["-Werror", "-no-such-flag"])
