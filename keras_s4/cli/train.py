"""`keras-s4 train`: the first stage of `keras-s4 run` alone."""

from __future__ import annotations

from typing import Any

from keras_s4.cli import files
from keras_s4.cli.console import report_errors
from keras_s4.cli.job_options import Fold, Out, Restart, TaskName, takes_settings
from keras_s4.cli.loading import start
from keras_s4.job.places import folder_of


@takes_settings
def train(
    task: TaskName, out: Out = None, fold: Fold = None, restart: Restart = False, *, settings: dict[str, Any]
) -> None:
    """Train the full model of a task alone: OUT/trained.keras.

    `keras-s4 run` with the same arguments does the rest. Interrupt it whenever you like: the same command continues.
    """
    out = out or folder_of(task)
    with report_errors(out):
        files.check_places({}, {}, out=out)
        start("run").train(task, out, fold, settings, restart)
