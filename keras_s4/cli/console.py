"""What all commands share: one message for what a user can put right, a quiet start, progress bars."""

from __future__ import annotations

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

USER_ERRORS = (ValueError, OSError, NotImplementedError, ImportError)
INTERRUPTED = 130


def show_table(table: Table) -> None:
    """Prints a table whole: on a narrow terminal long lines are broken, where rich would leave columns out."""
    console = Console()
    Console(width=max(console.width, Console(width=1000).measure(table).maximum)).print(table)


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
            TextColumn("{task.fields[note]}", style="dim", table_column=narrow),
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
def one_message(out: Path | None = None) -> Iterator[None]:
    """Turns what a user can put right, and Ctrl-C, into one message.

    Args:
        out: where the same command continues, or None if it begins anew.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted." + (f" The same command continues from {out}." if out else ""), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except USER_ERRORS as error:
        typer.echo(f"Error: {_text(error)}", err=True)
        raise typer.Exit(1) from None


def _text(error: BaseException) -> str:
    """An error's message; of an `OSError` the reason and the file, without the number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None or str(error.filename) in error.strerror:
        return error.strerror
    return f"{error.filename}: {error.strerror}"


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps from the terminal what TensorFlow says about processors while it is imported, unless that fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
