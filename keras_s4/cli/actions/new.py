"""What was found in a folder as tables, and the task file."""

from __future__ import annotations

import warnings
from pathlib import Path

from rich import box
from rich.table import Column, Table

from keras_s4.cli.console import Bars, console, show_table
from keras_s4.cli.files import follow_link
from keras_s4.datasets.surveying import Survey, survey
from keras_s4.files import write_bytes
from keras_s4.recordings.frame import join_names

MOST_CLASSES = 30


def run(folder: Path, out: Path) -> None:
    """Looks at a folder, writes the task file, and shows what was found."""
    with Bars({"read": "Read"}) as bars, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are notes of the survey
        found = survey(folder, out, lambda done, total: bars.update("read", done, total, ""))
    write_bytes(follow_link(out), found.text.encode())
    show_table(_facts(found))
    if found.classes:
        show_table(_classes(found))
    for note in found.notes:
        console().print(f"Note: {note}", soft_wrap=False)
    if found.problem:
        console().print(f"\n{out} is written, and NOT ready to run: {found.problem}", style="bold red", soft_wrap=False)
    else:
        console().print(f"\n{out} is written. Look it over, then: keras-s4 run {out}")


def _facts(found: Survey) -> Table:
    """What is in the folder, a row a fact."""
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=box.SIMPLE, show_edge=False)
    for name, text in found.facts():
        table.add_row(name, text)
    return table


def _classes(found: Survey) -> Table:
    """How often each class is there."""
    steps = sum(count for _, count in found.classes.values()) or 1
    table = Table(
        "Class",
        Column("Recordings", justify="right"),
        Column("Steps", justify="right"),
        Column("Share", justify="right"),
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    for name, (recordings, count) in list(found.classes.items())[:MOST_CLASSES]:
        table.add_row(name, f"{recordings:,}", f"{count:,}", f"{100 * count / steps:.1f}%")
    left = list(found.classes)[MOST_CLASSES:]
    if left:
        table.add_row(f"and {join_names(left, 3)}", "", "", "")
    return table
