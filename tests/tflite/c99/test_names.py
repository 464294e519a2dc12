"""Names of layers and models become names of C: none hides another, whatever a user calls them."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest

from keras_s4.testing.programs import SINGLE, Builder, model, single
from keras_s4.tflite.c99 import CRunner, c_source
from keras_s4.tflite.c99.host import STRICT, compiler
from keras_s4.tflite.c99.names import LIBRARY, camel_case, check_file_stem, file_stem, identifiers
from keras_s4.tflite.emulator import Emulator

KERNELS = sorted(path.stem for path in LIBRARY.iterdir())
MODELS = [
    *KERNELS,
    "KERAS_S4_Dense",
    "keras_s4_new",
    "s4_diagonal",
    "string",
    "String",
    "math",
    "stdint",
    "main",
    "board",
]
MODELS += ["application", "sample_ring", "class", "restrict", "con", "7th", "°", "", "../../etc/x", "a/b", "x" * 300]
MODELS += ["stdint.h", "int", "arm_mve", "INT32_MAX", "a\nb", "*/", "keras-s4-dense"]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_its_files_beside_those_of_the_kernels(name, tmp_path):
    program = dataclasses.replace(single("fully_connected_int8"), name=name)
    files = c_source(program)
    stem = next(file for file in files if not file.startswith("keras_s4_")).rpartition(".")[0]
    kernels = {"keras_s4_arithmetic.h", "keras_s4_dense.c", "keras_s4_dense.h", "keras_s4_kernels.h", "keras_s4_rows.h"}
    assert set(files) == {f"{stem}.h", f"{stem}.c"} | kernels
    assert len({file.lower() for file in files}) == len(files)
    assert re.fullmatch(r"[a-z]\w{0,30}", stem, re.ASCII)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    # The folder is searched for <...> too, as in the firmware's Makefile.
    command = [*compiler(), *STRICT, "-I.", "-fsyntax-only", *(file for file in files if file.endswith(".c"))]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["keras_s4_dense", "KERAS_S4_DENSE", "s4_diagonal", "string", "Main", "aux", "class"])
def test_names_that_are_taken_are_refused(name):
    with pytest.raises(ValueError, match=rf"name='{name}', which C, .* such as 'model_{name.lower()}'"):
        c_source(single("lookup"), name)


@pytest.mark.parametrize("name", ["", "7th", "°", "a b", "_x", "a/b", "../x", "x\n", 3])
def test_names_that_are_no_identifiers_are_refused(name):
    with pytest.raises(ValueError, match=r"expected an identifier of C, such as '[a-z]"):
        c_source(single("lookup"), name)


def test_long_names_are_refused_and_shortened():
    with pytest.raises(ValueError, match="Received a name of 64 characters; expected 63 at most"):
        check_file_stem("x" * 64)
    first, second = identifiers(["layer_" * 30 + "a", "layer_" * 30 + "b"])
    assert first != second
    assert max(len(first), len(second)) <= 63
    assert len(file_stem("layer_" * 30)) <= 24


ROLES = ["i", "row", "state", "memcpy", "int32_t", "s4_add", "root", "work_a", "restrict", "INT32_MIN", "tap", "start"]


@pytest.mark.parametrize(("place", "kind"), list(enumerate(SINGLE)))
def test_inputs_may_have_any_name(place, kind):
    """Those of the loops, types and functions of the generated code among them, a few for each operation."""
    program = single(kind, 1, lowered=True)
    for name in ROLES[place % 4 :: 4]:
        text = "".join(c_source(renamed(program, name), "model").values())
        arguments = re.search(r"model_step\(model_state \*state, ([^)]*)\);", text)[1]
        assert not re.search(rf"\b{name}\[", arguments)


@pytest.mark.parametrize("name", ROLES)
def test_a_model_whose_input_has_any_name_computes_the_same(name):
    program = renamed(model(blocks=1, lowered=True), name)
    x = np.random.default_rng(0).integers(-(2**15), 2**15, (2, 4, *program.inputs[0].shape)).astype(np.int16)
    np.testing.assert_array_equal(CRunner(program).run(x), Emulator(program).run(x))


def test_constants_do_not_hide_inputs_of_their_name():
    """A layer "norm" with a constant "norm/gain", and an input "norm_gain": C would read one for the other."""
    b = Builder(0)
    x = dataclasses.replace(b.activation(5, "int16", 2.0**-12), name="norm_gain")
    y = b.affine(x)
    operation = b.operations[-1]
    b.operations[-1] = dataclasses.replace(operation, gain=dataclasses.replace(operation.gain, name="norm/gain"))
    program = b.program(x, y)
    inputs = np.random.default_rng(0).integers(-(2**15), 2**15, (1, 6, 5)).astype(np.int16)
    np.testing.assert_array_equal(CRunner(program).run(inputs), Emulator(program).run(inputs))


def test_names_in_capitals_become_small():
    """PORTB, INPUT or ADC1 are macros of some board."""
    assert identifiers(["PORTB", "ADC1", "Heart", "NULL"]) == ["portb", "adc1", "Heart", "tensor_null"]


def test_layers_may_be_called_as_this_library_calls_them():
    """But not as its kernels are."""
    assert identifiers(["s4_block_1", "S4_Block", "s4_dense", "S4_MODE", "s4_add"]) == [
        "s4_block_1",
        "S4_Block",
        "tensor_s4_dense",
        "tensor_s4_mode",
        "tensor_s4_add",
    ]


def test_names_differ_in_capitals_and_camel_case():
    names = ["a/b", "a_b", "A_B", "ab", "aB", "a__b", "a b", "a.b"]
    received = identifiers(names)
    assert len({name.upper() for name in received}) == len({camel_case(name) for name in received}) == len(names)


def renamed(program, name):
    """The program whose first input has another name."""
    old = program.inputs[0]
    new = dataclasses.replace(old, name=name)

    def changed(operation):
        fields = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
        swapped = {
            key: new if value is old else tuple(new if each is old else each for each in value)
            for key, value in fields.items()
            if value is old or (isinstance(value, tuple) and any(each is old for each in value))
        }
        return dataclasses.replace(operation, **swapped) if swapped else operation

    outputs = tuple(new if output is old else output for output in program.outputs)
    operations = tuple(changed(operation) for operation in program.operations)
    return dataclasses.replace(program, inputs=(new, *program.inputs[1:]), outputs=outputs, operations=operations)
