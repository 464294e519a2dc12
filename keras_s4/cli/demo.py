"""`keras-s4 demo`: the whole way from recordings to firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Column, Table

from keras_s4.cli import files
from keras_s4.cli.console import Bars, console, one_message, quiet_start, show_table
from keras_s4.job.settings import Settings

DEFAULTS = Settings()


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/smartwatch"),
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which people are kept for the test.")] = 0,
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
    with one_message(out):
        settings = Settings(seed, channels, states, blocks, fraction, epochs, retrain_epochs)
        files.check_places({}, {}, out=out)
        with console().status("Starting TensorFlow ..."), quiet_start():
            from keras_s4 import datasets
            from keras_s4.job import pipeline
        with Bars({name: stage.title for name, stage in pipeline.STAGES.items()}) as bars:
            summary = pipeline.run(datasets.smartwatch_task(fold), out, settings, bars.update, restart)
        _show(summary, out)


def _show(summary: dict[str, Any], out: Path) -> None:
    """The table, the verdict and where to find the rest."""
    from keras_s4.job import report

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
    show_table(table)
    style = None if summary["comparison"]["bit_exact"] else "bold red"
    console().print(report.state_verdict(summary), style=style, soft_wrap=False)
    console().print(f"Firmware: {out / 'firmware'}\nFigures:  {out / 'report.html'}")
