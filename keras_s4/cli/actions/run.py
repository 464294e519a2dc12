"""The job on a task, with a bar a stage and its table."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Column, Table

from keras_s4 import distribution
from keras_s4.cli.console import Bars, console, show_table
from keras_s4.cli.together import Place
from keras_s4.datasets import Task
from keras_s4.job import folds, pipeline, report, several
from keras_s4.job.find_task import find_task, settings_of
from keras_s4.job.sections import Section, sections_of


def run(
    name: str, out: Path, fold: int | None, given: dict[str, Any], restart: bool, place: Place | None = None
) -> None:
    """Does the job, or what is left of it, and shows what came out."""
    if place is not None:
        distribution.join(*place)
    task = find_task(name, fold)
    if not several.is_chief():
        count = pipeline.follow(task, settings_of(task, given))
        console().print(f"{count} trainings done together; process 0 has the results.")
        return
    with _bars_of(task) as bars:
        summary = pipeline.run(task, out, settings_of(task, given), bars.update, restart)
    _show(summary, out)


def run_folds(name: str, out: Path, given: dict[str, Any], restart: bool) -> None:
    """Does the job on every fold, and shows how much the figures vary."""
    with contextlib.ExitStack() as stack:

        def progress(fold: int) -> pipeline.Progress:
            stack.pop_all().close()
            console().print(f"Fold {fold}")
            return stack.enter_context(_bars_of(find_task(name, fold))).update

        found = folds.run_folds(
            lambda fold: find_task(name, fold), out, lambda task: settings_of(task, given), progress, restart
        )
    _show_folds(found)
    console().print(f"Figures: {out / folds.FOLDS}, and report.html in the folder of each fold")


def train(name: str, out: Path, fold: int | None, given: dict[str, Any], restart: bool) -> None:
    """Trains the full model, and says how good it is."""
    task = find_task(name, fold)
    with Bars({"train": pipeline.STAGES["train"].title}) as bars:
        found = pipeline.train(task, out, settings_of(task, given), bars.update, restart)
    heading, show = report.SCORES[found["score"]]
    for split in ("train", "validation"):
        console().print(f"{heading} on {split} data: {show(found[split][found['score']])}")
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
    for section in sections_of(summary):
        _show_section(section)
    for sentence in summary["advice"]:
        console().print(f"Next: {sentence}", soft_wrap=False)
    console().print(f"Firmware: {out / 'firmware'}\nFigures:  {out / 'report.html'}")


def _show_section(section: Section) -> None:
    table = Table(
        *(Column(text, justify="right") for text in section.headings),
        title=section.title,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.columns[0].justify = "left"
    for row in section.rows:
        table.add_row(*row)
    show_table(table)
    console().print(section.text, soft_wrap=False)


def _show_folds(found: dict[str, Any]) -> None:
    """Each figure in each fold, its mean and how much it varies."""
    names = [f"fold {index}" for index in range(found["folds"])]
    table = Table("", "", *names, "mean", "±", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in found["rows"]:
        heading, show = report.SCORES.get(row["figure"], (row["figure"].replace("_", " "), "{:.1%}".format))
        values = [*row["values"], row["mean"], row["deviation"]]
        table.add_row(row["row"], heading, *("–" if value is None else show(value) for value in values))
    show_table(table)


def _bars_of(task: Task) -> Bars:
    return Bars({name: stage.title for name, stage in pipeline.stages_of(task).items()})


def _title(summary: dict[str, Any]) -> str:
    group = summary["task"]["group"]
    unseen = f"{group}s that the training has never seen" if group else "recordings used for nothing else"
    return f"{summary['test_windows']} test windows of {unseen}"
