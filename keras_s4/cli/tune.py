"""`keras-s4 tune`: ranks found by evaluating models, or whole networks found by training them."""

from __future__ import annotations

import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_s4 import extras
from keras_s4.cli import architecture_options as networks
from keras_s4.cli import files, options
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import start
from keras_s4.saved_folder import check_before

# Seconds that a chief waits for its workers if nothing is said.
CHIEF_LIMIT = 24 * 3600.0
# Of the training of a reduced model, and of a new network.
EPOCHS, NETWORK_EPOCHS = 2, 20


class By(StrEnum):
    """Ways to find ranks."""

    RANK_TUNING = "rank-tuning"
    BAYESIAN = "bayesian"
    HYPERBAND = "hyperband"
    RANDOM = "random"
    GRID = "grid"


def tune(
    model: Annotated[
        Path,
        typer.Argument(
            help="A trained model, as model.save('NAME.keras') writes it; with --architecture there is none, and DATA "
            "comes first."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="An .npz file: x_validation, y_validation; for searches also x, y.")],
    out: Annotated[Path | None, typer.Argument(help="Folder for the result.", show_default=False)] = None,
    by: Annotated[
        By | None,
        typer.Option(
            help="Rank-Tuning trains nothing; the searches train every model briefly. rank-tuning if not given, with "
            "--architecture bayesian."
        ),
    ] = None,
    relative_loss: Annotated[
        float | None,
        typer.Option(help="Rank-Tuning: part of the validation accuracy that may be lost; 0.014 if not given."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Rank-Tuning: the validation accuracy to hold instead.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Searches: models to try; with --architecture of each kind.")] = 20,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Searches: of the training of every model; 2, or with --architecture 20."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Searches: the most of a measure, such as tflite_bytes=20000; repeatable. With --architecture "
            "instructions, instructions_a_second, flash_bytes, ram_bytes."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Searches: of proposals and trainings.")] = 0,
    time_limit: Annotated[
        float | None,
        typer.Option(help="Searches: seconds after which no trial is begun, and a chief waits no longer."),
    ] = None,
    kind: options.Kinds = None,
    method: options.Methods = options.Method.BALANCED,
    json: options.Json = None,
    architecture: networks.Architecture = False,
    network: networks.Networks = None,
    shared_modes: networks.SharedModes = None,
    core: networks.Core = "m4",
    rate: networks.InputRate = None,
    start_from: networks.Starts = networks.Start.NOTHING,
) -> None:
    """Find the ranks of a trained model that hold its accuracy, or the best model within budgets.

    Ranks are chosen on validation data; report the result on test data. OUT gets the model, `model.keras`, all numbers,
    `tuning.json`, and a figure, `pareto.svg`. Interrupt it whenever you like: the same command continues.

    With --architecture and --by bayesian, hyperband or random whole networks are searched, of every kind, width and
    depth, S4 blocks with modes of each channel and with shared ones, by the same recipe, and no trained model is
    needed: `keras-s4 tune DATA OUT --architecture --by bayesian --budget instructions=9000 --budget
    flash_bytes=30000`. What a network takes is known before it is trained. OUT gets
    the best one, `model.keras` and `architecture.json`, and all others, `search.txt`, `search.json`, `pareto.svg`.

    Several processes or machines share a search: the same command in each, an OUT that all of them see,
    KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT of the chief, and KERASTUNER_TUNER_ID, "chief" once and another name
    for each worker. Give it a --time-limit: a chief whose workers crashed waits that long, 24 hours if none is given.
    """
    with report_errors(data if architecture else out):
        budgets = _budgets(budget or [])
        _check_fractions(relative_loss, target)
        model, data, out = networks.places_of(architecture, model, data, out)
        by = by or (By.BAYESIAN if architecture else By.RANK_TUNING)
        given = {"networks": network, "shared-modes": shared_modes, "core": core, "rate": rate, "start": start_from}
        excluded = {"relative-loss": relative_loss is not None, "target": target is not None, "kind": kind}
        networks.refuse_others(architecture, given, excluded)
        if by == By.RANK_TUNING:
            _refuse_rank_tuning(architecture, budgets, time_limit)
        else:
            extras.require("search", "Searches over networks" if architecture else "Searches over ranks")
            time_limit = _limit_of(time_limit)
        if architecture:
            _search_networks(data, out, by, network, trials, epochs, budgets, given, method, seed, time_limit, json)
            return
        needed = files.VALIDATION if by == By.RANK_TUNING else (*files.TRAINING, *files.VALIDATION)
        names = (*files.TUNED, *([files.TUNED_FIGURE] if by == By.RANK_TUNING else []), files.TUNED_RECORD)
        results = {str(out / name): out / name for name in (*names, "evaluations.json")}
        files.check_places({"the model": model, "the data": data}, results | {"--json": json})
        check_before(out, names, files.TUNED_RECORD)
        arrays = files.load_arrays(data, *needed)
        if by == By.RANK_TUNING:
            start("tune").run(model, arrays, target, relative_loss, kind, method, out, json)
        else:
            start("search").run(
                model, arrays, by.value, trials, epochs or EPOCHS, budgets, seed, time_limit, kind, method, out, json
            )


def _search_networks(
    data: Path,
    out: Path,
    by: By,
    kinds: list[networks.Network] | None,
    trials: int,
    epochs: int | None,
    budgets: dict[str, float],
    given: dict[str, Any],
    method: options.Method,
    seed: int,
    time_limit: float | None,
    json: Path | None,
) -> None:
    """A search over networks, its arguments checked before anything heavy is loaded."""
    if by == By.GRID:
        raise ValueError("There are too many networks to try all: --by bayesian, hyperband or random.")
    read = {"the data": data} if data.suffix in (".npz", ".npy", ".toml") else {}
    for path in read.values():
        files.check_is_file("file", path, "Give an .npz or TOML file, or the name of a built-in task.")
    files.check_places(read, {"--json": json}, out=out)
    more = {
        "spaces": networks.spaces_of(kinds, given["shared-modes"]),
        "core": given["core"],
        "rate": given["rate"],
        "start": given["start"].value,
        "method": method.value,
        "seed": seed,
        "time_limit": time_limit,
    }
    kinds = None if kinds is None else [kind.value for kind in kinds]
    start("architectures").run(data, by.value, kinds, trials, epochs or NETWORK_EPOCHS, budgets, more, out, json)


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


def _refuse_rank_tuning(architecture: bool, budgets: dict[str, float], time_limit: float | None) -> None:
    """Refuses what Rank-Tuning has no use for."""
    if architecture:
        raise ValueError(
            "Rank-Tuning finds ranks of a trained model. Search networks with --by bayesian, hyperband or random."
        )
    if budgets:
        raise ValueError(
            "Rank-Tuning holds an accuracy and knows no budget. Search with --by bayesian, or reduce by budget: "
            "keras-s4 reduce --flash."
        )
    if time_limit is not None:
        raise ValueError(
            "Rank-Tuning continues where it was stopped and knows no --time-limit; searches do: --by bayesian."
        )


def _limit_of(time_limit: float | None) -> float | None:
    """Seconds of a search; of a chief, which would wait for a crashed worker forever, never without end."""
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"tune got --time-limit {time_limit:g}; expected seconds, more than 0.")
    chief = "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")
    return CHIEF_LIMIT if time_limit is None and chief else time_limit
