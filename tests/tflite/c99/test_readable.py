"""What an engineer reads: names of layers, constants that are added up, and a comment for each stage."""

import dataclasses
import re
import subprocess

import keras
import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, Builder, model, single
from keras_s4.tflite import convert
from keras_s4.tflite.c99 import CRunner, c_source
from keras_s4.tflite.c99.expressions import Expression, add_multiples, address_of, index_of, multiply
from keras_s4.tflite.c99.host import STRICT, compiler
from keras_s4.tflite.c99.interface import interface_names
from keras_s4.tflite.c99.names import short_name
from keras_s4.tflite.c99.schedule import schedule
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.blocks import in_blocks
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

PROGRAMS = [*SINGLE, "model", "block"]
UNFOLDED = (r"[-+] -\d", r"\d [-+] \d", r"\(\w+\[\w+\] [-+] \d+\) [-+]", r"\* 1U", r"\b0U? \+", r"\[0U", r"< 1U;")


def program_of(name):
    program = model(1, blocks=2, lowered=True) if name in ("model", "block") else single(name, 1, lowered=True)
    return in_blocks(program, 3) if name == "block" else program


class TestExpressions:
    def test_constants_add_up(self):
        x = Expression("x[i]").plus(-52).plus(180)
        assert [str(each) for each in (x, x.plus(-128), x.plus(-129))] == ["x[i] + 128", "x[i]", "x[i] - 1"]
        assert str(Expression(constant=-(2**31))) == "INT32_MIN"

    def test_factors_of_one_are_left_out(self):
        x, one = Expression("x"), Expression(constant=1)
        assert multiply(x, one) == multiply(one, x) == x
        assert str(multiply(x, Expression(constant=3))) == "s4_multiply(x, 3)"

    @pytest.mark.parametrize(
        ("gains", "text"),
        [
            ((1, 1), "s4_add(a, b)"),
            ((2, -1), "s4_subtract(s4_multiply(a, 2), b)"),
            ((-1, 4), "s4_subtract(s4_multiply(b, 4), a)"),
            ((2, -3), "s4_add(s4_multiply(a, 2), s4_multiply(b, -3))"),
        ],
    )
    def test_a_negative_gain_subtracts(self, gains, text):
        assert str(add_multiples(Expression("a"), gains[0], Expression("b"), gains[1])) == text

    def test_indices_name_counters_only(self):
        assert index_of(("row", 6), ("tap", 1), first=3) == "row * 6U + tap + 3U"
        assert index_of(("0", 6), ("i", 1)) == "i" and index_of(("0", 6)) == "0"
        assert address_of("x", ("0", 6)) == "x" and address_of("x", first=4) == "&x[4]"


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_constant_is_left_to_the_reader(name):
    text = c_source(program_of(name), "model")["model.c"]
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for pattern in UNFOLDED:
        assert not re.search(pattern, code), pattern
    assert not re.search(r"s4_multiply\([^()]+, -?1\)", code)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_operation_has_a_comment_with_its_name(name):
    program = program_of(name)
    plan = schedule(program)
    text = c_source(program, "model")["model.c"]
    step = text[text.index("model_step(") :]
    folded = {lookup.output.name for lookup in plan.tabulated.values()} | plan.inlined
    for operation in plan.program.operations:
        if operation.result.name not in folded:
            assert re.search(rf"(/\*| \*) {re.escape(operation.result.name)}: \w", step), operation.result.name


def test_arrays_are_called_as_what_they_hold():
    text = c_source(program_of("model"), "model")["model.c"]
    step = text[text.index("model_step(") :]
    uses = [line for line in step.splitlines() if "work_" in line]
    assert uses and all(re.fullmatch(r" +int\d+_t \*const \w+ = state->work_\w+;", line) for line in uses)


class TestOutputs:
    def names(self, *outputs, inputs=("x",), layers=()):
        tensors = {name: Tensor(name, (2,), "int8", 0.5) for name in (*inputs, *outputs)}
        program = Program(
            "m",
            tuple(tensors[name] for name in inputs),
            tuple(tensors[name] for name in outputs),
            (),
            (),
            layers=dict.fromkeys(layers, "Dense"),
        )
        return interface_names(program)[len(inputs) :]

    def test_are_called_as_their_layers(self):
        assert self.names("head/product", "tail/output", layers=("head", "tail")) == ["head", "tail"]
        assert self.names("outer/head/product[2]", layers=("outer", "outer/head")) == ["outer_head"]
        assert self.names("head/product/settled_0", layers=("head", "head_2")) == ["head"]

    def test_without_known_layers_the_last_word_is_left_out(self):
        assert self.names("head/product", "tail/output", "a/mean") == ["head", "tail", "a_mean"]
        assert short_name("head/product[3]") == "head[3]" and short_name("head/products") == "head/products"

    def test_two_of_one_layer_keep_their_own_names(self):
        assert self.names("rnn/output", "rnn/memory", layers=("rnn",)) == ["rnn_output", "rnn_memory"]

    def test_of_a_layer_called_as_an_input(self):
        assert self.names("x/product", layers=("x",)) == ["x_product"]


def test_a_keras_model_is_found_again_in_its_c():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 3), name="accelerometer")
    hidden = keras.layers.Dense(5, activation="relu", name="encoder")(inputs)
    outputs = [keras.layers.LSTM(4, return_sequences=True, name="memory")(hidden)]
    outputs.append(keras.layers.Dense(2, name="head")(hidden))
    network = keras.Model(inputs, outputs)
    files = convert(network, np.random.default_rng(0).normal(size=(4, 12, 3))).c_source("model")
    assert "const int16_t input[3], int16_t memory[4], int8_t head[2]);" in files["model.h"]
    assert "#define MODEL_HEAD_SIZE 2\n" in files["model.h"]
    for stage in ("encoder (Dense)", "memory (LSTM)", "head (Dense)"):
        assert len(re.findall(re.escape(f"/* ---- {stage} ---- */"), files["model.c"])) == 1


def test_variables_of_stages_do_not_shadow_each_other():
    """Where a loop that runs once has no braces, variables get some."""
    b = Builder(0)
    first = x = Tensor("an_input_whose_name_is_long_enough_for_a_variable", (1,), "int8", 0.05)
    for _ in range(2):
        x = b.affine(x, "int8")
        x = dataclasses.replace(x, name=f"{x.name}_whose_name_is_long_enough_for_a_variable_as_well")
        b.operations[-1] = dataclasses.replace(b.operations[-1], output=x)
    program = b.program(first, x)
    code = c_source(program, "model")["model.c"]
    assert code.count("const int32_t accumulator = ") == code.count("\n        {\n") == 2
    inputs = np.arange(-128, 128, dtype=np.int8).reshape(1, -1, 1)
    np.testing.assert_array_equal(CRunner(program).run(inputs), Emulator(program).run(inputs))


@pytest.mark.parametrize("name", ["model", "normalize", "block"])
def test_c_is_c_plus_plus_as_well(name, tmp_path):
    files = c_source(program_of(name), "model")
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "caller.cc").write_text(
        '#include "model.h"\nint main() { model_state s; model_reset(&s); return 0; }\n'
    )
    strict = [flag for flag in STRICT if not flag.startswith("-std")]
    for standard, source in (("c++11", "caller.cc"), ("c++20", "model.c")):
        command = [*compiler(), "-x", "c++", f"-std={standard}", *strict, "-fsyntax-only", source]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
