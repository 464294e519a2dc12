"""The command `keras-s4`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from keras_s4.settings import Settings

DEFAULTS = Settings()
USER_ERRORS = (ValueError, OSError, NotImplementedError, ImportError)
INTERRUPTED = 130

app = typer.Typer(
    help="S4 models in Keras: trained, reduced with control theory, and turned into programs for microcontrollers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """What the command `keras-s4` runs."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keras-s4 {importlib.metadata.version('keras-s4')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/smartwatch"),
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which people are kept for the test.")] = DEFAULTS.fold,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another training.")] = DEFAULTS.seed,
    channels: Annotated[int, typer.Option(min=1, help="Width of the model.")] = DEFAULTS.channels,
    states: Annotated[
        int, typer.Option(min=1, help="Memory of the full model: modes (complex states) per channel.")
    ] = DEFAULTS.states,
    blocks: Annotated[int, typer.Option(min=1, help="Depth of the model: S4 blocks.")] = DEFAULTS.blocks,
    fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the states to keep, above 0 and at most 1.")
    ] = DEFAULTS.fraction,
    epochs: Annotated[int, typer.Option(min=1, help="Rounds of training of the full model.")] = DEFAULTS.epochs,
    retrain_epochs: Annotated[
        int, typer.Option(min=1, help="Rounds of training of the reduced model.")
    ] = DEFAULTS.retrain_epochs,
    restart: Annotated[
        bool, typer.Option("--restart", help="Remove what an earlier run wrote into the folder, and begin anew.")
    ] = False,
) -> None:
    """Do everything on real sensor data: train, reduce, train again, convert, verify, report.

    A smartwatch recorded ten people doing seven shoulder exercises. The result is a model for TensorFlow Lite Micro in
    OUT/firmware, a page with figures, OUT/report.html, and all numbers, OUT/summary.json. Interrupt it whenever you
    like: the same command continues.
    """
    with _one_message(out):
        settings = Settings(fold, seed, channels, states, blocks, fraction, epochs, retrain_epochs)
        with Console().status("Starting TensorFlow ..."), _quiet_start():
            from keras_s4 import pipeline
        with _Bars({name: stage.title for name, stage in pipeline.STAGES.items()}) as bars:
            summary = pipeline.run(out, settings, bars.update, restart)
        _show(summary, out)


def _show(summary: dict[str, Any], out: Path) -> None:
    """The table, the verdict and where to find the rest."""
    from keras_s4 import report

    headings, rows = report.table_cells(summary)
    table = Table(
        *(Column(text.replace(" ", "\n"), justify="right", vertical="bottom", no_wrap=True) for text in headings),
        title=f"{summary['test_windows']} test windows of people whom the training has never seen",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    table.columns[0].justify = "left"
    for row in rows:
        table.add_row(*row)
    console = Console()
    # On a narrow terminal long lines are broken, where rich would leave columns out.
    Console(width=max(console.width, Console(width=1000).measure(table).maximum)).print(table)
    console.print(report.verdict(summary), style=None if summary["comparison"]["bit_exact"] else "bold red")
    console.print(f"Firmware: {out / 'firmware'}\nFigures:  {out / 'report.html'}", highlight=False, soft_wrap=True)


class _Bars:
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

    def __enter__(self) -> _Bars:
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
def _one_message(out: Path) -> Iterator[None]:
    """Turns what a user can put right, and Ctrl-C, into one message."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command continues from {out}.", err=True)
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
def _quiet_start() -> Iterator[None]:
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


if __name__ == "__main__":
    main()
