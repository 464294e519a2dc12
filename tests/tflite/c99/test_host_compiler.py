"""The compiler of this computer, and what is said when CC names none or one that fails."""

import shlex
import stat
import sys

import numpy as np
import pytest

from keras_s4.cli.console import USER_ERRORS
from keras_s4.files import temporary_folder
from keras_s4.testing.programs import random_inputs, single
from keras_s4.tflite.c99 import CRunner, c_source, host
from keras_s4.tflite.emulator import Emulator


@pytest.fixture
def script(tmp_path):
    """An executable file of a shell."""

    def script(text, name="compiler"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return script


def refusal(monkeypatch, value, operation="lookup"):
    monkeypatch.setenv("CC", str(value))
    with pytest.raises(host.CompilerError) as caught:
        CRunner(single(operation))
    assert isinstance(caught.value, USER_ERRORS)
    message = str(caught.value)
    assert "environment variable CC" in message and "nset" in message
    return message


@pytest.mark.parametrize("value", ["no-such-compiler", "/no/such/cc -O2", "/tmp", "/etc/passwd", "'' -O2"])
def test_a_cc_that_is_no_program(monkeypatch, value):
    assert f"CC is {value!r}, but there is no program {shlex.split(value)[0]!r}" in refusal(monkeypatch, value)


def test_a_cc_that_is_no_command(monkeypatch):
    assert "no command (No closing quotation)" in refusal(monkeypatch, "gcc 'x")


def test_a_cc_that_fails_without_a_word(monkeypatch):
    message = refusal(monkeypatch, "false")
    assert message.startswith("The C compiler failed (status 1): ") and "bin/false -std=c99" in message


def test_a_cc_that_says_much_is_cut(monkeypatch, script):
    path = script("for i in $(seq 1 50); do echo complaint $i >&2; done; exit 3")
    message = refusal(monkeypatch, path)
    assert "(status 3)" in message and "complaint 12\n" in message
    assert "complaint 13" not in message and "... and 38 lines more" in message


def test_a_cc_that_says_what_is_no_text(monkeypatch, script):
    assert "\ufffd" in refusal(monkeypatch, script(r"printf 'bad \377 byte\n' >&2; exit 1"))


def test_a_cc_that_compiles_nothing(monkeypatch, script):
    assert "it has written no library" in refusal(monkeypatch, script("exit 0"))
    message = refusal(monkeypatch, script("exit 0"), "fully_connected_int8")
    assert "it has written no object of keras_s4_dense.c" in message


def test_a_cc_for_another_computer(monkeypatch, script):
    message = refusal(monkeypatch, script("echo what is no library > model.so"))
    assert "cannot load what it has compiled" in message and "is it a cross compiler?" in message


def test_a_cc_that_does_not_end(monkeypatch, script):
    monkeypatch.setattr(host, "PATIENCE", 0.2)
    assert "timed out after 0.2 seconds" in refusal(monkeypatch, script("exec sleep 60"))


def test_a_file_that_cannot_be_executed(monkeypatch, tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(b"\x7fELF of another computer")
    path.chmod(0o755)
    assert "Exec format error" in refusal(monkeypatch, path)


def test_a_cc_with_flags_and_blanks_works(monkeypatch, tmp_path):
    """And one that changes between runs counts at once."""
    monkeypatch.delenv("CC", raising=False)
    found = host.compiler()
    folder = tmp_path / "my tools"
    folder.mkdir()
    path = folder / "cc"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(found)} "$@"\n')
    path.chmod(0o755)
    program = single("lookup")
    inputs = random_inputs(program, 1, 3)
    for value in (str(path), f"{shlex.quote(str(path))} -O1", "  ", f"{sys.executable} -m ziglang cc"):
        monkeypatch.setenv("CC", value)
        np.testing.assert_array_equal(CRunner(program).run(inputs), Emulator(program).run(inputs))


def test_kernels_are_compiled_once(monkeypatch):
    """For all programs and as long as command, text and headers are the same."""
    compiled = []
    run = host._run

    def watched(command, folder):
        compiled.append([name for name in command if name.startswith("keras_s4_") and name.endswith(".c")])
        return run(command, folder)

    monkeypatch.setattr(host, "_run", watched)
    monkeypatch.setattr(host, "_COMPILED", {})
    program = single("fully_connected_int8")
    first, again, otherwise = (CRunner(program, [flag]) for flag in ("-O1", "-O1", "-O0"))
    assert [bool(names) for names in compiled] == [True, False, False, True, False]
    sources = c_source(program, host.NAME)
    kernel = compiled[0][0]
    header = kernel.replace(".c", ".h")
    for name in (kernel, header):
        compiled.clear()
        changed = {**sources, name: f"{sources[name]}/* changed */\n"}
        with temporary_folder() as folder:
            host.compile_for_host(changed, folder, ["-O1"])
        assert compiled == [[kernel], []]
    inputs = random_inputs(program, 2, 5)
    for runner in (first, again, otherwise):
        np.testing.assert_array_equal(runner.run(inputs), Emulator(program).run(inputs))
