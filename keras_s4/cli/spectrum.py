"""`keras-s4 spectrum`: what can go, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import load, start


def spectrum(
    model: options.Model,
    kind: options.Kinds = None,
    data: options.Data = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the spectra into this file (.svg, .png, .pdf).")] = None,
    json: options.Json = None,
) -> None:
    """Show what can be made smaller in a trained model: its parts, their spectra and what they take.

    The table tells for each part how many ranks keep 90%, 99%, ... of its energy.
    """
    with report_errors():
        files.check_places({"the model": model, "--data": data}, {"--figure": figure, "--json": json})
        if figure is not None:
            load("figures").check_figure_name(figure)
        inputs = None if data is None else files.load_arrays(data, "x")["x"]
        start("spectrum").run(model, kind, inputs, figure, json)
