"""Ranks found by Rank-Tuning or by a search; the best model in a folder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keras_s4 import compression, plots, tflite
from keras_s4.cli import files
from keras_s4.cli.actions.models import load_model
from keras_s4.cli.console import console, show_table
from keras_s4.cli.options import Kind, Method
from keras_s4.compression.metrics import score_on
from keras_s4.compression.rank_tuning import RankTuning, rank_tuning
from keras_s4.compression.search import SearchResult, search
from keras_s4.files import json_bytes, model_bytes
from keras_s4.saved_folder import save_folder, with_record

# Sequences that calibrate a converted model.
CALIBRATED = 128
RELATIVE_LOSS = 0.014

Arrays = Mapping[str, np.ndarray]


def tune_ranks(
    model: Path,
    arrays: Arrays,
    target: float | None,
    relative_loss: float | None,
    kind: list[Kind] | None,
    method: Method,
    out: Path,
    json: Path | None,
) -> None:
    """Rank-Tuning: writes the model that holds an accuracy, and shows how it was found."""
    original = load_model(model)
    if target is None and relative_loss is None:
        relative_loss = RELATIVE_LOSS
    found = rank_tuning(
        original,
        score_on(*(arrays[name] for name in files.VALIDATION)),
        target,
        relative_loss,
        compression.parts_of(original, kind),
        method=method.value,
        cache=out / "evaluations.json",
    )
    reduced = compression.reduce(original, found.ranks, method.value)
    _save(found, reduced, {files.TUNED_FIGURE: plots.draw(found.figure())}, out, json)


def search_ranks(
    model: Path,
    arrays: Arrays,
    by: str,
    trials: int,
    epochs: int,
    budgets: Mapping[str, float],
    seed: int,
    kind: list[Kind] | None,
    method: Method,
    out: Path,
    json: Path | None,
) -> None:
    """A search: writes the best model within budgets, and shows how it was found."""
    original = load_model(model)
    x, y, *validation = (arrays[name] for name in (*files.TRAINING, *files.VALIDATION))
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True, console=console()) as progress:
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
            on_trial=lambda trial: progress.advance(bar),
        )
    _save(found, found.best_model(), {}, out, json)


def _save(
    found: RankTuning | SearchResult, model: keras.Model, figures: Mapping[str, bytes], out: Path, json: Path | None
) -> None:
    contents = {"model.keras": model_bytes(model), "tuning.json": json_bytes(found.figures()), **figures}
    save_folder(out, with_record(contents, files.TUNED_RECORD, {}))
    files.write_json(json, found.figures())
    show_table(found.table())
    console().print(f"Model: {out / 'model.keras'}")
