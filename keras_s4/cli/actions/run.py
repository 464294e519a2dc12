"""The job on a task, with a bar a stage and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Column, Table

from keras_s4.cli.console import Bars, console, show_table
from keras_s4.job import pipeline, report
from keras_s4.job.find_task import find_task, settings_of


def run(name: str, out: Path, fold: int | None, given: dict[str, Any], restart: bool) -> None:
    """Does the job, or what is left of it, and shows what came out."""
    task = find_task(name, fold)
    with Bars({key: stage.title for key, stage in pipeline.STAGES.items()}) as bars:
        summary = pipeline.run(task, out, settings_of(task, given), bars.update, restart)
    _show(summary, out)


def train(name: str, out: Path, fold: int | None, given: dict[str, Any], restart: bool) -> None:
    """Trains the full model, and says how good it is."""
    task = find_task(name, fold)
    with Bars({"train": pipeline.STAGES["train"].title}) as bars:
        pipeline.train(task, out, settings_of(task, given), bars.update, restart)
    console().print(f"Model: {out / 'trained.keras'}")


def _show(summary: dict[str, Any], out: Path) -> None:
    """The table, the verdict and where to find the rest."""
    headings, rows = report.table_cells(summary)
    table = Table(
        *(Column(text.replace(" ", "\n"), justify="right", vertical="bottom", no_wrap=True) for text in headings),
        title=_title(summary),
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


def _title(summary: dict[str, Any]) -> str:
    group = summary["task"]["group"]
    unseen = f"{group}s that the training has never seen" if group else "recordings used for nothing else"
    return f"{summary['test_windows']} test windows of {unseen}"
