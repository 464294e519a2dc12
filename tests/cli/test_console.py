"""What commands print, wherever it goes, and how they end."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from interruptions import hear_interruptions
from rich.table import Table
from typer.testing import CliRunner

from keras_s4 import cli
from keras_s4.cli.console import console, show_table
from keras_s4.cli.messages import LONGEST, message_of
from keras_s4.job import pipeline


def run(code, **options):
    """A Python process of its own, its output and errors as bytes."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)


TABLE = """
    import sys
    from rich.table import Table
    from keras_s4.cli.console import console, report_errors, allow_any_encoding, show_table, flush_output
    allow_any_encoding()
    table = Table("part – name", "×", title="Ranks … · ≥")
    table.add_row("[red]block[/red] :smile: é", "≤ 3 µs ± 1")
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_tables_are_printed_in_every_encoding(encoding):
    done = run(TABLE + "    show_table(table)\n", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "[red]block[/red] :smile:" in text
    if encoding == "ascii":
        assert "part - name" in text
        assert "Ranks ... . >=" in text
        assert "<= 3 us +- 1" in text


@pytest.mark.parametrize("name", ["[red]", "[/red]", "[bold]x[/]", ":smile:", "a[0]", "\\[x]"])
def test_names_are_no_markup(name, capsys):
    table = Table("part", title=name)
    table.add_row(name)
    show_table(table)
    console().print(name)
    assert capsys.readouterr().out.count(name) == 3


def test_the_work_goes_on_when_nobody_reads(tmp_path):
    """As in `keras-s4 ... | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        TABLE
        + f"""
    with flush_output(), report_errors():
        for _ in range(5000):
            console().print("a line of the output")
        show_table(table)
        open({str(tmp_path / "result")!r}, "w").close()
    """
    )
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "result").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is Linux's")
def test_output_onto_a_full_disk_is_one_message():
    code = (
        TABLE
        + """
    import typer
    with flush_output():
        try:
            with report_errors():
                show_table(table)
        except typer.Exit as ended:
            sys.exit(ended.exit_code)
    """
    )
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("module", ["typer", "keras", "tensorflow.python"])
def test_interruption_while_modules_are_loaded_is_one_line(module, tmp_path):
    """Ctrl-C as soon as a module is begun."""
    (tmp_path / "m.keras").write_bytes(b"")
    code = f"""
    import os, signal, sys
    from keras_s4.cli import main

    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r}:
                os.kill(os.getpid(), signal.SIGINT)

    sys.meta_path.insert(0, Interrupting())
    sys.argv = ["keras-s4", "convert", "--list"]
    main()
    """
    done = run(code, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, preexec_fn=hear_interruptions)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Interrupted.\n")


def test_a_command_that_must_not_hear_of_interruptions_does_not():
    """As `nohup` and shells start what is in the background."""
    code = """
    import os, signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from keras_s4.cli import interruption
    interruption.leave_at_once()
    os.kill(os.getpid(), signal.SIGINT)
    interruption.raise_again()
    print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
    """
    assert run(code).stdout == b"True\n"


@pytest.fixture
def failing(monkeypatch):
    def with_error(error, **environment):
        def fail(*_):
            raise error

        monkeypatch.setattr(pipeline, "run", fail)
        return CliRunner().invoke(cli.app, ["demo", "--out", "runs/none"], env=environment)

    return with_error


@pytest.mark.parametrize("error", [TypeError("wrong"), KeyError("poles"), ZeroDivisionError(), RuntimeError("odd")])
def test_what_was_not_foreseen_is_one_message_and_shows_where_if_asked(failing, error):
    result = failing(error, KERAS_S4_DEBUG="0")
    assert result.exit_code == 1
    assert f"Error: {type(error).__name__}" in result.output
    assert "KERAS_S4_DEBUG=1 shows where" in result.output
    assert failing(error, KERAS_S4_DEBUG="1").exception is error


def test_memory_that_is_not_enough_says_what_to_do(failing):
    assert "Use fewer sequences" in failing(MemoryError()).output


def test_keras_pages_are_cut_to_what_matters():
    page = (
        "Exception encountered when calling Sequential.call().\n\n\x1b[1mInput 0 of layer 'dense' is incompatible: "
        "expected axis -1 to be 3\x1b[0m\n\nArguments received by Sequential.call():\n  • inputs=tf.Tensor(...)\n"
    )
    assert message_of(ValueError(page)) == "Input 0 of layer 'dense' is incompatible: expected axis -1 to be 3"
    graph = (
        "Graph execution error:\n\nDetected at node dense/MatMul defined at (most recent call last):\n"
        "<stack traces unavailable>\nIncompatible shapes: [3] and [4]\n\t [[{{node dense/MatMul}}]] [Op:__inference_1]"
    )
    assert message_of(RuntimeError(graph)) == "Incompatible shapes: [3] and [4]"
    assert message_of(ValueError("our own,\non two lines")) == "our own,\non two lines"
    assert len(message_of(ValueError("x" * 99999))) < LONGEST + 100
    assert message_of(KeyError("name")) == "name"
    assert message_of(OSError(28, "No space left", "/a/file")) == "/a/file: No space left"


def test_a_process_that_is_interrupted_at_work_ends_with_130(failing):
    before = signal.getsignal(signal.SIGINT)
    assert failing(KeyboardInterrupt()).exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
