"""How often the statements of a step run, against C that is run with counters in it; and what statements look alike."""

import re
import subprocess

import numpy as np
import pytest

from keras_s4.costs.statements import normal_form, read_step
from keras_s4.testing import programs
from keras_s4.tflite.c99 import c_source

ASSIGNMENT = re.compile(r"(?:^|; )(?:(?:state->)?\w+\[[^;=]*\] = |\+\+)")
HEADER = "typedef struct {\n    int32_t sum[4];\n    int16_t work_a[8];\n} model_state;\n"


def step_of(body):
    return read_step(f"void model_step(model_state *state, const int8_t x[4], int16_t y[8])\n{{\n{body}\n}}\n", HEADER)


def test_loops_in_loops_multiply():
    step = step_of(
        """    for (uint32_t row = 0; row < 3U; ++row) {
        s4_dense_int8(&layer, &x[row], y);
        for (uint32_t i = 0; i < 8U; ++i) {
            y[row * 8U + i] = s4_to_int16(x[i] + 5);
        }
    }"""
    )
    assert [(statement.times, statement.rounds) for statement in step.statements] == [(3, 3), (24, 8)]
    assert sorted((loop.entries, loop.rounds) for loop in step.loops) == [(1, 3), (3, 24)]


def test_sums_are_renewed_once_a_hop_and_begin_once_for_ever():
    step = step_of(
        """    ++state->sum[3];
    if (state->sum[3] == 5) {
        y[0] = 1;
    }
    if (state->sum[3] == 9) {
        y[1] = 2;
    } else {
        y[2] = 3;
    }"""
    )
    assert {statement.text: statement.times for statement in step.statements} == {
        "++state->sum[3]": 1,
        "y[0] = 1": 0,
        "y[1] = 2": 1 / 4,
        "y[2] = 3": 3 / 4,
    }


def test_outputs_are_asked_for_and_tokens_are_right():
    step = step_of(
        "    if (x[0] < 0 || x[0] > 9) {\n        return 1;\n    }\n    if (y != NULL) {\n        y[0] = x[0];\n    }"
    )
    assert [statement.times for statement in step.statements] == [0, 1]


def test_short_loops_of_a_move_are_written_out():
    loops = "    for (uint32_t row = 0; row < 4U; ++row) {\n        for (uint32_t tap = 0; tap < %dU; ++tap) {\n"
    move = "            y[row * 8U + tap] = y[tap];\n        }\n    }"
    (written,) = step_of(loops % 8 + move).statements
    assert (written.written, written.times) == (32, 32)
    (looped,) = step_of(loops % 17 + move).statements
    assert (looped.written, looped.times) == (1, 68)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("y[i] = s4_to_int16(s4_halve(a[i], 3U))", "y[i0 * 8U + i1] = s4_to_int16(s4_halve(a[i], 12U))"),
        ("y[i] = s4_multiply(a[i], 64)", "y[i] = s4_multiply(a[i], -128)"),
        ("y[i] = s4_multiply(a[i] - 3, 7)", "y[i] = s4_multiply(a[i] + 128, 12000)"),
        ("y[i] = s4_scale(a[i], S4_HALF, -3)", "y[i] = s4_scale(a[i], S4_HALF, -14)"),
    ],
)
def test_numbers_that_cost_alike_look_alike(one, other):
    types = {"a": "w16", "y": "w16"}
    assert normal_form(one, types) == normal_form(other, types)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("y[i] = s4_multiply(a[i], 64)", "y[i] = s4_multiply(a[i], 63)"),
        ("y[i] = s4_scale(a[i], S4_HALF, -3)", "y[i] = s4_scale(a[i], S4_HALF, 3)"),
        ("y[i] = a[i]", "y[i] = b[i]"),
        ("y[i] = table[a[i] + 128]", "y[i] = a[i] + 128"),
    ],
)
def test_what_costs_otherwise_looks_otherwise(one, other):
    types = {"a": "w16", "b": "w8", "y": "w16", "table": "c8"}
    assert normal_form(one, types) != normal_form(other, types)


@pytest.mark.parametrize("name", ["add", "maximum", "window", "recent_mean_int16", "sliding_sum_int16"])
def test_as_often_as_the_compiled_step_runs_them(name, tmp_path):
    """A counter in front of every assignment of the generated C, run on this computer."""
    program = programs.single(name, lowered=True)
    sources = c_source(program, "model")
    expected = sum(
        statement.times * len(ASSIGNMENT.findall(statement.text))
        for statement in read_step(sources["model.c"], sources["model.h"]).statements
    )
    step = sources["model.c"].index(" model_step(")
    head, body = sources["model.c"][:step], sources["model.c"][step:]
    body = re.sub(r"^( +)((?:state->)?\w+\[[^;=]*\] = |\+\+)", r"\1++counted; \2", body, flags=re.MULTILINE)
    (tmp_path / "model.c").write_text(f"static unsigned long counted;\n{head}{body}" + _main(program))
    for file, text in sources.items():
        if file != "model.c":
            (tmp_path / file).write_text(text)
    files = [file for file in sources if file.endswith(".c")]
    subprocess.run(["cc", "-std=gnu99", "-w", "-o", "run", *files], cwd=tmp_path, check=True)
    found = float(subprocess.run([tmp_path / "run"], capture_output=True, text=True, check=True).stdout)
    assert found == pytest.approx(expected)


def _main(program):
    inputs = [
        f"static const {tensor.type}_t in{i}[{int(np.prod(tensor.shape))}];" for i, tensor in enumerate(program.inputs)
    ]
    outputs = [
        f"static {tensor.type}_t out{i}[{int(np.prod(tensor.shape))}];" for i, tensor in enumerate(program.outputs)
    ]
    names = [*(f"in{i}" for i in range(len(inputs))), *(f"out{i}" for i in range(len(outputs)))]
    return "\n".join(
        [
            "\n#include <stdio.h>",
            *inputs,
            *outputs,
            "int main(void) { static model_state state; model_reset(&state);",
            f"for (int i = 0; i < 8; ++i) {{ model_step(&state, {', '.join(names)}); }}",
            "counted = 0;",
            f"for (int i = 0; i < 240; ++i) {{ model_step(&state, {', '.join(names)}); }}",
            'printf("%f", counted / 240.0); return 0; }',
        ]
    )
