"""`keras-s4 tune`: ranks found by evaluating models."""

from __future__ import annotations

import functools
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keras_s4.cli import files, options
from keras_s4.cli.console import console, one_message, quiet_start, show_table
from keras_s4.files import json_bytes, model_bytes
from keras_s4.saved_folder import check_before, save_folder, with_record

# Sequences that calibrate a converted model.
CALIBRATED = 128
# What the command itself writes, besides what the search keeps; `files.json` has the hashes.
RESULTS, FIGURE, RECORD = ("model.keras", "tuning.json"), "pareto.svg", "files.json"


class By(StrEnum):
    """Ways to find ranks."""

    RANK_TUNING = "rank-tuning"
    BAYESIAN = "bayesian"
    HYPERBAND = "hyperband"
    RANDOM = "random"
    GRID = "grid"


def tune(
    model: options.Model,
    data: Annotated[Path, typer.Argument(help="An .npz file: x_validation, y_validation; for searches also x, y.")],
    out: Annotated[Path, typer.Argument(help="Folder for the result.")],
    by: Annotated[By, typer.Option(help="Rank-Tuning trains nothing; the searches train every model briefly.")] = (
        By.RANK_TUNING
    ),
    relative_loss: Annotated[
        float | None,
        typer.Option(help="Rank-Tuning: part of the validation accuracy that may be lost; 0.014 if not given."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Rank-Tuning: the validation accuracy to hold instead.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Searches: models to try.")] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Searches: of the training of every model.")] = 2,
    budget: Annotated[
        list[str] | None, typer.Option(help="Searches: the most of a measure, such as tflite_bytes=20000; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Searches: of proposals and trainings.")] = 0,
    kind: options.Kinds = None,
    method: options.Methods = options.Method.BALANCED,
    json: options.Json = None,
) -> None:
    """Find the ranks of a trained model that hold its accuracy, or the best model within budgets.

    Ranks are chosen on validation data; report the result on test data. OUT gets the model, `model.keras`, all numbers,
    `tuning.json`, and a figure, `pareto.svg`. Interrupt it whenever you like: the same command continues.
    """
    with one_message(out):
        budgets = _budgets(budget or [])
        _check_fractions(relative_loss, target)
        needed = files.VALIDATION if by == By.RANK_TUNING else (*files.TRAINING, *files.VALIDATION)
        names = (*RESULTS, FIGURE, RECORD) if by == By.RANK_TUNING else (*RESULTS, RECORD)
        results = {str(out / name): out / name for name in (*names, "evaluations.json")}
        files.check_places({"the model": model, "the data": data}, results | {"--json": json})
        check_before(out, names, RECORD)
        arrays = files.load_arrays(data, *needed)
        with console().status("Starting TensorFlow ..."), quiet_start():
            from keras_s4 import plots
            from keras_s4.compression import parts_of
        original = files.load_model(model)
        parts = parts_of(original, kind)
        if by == By.RANK_TUNING:
            _refuse_budgets(budgets)
            found, tuned = _rank_tuned(original, arrays, parts, target, relative_loss, method, out)
        else:
            found, tuned = _searched(original, arrays, parts, by, trials, epochs, budgets, seed, method, out)
        contents = {"model.keras": model_bytes(tuned), "tuning.json": json_bytes(found.figures())}
        if by == By.RANK_TUNING:
            contents[FIGURE] = plots.draw(found.figure())
        save_folder(out, with_record(contents, RECORD, {}))
        files.write_json(json, found.figures())
        show_table(found.table())
        console().print(f"Model: {out / 'model.keras'}")


def _rank_tuned(original, arrays, parts, target, relative_loss, method, out: Path):
    from keras_s4 import compression
    from keras_s4.compression.metrics import score_on
    from keras_s4.compression.rank_tuning import rank_tuning

    if target is None and relative_loss is None:
        relative_loss = 0.014
    found = rank_tuning(
        original,
        score_on(*(arrays[name] for name in files.VALIDATION)),
        target,
        relative_loss,
        parts,
        method=method.value,
        cache=out / "evaluations.json",
    )
    return found, compression.reduce(original, found.ranks, method.value)


def _searched(original, arrays, parts, by, trials, epochs, budgets, seed, method, out: Path):
    from keras_s4 import tflite
    from keras_s4.compression.search import search

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
            tuner=by.value,
            trials=trials,
            epochs=epochs,
            seed=seed,
            parts=parts,
            methods=(method.value,),
            on_trial=lambda trial: progress.advance(bar),
        )
    return found, found.best_model()


def _budgets(texts: list[str]) -> dict[str, float]:
    """Numbers by name from `name=number`."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf or not name:
            raise ValueError(
                f"tune got --budget {text}; expected NAME=NUMBER, a number above 0, such as tflite_bytes=20000."
            )
        if found.setdefault(name, value) != value:
            raise ValueError(f"tune got two budgets of {name}, {found[name]:g} and {value:g}; give one.")
    return found


def _check_fractions(*values: float | None) -> None:
    """Refuse what click takes for numbers, but is none.

    Raises:
        ValueError: NaN or infinity.
    """
    for value in values:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"tune got {value} for --relative-loss or --target; expected a number.")


def _refuse_budgets(budgets: dict[str, float]) -> None:
    if budgets:
        raise ValueError(
            "Rank-Tuning holds an accuracy and knows no budget. Search with --by bayesian, or reduce by budget: "
            "keras-s4 reduce --flash."
        )
