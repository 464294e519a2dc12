"""Ranks found by Rank-Tuning; the model in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from rich.table import Table

from keras_s4 import compression, extras, plots
from keras_s4.cli import files
from keras_s4.cli.actions.models import load_model
from keras_s4.cli.console import console, show_table
from keras_s4.cli.options import Kind, Method
from keras_s4.compression.metrics import score_on
from keras_s4.compression.rank_tuning import rank_tuning
from keras_s4.files import json_bytes, model_bytes
from keras_s4.saved_folder import save_folder, with_record

RELATIVE_LOSS = 0.014

Arrays = Mapping[str, np.ndarray]


def run(
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
    reduced = compression.reduce(original, found.ranks, found.methods)
    figures = {files.TUNED_FIGURE: plots.draw(found.figure())} if plots.can_draw() else {}
    save(found, reduced, figures, out, json)


class Found(Protocol):
    """What Rank-Tuning or a search found."""

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""

    def table(self) -> Table:
        """The same as a table."""


def save(found: Found, model: keras.Model, figures: Mapping[str, bytes], out: Path, json: Path | None) -> None:
    """Writes the model and all numbers into a folder, and shows the table.

    Args:
        found: the result.
        model: the best one.
        figures: further files by name.
        out: the folder.
        json: where the numbers go too, or None.
    """
    contents = {"model.keras": model_bytes(model), "tuning.json": json_bytes(found.figures()), **figures}
    save_folder(out, with_record(contents, files.TUNED_RECORD, {}))
    files.write_json(json, found.figures())
    show_table(found.table())
    console().print(f"Model: {out / 'model.keras'}")
    if not plots.can_draw():
        console().print(f"{files.TUNED_FIGURE} is not drawn, for want of matplotlib: {extras.advice('report')}")
