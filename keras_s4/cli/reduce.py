"""`keras-s4 reduce`: a smaller model, ready to be trained again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from keras_s4.cli import files, options
from keras_s4.cli.console import console, one_message, quiet_start, show_table

# Sequences on which the error of the model and its bound are taken.
COMPARED = 64


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
    kind: options.Kinds = None,
    method: options.Methods = options.Method.BALANCED,
    data: options.Data = None,
    figure: Annotated[Path | None, typer.Option(help="Draw spectra and ranks into this file (.svg, .png).")] = None,
    json: options.Json = None,
) -> None:
    """Make a trained model smaller. Choose ranks by exactly one rule, or by budgets (one or several).

    The result is the start of a new training. With --data the table tells how far the outputs of the reduced model are
    from those of the model on them, and how far they could be at most.
    """
    budgets = {"flash": flash, "ram": ram, "multiply_accumulates": macs}
    rules = {"rank": rank, "fraction": fraction, "energy": energy, "tolerance": tolerance, "scores": scores}
    with one_message():
        chosen = _one_rule(rules, budgets)
        files.check_model_name(out)
        written = {"the reduced model": out, "--figure": figure, "--json": json}
        files.check_places({"the model": model, "--data": data}, written)
        files.check_figure_name(figure)
        inputs = None if data is None else files.load_arrays(data, "x")["x"]
        with console().status("Starting TensorFlow ..."), quiet_start():
            from keras_s4 import compression, plots
            from keras_s4.compression.kept import kept_weights
        original = files.load_model(model)
        parts = compression.parts_of(original, kind, inputs)
        ranks = _chosen_ranks(original, parts, *chosen)
        reduced = compression.reduce(original, ranks, method.value, inputs)
        files.save_model(reduced, out)
        found = compression.Spectrum(parts, kept_weights(original, parts))
        figures = _figures(original, reduced, found, ranks, method, inputs)
        files.write_json(json, figures)
        files.write_figure(figure, plots.spectra(found.curves(ranks)))
        show_table(_table(figures, found.kept_text()))
        console().print(f"Reduced model: {out}")


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


def _chosen_ranks(model, parts, rule: str, value) -> dict[str, int]:
    from keras_s4 import ranks

    if rule == "budget":
        return ranks.budget(model, **value, parts=parts)
    if rule in ("rank", "fraction"):
        return ranks.uniform(model, **{rule: value}, parts=parts)
    return getattr(ranks, rule)(model, value, parts=parts)


def _figures(original, reduced, spectrum, ranks, method, inputs) -> dict[str, Any]:
    """What every part and the model lose, and what stays as it is, JSON-ready."""
    from keras_s4.compression.spectrum import KEPT

    found = {
        "parts": {
            name: {
                "kind": part.kind,
                "full_rank": part.max_rank,
                "rank": ranks[name],
                "bytes": [part.cost(part.max_rank).flash, part.cost(ranks[name]).flash],
                "error_bound": part.error_bound(ranks[name]) if method == "balanced" or part.kind == "matrix" else None,
                "error": _measured_error(reduced, part) if part.kind == "states" else None,
            }
            for name, part in spectrum.parts.items()
        },
        KEPT: [item.figures() for item in spectrum.kept],
        "method": method.value,
        "parameters": [original.count_params(), reduced.count_params()],
    }
    if inputs is not None:
        found["outputs"] = _output_errors(original, reduced, inputs[:COMPARED])
    return found


def _output_errors(original, reduced, inputs) -> dict[str, Any]:
    """How far the outputs are off, and at most can be; why not, where a layer has no bound."""
    import keras
    import numpy as np

    from keras_s4.compression.error_bound import error_bound
    from keras_s4.compression.error_rules import over_time

    try:
        return error_bound(original, reduced, inputs, local="data").figures()
    except ValueError as error:
        pairs = (keras.tree.flatten(model.predict(inputs, verbose=0)) for model in (original, reduced))
        worst = max(over_time(np.float64(b) - np.float64(a)).max() for a, b in zip(*pairs, strict=True))
        return {"bound": None, "measured": float(worst), "no bound": str(error)}


def _measured_error(reduced, part) -> float:
    """The Hinf error of a layer's worst channel, relative to the channel."""
    from keras_s4.surgery.cloning import layer_at

    error = part.system - layer_at(reduced, part.name).system()
    return float((error.hinf_norm() / part.system.hinf_norm()).max())


def _table(figures: dict[str, Any], kept: str | None) -> Table:
    title = f"Reduced by the method {figures['method']}"
    table = Table("part", "rank", "bytes", "relative error, at most", "measured", title=title)
    table.caption, table.caption_justify = kept, "left"
    for name, part in figures["parts"].items():
        errors = ("–" if part[key] is None else f"{part[key]:.3g}" for key in ("error_bound", "error"))
        before, after = part["bytes"]
        table.add_row(name, f"{part['full_rank']:,} to {part['rank']:,}", f"{before:,} to {after:,}", *errors)
    table.add_section()
    before, after = figures["parameters"]
    table.add_row("parameters of the model", "", f"{before:,} to {after:,}", "", "")
    if "outputs" in figures:
        found = (figures["outputs"][key] for key in ("bound", "measured"))
        errors = ("–" if number is None else f"{number:.3g}" for number in found)
        table.add_row("its outputs on the data (absolute)", "", "", *errors)
    return table
