"""`keras-s4 run`: the whole way from recordings to firmware."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from keras_s4.cli import files, together
from keras_s4.cli.console import report_errors
from keras_s4.cli.job_options import Fold, Out, Restart, TaskName, takes_settings
from keras_s4.cli.loading import start
from keras_s4.job.places import folder_of


@takes_settings
def run(
    task: TaskName,
    out: Out = None,
    fold: Fold = None,
    folds: Annotated[bool, typer.Option("--folds", help="Do it on every fold, and show how much the figures vary.")] = (
        False
    ),
    restart: Restart = False,
    distributed: together.Distributed = False,
    coordinator: together.Coordinator = None,
    processes: together.Processes = None,
    process: together.Process = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Do everything on a task: train, reduce, train again, train aware, convert, verify, report.

    The result is a model for TensorFlow Lite Micro in OUT/firmware, a page with figures, OUT/report.html, and all
    numbers, OUT/summary.json. Interrupt it whenever you like: the same command continues.
    """
    out = out or folder_of(task)
    with report_errors(out):
        if folds and fold is not None:
            raise ValueError(f"run got --folds, which is all of them, and --fold {fold}; expected one of the two.")
        place = together.place_of(distributed, coordinator, processes, process)
        if folds and place:
            raise ValueError("run got --folds and --distributed; start one fold after the other, with --fold.")
        files.check_places({}, {}, out=out)
        if folds:
            start("run").run_folds(task, out, settings, restart)
        else:
            start("run").run(task, out, fold, settings, restart, place)
