"""What all commands share: one message for what went wrong, a quiet start, tables and progress bars."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from keras_s4.cli import interruption
from keras_s4.cli.interruption import INTERRUPTED
from keras_s4.cli.messages import message_of
from keras_s4.tables import whole_width

USER_ERRORS = (ValueError, OSError, NotImplementedError, ImportError)
DEBUG = "KERAS_S4_DEBUG"
# For terminals and files that cannot hold these.
_PLAIN = {"–": "-", "—": "-", "·": ".", "…": "...", "→": "->", "×": "x", "±": "+-", "µ": "u", "≤": "<=", "≥": ">="}


class _Console(Console):
    """Prints names as they are, and lets the work go on when nobody reads any more, as in `| head`."""

    def on_broken_pipe(self) -> None:
        _close_output()


def console(width: int | None = None) -> Console:
    """What commands print with."""
    return _Console(width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show_table(table: Table) -> None:
    """Prints a table whole: on a narrow terminal long lines are broken, where rich would leave columns out."""
    console(max(console().width, whole_width(table))).print(table, soft_wrap=False)


class Bars:
    """One progress bar a stage; added when the stage begins."""

    def __init__(self, titles: dict[str, str]):
        self._titles = titles
        self._tasks: dict[str, TaskID] = {}
        narrow = Column(no_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", table_column=narrow),
            BarColumn(bar_width=12),
            TaskProgressColumn(table_column=narrow),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("{task.fields[note]}", style="dim", table_column=narrow, markup=False),
            console=_Console(),
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """Shows how far a stage is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(self._titles[stage], note=note)
        self._progress.update(self._tasks[stage], completed=done, total=total, note=note)


@contextlib.contextmanager
def report_errors(out: Path | None = None) -> Iterator[None]:
    """Turns what goes wrong, and Ctrl-C, into one message; with KERAS_S4_DEBUG=1 errors stay as they are.

    Args:
        out: where the same command continues, or None if it begins anew.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted." + (f" The same command continues from {out}." if out else ""), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except BrokenPipeError:
        _close_output()
    except Exception as error:
        if os.environ.get(DEBUG, "0") not in ("", "0"):
            raise
        if isinstance(error, USER_ERRORS):
            typer.echo(f"Error: {message_of(error)}", err=True)
        elif isinstance(error, MemoryError):
            typer.echo(
                "Error: The memory of this computer is not enough. Use fewer sequences, or a smaller model.", err=True
            )
        else:
            name = type(error).__name__
            typer.echo(f"Error: {name}: {message_of(error)}\nThis was not foreseen; {DEBUG}=1 shows where.", err=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def hide_start_messages() -> Iterator[None]:
    """Keeps from the terminal what TensorFlow says about processors while it is imported, unless that fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.stderr is None:  # it is closed
        yield
        interruption.raise_again()
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    interruption.speak_to(terminal)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except Exception:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            os.dup2(terminal, 2)
            interruption.speak_to(2)
            interruption.raise_again()
            os.close(terminal)


def allow_any_encoding() -> None:
    """Lets output that is not UTF-8 show something like what cannot be written in it."""
    codecs.register_error("keras-s4", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="keras-s4")


@contextlib.contextmanager
def flush_output() -> Iterator[None]:
    """Says so if the last of the output cannot be written, as on a full disk."""
    try:
        yield
    finally:
        try:
            if sys.stdout is not None:  # it is not closed
                sys.stdout.flush()
        except BrokenPipeError:
            _close_output()
        except OSError as error:
            _close_output()
            typer.echo(f"Error: The output cannot be written: {error.strerror}.", err=True)
            raise SystemExit(1) from None


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in text), error.end


def _close_output() -> None:
    """Sends what is still printed nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
