"""A model reduced by one rule; what each part and the model lose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.table import Table

from keras_s4 import compression, plots
from keras_s4.cli.actions.models import load_model, save_model
from keras_s4.cli.console import console, show_table
from keras_s4.cli.figures import write_figure
from keras_s4.cli.files import write_json
from keras_s4.cli.options import Kind, Method
from keras_s4.compression import ranks
from keras_s4.compression.calibrated_error import check_enough
from keras_s4.compression.error_bound import PROBABLE, check_rules, error_bound
from keras_s4.compression.error_rules import over_time
from keras_s4.compression.kept import list_kept_weights
from keras_s4.compression.spectrum import KEPT
from keras_s4.surgery.cloning import layer_at

# Sequences on which the error of the model and its bound are taken.
COMPARED = 64


def run(
    model: Path,
    out: Path,
    rule: tuple[str, Any],
    kind: list[Kind] | None,
    method: Method,
    inputs: np.ndarray | None,
    calibration: np.ndarray | None,
    figure: Path | None,
    json: Path | None,
) -> None:
    """Writes the reduced model, and shows what it lost.

    Args:
        model: file that holds the model.
        out: file for the reduced model.
        rule: a function of `keras_s4.ranks`, or "rank" or "fraction", and its argument.
        kind: of the parts.
        method: of reduction.
        inputs: `[B, L, features]`, or None.
        calibration: other inputs, on which bounds become probable, or None.
        figure: file for the spectra.
        json: file for all numbers.
    """
    original = load_model(model)
    if calibration is not None:
        check_rules(original)
        check_enough(calibration)
    parts = compression.parts_of(original, kind, inputs)
    chosen = _choose_ranks(original, parts, *rule, inputs, method)
    reduced = compression.reduce(original, chosen, method.value, inputs)
    save_model(reduced, out)
    found = compression.Spectrum(parts, list_kept_weights(original, parts))
    figures = _figures(original, reduced, found, chosen, method, inputs, calibration)
    write_json(json, figures)
    write_figure(figure, lambda: plots.spectra(found.curves(chosen)))
    show_table(_table(figures, found.kept_text()))
    if method == Method.AUTO:
        show_table(reduced.method_choice.table())
    console().print(f"Reduced model: {out}")


def _choose_ranks(model, parts, rule: str, value, inputs, method: Method) -> dict[str, int]:
    if rule == "least_error":
        return ranks.least_error(model, inputs, **value, method=method.value, parts=parts)
    if rule == "budget":
        return ranks.budget(model, **value, parts=parts)
    if rule in ("rank", "fraction"):
        return ranks.uniform(model, **{rule: value}, parts=parts)
    return getattr(ranks, rule)(model, value, parts=parts)


def _figures(original, reduced, spectrum, chosen, method, inputs, calibration) -> dict[str, Any]:
    """What every part and the model lose, and what stays as it is, JSON-ready."""
    choice = reduced.method_choice if method == Method.AUTO else None
    methods = dict.fromkeys(chosen, method.value) if choice is None else choice.methods
    found = {
        "parts": {
            name: {
                "kind": part.kind,
                "full_rank": part.max_rank,
                "rank": chosen[name],
                "bytes": [part.cost(part.max_rank).flash, part.cost(chosen[name]).flash],
                "error_bound": part.error_bound(chosen[name]) if _is_bounded(part, methods) else None,
                "error": _measured_error(reduced, part) if part.kind == "states" else None,
            }
            for name, part in spectrum.parts.items()
        },
        KEPT: [item.figures() for item in spectrum.kept],
        "method": method.value,
        "parameters": [original.count_params(), reduced.count_params()],
    }
    if choice is not None:
        found["choice"] = choice.figures()
    if inputs is not None:
        found["outputs"] = _output_errors(original, reduced, inputs[:COMPARED], calibration)
    return found


def _is_bounded(part: compression.Part, methods: dict[str, str]) -> bool:
    return methods.get(part.name, Method.BALANCED) == Method.BALANCED or part.kind == "matrix"


def _output_errors(original, reduced, inputs, calibration) -> dict[str, Any]:
    """How far the outputs are off, and at most can be; why not, where a layer has no bound."""
    try:
        return error_bound(original, reduced, inputs, "data", calibration).figures()
    except ValueError as error:
        if calibration is not None:  # it was asked for a bound
            raise
        pairs = (keras.tree.flatten(model.predict(inputs, verbose=0)) for model in (original, reduced))
        worst = max(over_time(np.float64(b) - np.float64(a)).max() for a, b in zip(*pairs, strict=True))
        return {"bound": None, "measured": float(worst), "no bound": str(error)}


def _measured_error(reduced, part) -> float:
    """The Hinf error of a layer's worst channel, relative to the channel."""
    error = part.system - layer_at(reduced, part.name).system()
    return float(np.max(error.hinf_norm() / part.system.hinf_norm()))


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
    for text, bound, measured in _output_rows(figures.get("outputs")):
        shown = "–" if bound is None else f"{bound:.3g}"
        table.add_row(f"its outputs on {text} (absolute)", "", "", shown, f"{measured:.3g}")
    return table


def _output_rows(outputs: dict[str, Any] | None) -> Iterator[tuple[str, float | None, float]]:
    """On which data the outputs are off, at most and measured; probable bounds apart from certain ones."""
    if outputs is None:
        return
    kinds = outputs.get("kinds", {})
    if PROBABLE not in kinds:
        yield "the data", outputs["bound"], outputs["measured"]
        return
    for kind, found in kinds.items():
        text = f"probable, {outputs['confidence']:.1%}" if kind == PROBABLE else f"{kind}, beyond the calibration"
        yield f"{found['sequences']} sequences, {text}", found["bound"], found["measured"]
