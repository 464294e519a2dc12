"""Ranks found by a search, alone or as the chief or a worker of several processes; the best model in a folder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keras_s4 import compression, tflite
from keras_s4.cli import files
from keras_s4.cli.actions.models import load_model
from keras_s4.cli.actions.tune import Arrays, save
from keras_s4.cli.console import console
from keras_s4.cli.options import Kind, Method
from keras_s4.compression.search import SearchResult, distribution, search

# Sequences that calibrate a converted model.
CALIBRATED = 128


def run(
    model: Path,
    arrays: Arrays,
    by: str,
    trials: int,
    epochs: int,
    budgets: Mapping[str, float],
    seed: int,
    time_limit: float | None,
    kind: list[Kind] | None,
    method: Method,
    out: Path,
    json: Path | None,
) -> None:
    """A search; the chief, or a process that is alone, writes the best model and shows how it was found."""
    original = load_model(model)
    x, y, *validation = (arrays[name] for name in (*files.TRAINING, *files.VALIDATION))
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    role = distribution.role()
    with Progress(*columns, transient=True, console=console(), disable=role == "chief") as progress:
        bar = progress.add_task("trials", total=trials)
        found = search(
            original,
            x,
            y,
            validation_data=tuple(validation),
            folder=out,
            budgets=budgets or None,
            measure=functools.partial(tflite.measure, representative_data=x[:CALIBRATED]),
            tuner=by,
            trials=trials,
            epochs=epochs,
            seed=seed,
            parts=compression.parts_of(original, kind),
            methods=(method.value,),
            time_limit=time_limit,
            on_trial=lambda trial: progress.advance(bar),
        )
    if role == "worker":
        console().print(f"Worker {distribution.tuner_id()} is done; the chief writes the result into {out}.")
    else:
        _check_some(found)
        save(found, found.best_model(), {}, out, json)


def _check_some(found: SearchResult) -> None:
    """Refuse to go on with nothing.

    Raises:
        ValueError: no trial was run, as for a chief without workers.
    """
    if not found.trials:
        raise ValueError(
            f"The search in {found.folder} ended without a trial: its time limit was over before a worker had run one. "
            "Start the workers with the same command, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT of the chief, "
            "and names of their own in KERASTUNER_TUNER_ID."
        )
