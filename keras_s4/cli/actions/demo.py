"""The job on the smartwatch recordings, with a bar a stage and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Column, Table

from keras_s4 import datasets
from keras_s4.cli.console import Bars, console, show_table
from keras_s4.job import pipeline, report
from keras_s4.job.settings import Settings


def run(out: Path, fold: int, settings: Settings, restart: bool) -> None:
    """Does the job, or what is left of it, and shows what came out."""
    with Bars({name: stage.title for name, stage in pipeline.STAGES.items()}) as bars:
        summary = pipeline.run(datasets.smartwatch_task(fold), out, settings, bars.update, restart)
    _show(summary, out)


def _show(summary: dict[str, Any], out: Path) -> None:
    """The table, the verdict and where to find the rest."""
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
