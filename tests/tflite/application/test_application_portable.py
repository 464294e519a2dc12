"""The saved application for C++, and for compilers without the extensions of GCC and Clang."""

import dataclasses
import subprocess

import pytest

from keras_s4.decisions import Decision
from keras_s4.testing.programs import Builder
from keras_s4.tflite.application.decisions import decision_of
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.host import compiler

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
# As a compiler that has barriers under another name.
STRANGER = """
#include <stdint.h>
static inline uint32_t after_barrier(uint32_t value) { return value; }
#define LOAD(counter) after_barrier(counter)
#define STORE(counter, value) ((counter) = (value))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The application of a classifier of blocks that decides every sixth sample, and its model, in one folder."""
    b = Builder(1, lowered=True)
    x = b.activation(3, "int16", 2.0**-13, name="x")
    program = b.program(x, b.fully_connected(b.diagonal_step(b.affine(x), 2, "int8"), 4))
    program = dataclasses.replace(program, output_activations=("softmax",))
    decision = decision_of(program, None, Decision(kind="class", every=6, classes=tuple("abcd"), smoothing=12))
    files = render_firmware(program, {"window_length": None}, golden_vectors(program), "model", decision)
    folder = tmp_path_factory.mktemp("application")
    for name, text in (files | c_source(program, "model")).items():
        (folder / name).write_text(text)
    return folder


def run(*command, folder):
    done = subprocess.run(list(command), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_headers_make_one_source_of_c_plus_plus(folder, tmp_path, standard):
    headers = sorted(path.name for path in folder.glob("*.h"))
    assert len(headers) > 8
    # One declares nothing.
    for name in set(headers) - {"keras_s4_kernels.h"}:
        assert 'extern "C" {' in (folder / name).read_text(), name
    includes = [f'#include "{name}"' for name in (*headers, *headers)]
    (tmp_path / "all.cc").write_text("\n".join(includes) + "\n")
    # Golden vectors are for one source each, and here nobody uses them.
    command = [*compiler(), "-x", "c++", f"-std={standard}", *WARNINGS, "-Wno-unused-const-variable", "-I", str(folder)]
    run(*command, "-fsyntax-only", "all.cc", folder=tmp_path)


def test_all_of_it_is_c_plus_plus_17_that_runs(folder, tmp_path):
    sources = sorted(path.name for path in folder.glob("*.c"))
    command = [*compiler(), "-x", "c++", "-std=c++17", *WARNINGS, *sources, "-o", str(tmp_path / "firmware")]
    run(*command, folder=folder)
    assert ", 0 of them differ." in run(str(tmp_path / "firmware"), folder=folder)


def test_a_board_of_c_plus_plus_links_to_a_main_loop_of_c(folder, tmp_path):
    board = ["-x", "c++", "-std=c++11", *WARNINGS, "-c", "board_host.c", "-o", str(tmp_path / "board.o")]
    run(*compiler(), *board, folder=folder)
    sources = sorted(path.name for path in folder.glob("*.c") if path.name != "board_host.c")
    command = [*compiler(), "-std=c99", *sources, str(tmp_path / "board.o"), "-o", str(tmp_path / "firmware")]
    run(*command, folder=folder)
    assert ", 0 of them differ." in run(str(tmp_path / "firmware"), folder=folder)


class TestCompilersWithoutExtensions:
    def test_take_loads_and_stores_from_outside(self, folder, tmp_path):
        (tmp_path / "compiler.h").write_text(STRANGER)
        hidden = ["-U__GNUC__", "-U__clang__", "-include", str(tmp_path / "compiler.h")]
        objects = []
        for path in sorted(folder.glob("*.c")):
            # Headers of this computer's own library want to know its compiler.
            flags = [] if path.name == "board_host.c" else hidden
            objects.append(str(tmp_path / f"{path.stem}.o"))
            run(*compiler(), "-std=c99", *WARNINGS, *flags, "-c", path.name, "-o", objects[-1], folder=folder)
        run(*compiler(), *objects, "-o", str(tmp_path / "firmware"), folder=folder)
        assert ", 0 of them differ." in run(str(tmp_path / "firmware"), folder=folder)

    def test_are_told_what_is_missing(self, folder):
        command = [*compiler(), "-std=c99", "-U__GNUC__", "-U__clang__", "-fsyntax-only", "sample_ring.c"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode and "Define LOAD(counter) and STORE(counter, value)" in done.stderr
