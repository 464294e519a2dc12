"""Generated text within 120 columns, whatever layers are called."""

import dataclasses
import re

import pytest

from keras_s4.testing.programs import SINGLE, model, single
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.columns import COLUMNS, comment, paragraphs_within_columns, within_columns
from keras_s4.tflite.program.blocks import in_blocks

LONG = "a_layer_with_a_name_that_says_what_it_does_and_where_it_stands_and_more_than_anyone_wants_to_read_of_it_/"


def with_long_names(program):
    """Every tensor has a name of more than a hundred letters."""
    renamed = {}

    def other(tensor):
        return renamed.setdefault(tensor.name, dataclasses.replace(tensor, name=LONG + tensor.name))

    operations = tuple(operation.with_tensors(other) for operation in program.operations)
    states = tuple(type(state)(other(state.before), other(state.after)) for state in program.states)
    inputs, outputs = tuple(map(other, program.inputs)), tuple(map(other, program.outputs))
    return dataclasses.replace(program, inputs=inputs, outputs=outputs, states=states, operations=operations)


@pytest.mark.parametrize("name", [*SINGLE, "model", "block"])
def test_lines_of_generated_c(name):
    program = model(1, blocks=2, lowered=True) if name in ("model", "block") else single(name, 1, lowered=True)
    program = in_blocks(program, 3) if name == "block" else program
    for each in (program, with_long_names(program)):
        for file, text in c_source(each, "model").items():
            assert max(map(len, text.splitlines())) <= COLUMNS, file


STATEMENTS = [
    "    x = f(" + ", ".join(f"argument_{i}" for i in range(20)) + ");",
    "    y[i] = g(" + "h(a, b, " * 8 + "1" + ")" * 9 + " + " + "c" * 60 + ";",
    "void f(" + ", ".join(f"const int16_t *array_{i}" for i in range(12)) + ")",
    '    (void)printf("' + "%d, (and) " * 8 + '\\n", ' + ", ".join(f"value_{i}" for i in range(9)) + ");",
    "                            " * 3 + "deep = f(" + ", ".join("a" * 12 for _ in range(9)) + ");",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_stay_what_they_are(statement):
    lines = within_columns(statement).split("\n")
    assert len(lines) > 1 and max(map(len, lines)) <= COLUMNS
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", statement)
    # A string is in one piece.
    assert all(line.count('"') % 2 == 0 for line in lines)


def test_arguments_go_on_below_their_bracket():
    first, *rest = within_columns(STATEMENTS[0]).split("\n")
    assert all(line.startswith(" " * (first.index("(") + 1) + "argument") for line in rest)


def test_macros_go_on_behind_a_backslash():
    lines = within_columns(f"#define {'A' * 70} {'B' * 70}").split("\n")
    assert lines == [f"#define {'A' * 70} \\", f"    {'B' * 70}"]


@pytest.mark.parametrize("line", ["    int x; /* {} */", "  int x;  // {}", "// {}", "/* {} */", " * {}"])
def test_comments_move_above_or_go_on(line):
    words = " ".join(f"word{i}" for i in range(40))
    lines = within_columns(line.format(words)).split("\n")
    assert max(map(len, lines)) <= COLUMNS
    assert re.findall(r"word\d+", " ".join(lines)) == words.split()
    if "int x" in line:
        assert lines[-1] == line.partition(";")[0] + ";"


def test_short_comments_take_a_line():
    assert comment("short", "    ") == ["    /* short */"]


def test_paragraphs_are_filled_and_tables_stay():
    prose, table = "word " * 60, f"| {'cell ' * 40} |"
    text = paragraphs_within_columns(f"{prose}\nend\n\n{table}\n```c\n{prose}\n```\n")
    filled, _, rest = text.partition("\n\n")
    assert max(map(len, filled.split("\n"))) <= COLUMNS and filled.endswith("end")
    assert rest == f"{table}\n```c\n{prose}\n```\n"
