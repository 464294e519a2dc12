"""`keras-s4 reduce`: a smaller model, ready to be trained again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import load, start


def reduce(
    model: options.Model,
    out: Annotated[Path, typer.Argument(help="Where the reduced model goes, NAME.keras.")],
    rank: Annotated[int | None, typer.Option(min=1, help="One rank for all parts.")] = None,
    fraction: Annotated[float | None, typer.Option(help="A fraction of every part's ranks.")] = None,
    energy: Annotated[float | None, typer.Option(help="The lowest ranks that keep this energy, such as 0.999.")] = None,
    tolerance: Annotated[float | None, typer.Option(help="The lowest ranks that promise this relative error.")] = None,
    scores: Annotated[float | None, typer.Option(help="This fraction of all modes, the best of all layers.")] = None,
    flash: Annotated[int | None, typer.Option(help="Budget: bytes of constants.")] = None,
    ram: Annotated[int | None, typer.Option(help="Budget: bytes of states.")] = None,
    macs: Annotated[int | None, typer.Option(help="Budget: multiply-accumulates a step.")] = None,
    least_error: Annotated[
        bool,
        typer.Option("--least-error", help="Within budgets: by the error of the outputs on --data, not by energy."),
    ] = False,
    kind: options.Kinds = None,
    method: options.Methods = options.Method.BALANCED,
    data: options.Data = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="An .npz file with inputs `x` of other people or days than --data: the bound is probable."),
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw spectra and ranks into this file (.svg, .png).")] = None,
    json: options.Json = None,
) -> None:
    """Make a trained model smaller. Choose ranks by exactly one rule, or by budgets (one or several).

    The result is the start of a new training. With --data the table tells how far the outputs of the reduced model are
    from those of the model on them, and how far they could be at most: for certain, which is far off, or probably, with
    --calibration. Give it data that stand for those to come, but not those of the test: with --method auto and
    --least-error they decide.
    """
    budgets = {"flash": flash, "ram": ram, "multiply_accumulates": macs}
    rules = {"rank": rank, "fraction": fraction, "energy": energy, "tolerance": tolerance, "scores": scores}
    with report_errors():
        chosen = _one_rule(rules, budgets)
        if least_error:
            chosen = _by_error(*chosen, data)
        if calibration is not None and data is None:
            raise ValueError("reduce got --calibration without --data; give it the inputs x that are asked about.")
        files.check_model_name(out)
        written = {"the reduced model": out, "--figure": figure, "--json": json}
        files.check_places({"the model": model, "--data": data, "--calibration": calibration}, written)
        if figure is not None:
            load("figures").check_figure_name(figure)
        inputs, known = (None if path is None else files.load_arrays(path, "x")["x"] for path in (data, calibration))
        start("reduce").run(model, out, chosen, kind, method, inputs, known, figure, json)


def _one_rule(rules: dict[str, Any], budgets: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of the rule that was given, and its arguments."""
    rules = {name: value for name, value in rules.items() if value is not None}
    budgets = {name: value for name, value in budgets.items() if value is not None}
    if len(rules) + bool(budgets) != 1:
        given = ", ".join(f"--{name}" for name in (*rules, *budgets)) or "none"
        raise ValueError(
            f"reduce got {given}; give exactly one of --rank, --fraction, --energy, --tolerance and --scores, or "
            "budgets: --flash, --ram, --macs."
        )
    for name, value in (rules | budgets).items():
        if not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; expected a number.")
    return ("budget", budgets) if budgets else next(iter(rules.items()))


def _by_error(rule: str, value: Any, data: Path | None) -> tuple[str, dict[str, Any]]:
    """The rule that fills budgets by the measured error, if there are budgets and data."""
    if rule != "budget":
        raise ValueError(f"reduce got --least-error with --{rule}; give budgets instead: --flash, --ram, --macs.")
    if data is None:
        raise ValueError("reduce got --least-error without --data; give it inputs x to measure the error on.")
    return "least_error", value
