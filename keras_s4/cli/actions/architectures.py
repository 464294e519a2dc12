"""Networks found by a search, alone or as the chief or a worker of several processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keras_s4 import extras, plots
from keras_s4.architecture_search import ArchitectureResult, search_architectures
from keras_s4.architectures import KINDS
from keras_s4.cli import files
from keras_s4.cli.console import console, show_table
from keras_s4.compression.search import distribution
from keras_s4.job.find_task import find_task


def run(
    source: Path,
    by: str,
    kinds: list[str] | None,
    trials: int,
    epochs: int,
    budgets: Mapping[str, float],
    options: Mapping[str, Any],
    out: Path,
    json: Path | None,
) -> None:
    """A search; the chief, or a process that is alone, writes the best network and shows how it was found.

    Args:
        source: an .npz file, a TOML file, or the name of a built-in task.
        by: the tuner.
        kinds: of networks; None for all.
        trials: of each kind.
        epochs: of the training of each network.
        budgets: limits by measure.
        options: further arguments of `search_architectures`.
        out: folder of the result.
        json: where the numbers go too, or None.
    """
    data = _data_of(source)
    kinds = kinds or list(KINDS)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    role = distribution.role()
    with Progress(*columns, transient=True, console=console(), disable=role == "chief") as progress:
        bar = progress.add_task("networks", total=trials * len(kinds))
        found = search_architectures(
            **data,
            folder=out,
            budgets=budgets or None,
            kinds=kinds,
            tuner=by,
            trials=trials,
            epochs=epochs,
            on_trial=lambda trial: progress.advance(bar),
            **options,
        )
    if role == "worker":
        console().print(f"Worker {distribution.tuner_id()} is done; the chief writes the result into {out}.")
        return
    _check_some(found)
    files.write_json(json, found.figures())
    show_table(found.table())
    best = found.best
    console().print(f"Best network: {best.network}")
    console().print(f"Model: {out / 'model.keras'}")
    if not plots.can_draw():
        console().print(f"pareto.svg is not drawn, for want of matplotlib: {extras.advice('report')}")


def _data_of(source: Path) -> dict[str, Any]:
    """A task, or the arrays of a file, as arguments of `search_architectures`."""
    if source.suffix not in (".npz", ".npy"):
        return {"x": find_task(str(source))}
    x, y, *validation = files.load_arrays(source, *files.TRAINING, *files.VALIDATION).values()
    return {"x": x, "y": y, "validation_data": tuple(validation)}


def _check_some(found: ArchitectureResult) -> None:
    """Refuse to go on with nothing.

    Raises:
        ValueError: no trial was run, as for a chief without workers; or none succeeded.
    """
    if not found.trials:
        raise ValueError(
            f"The search in {found.folder} ended without a trial: its time limit was over before one had been run. "
            "Give it more time; a chief needs workers, with the same command and names of their own in "
            "KERASTUNER_TUNER_ID."
        )
    _ = found.best
