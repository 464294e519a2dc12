"""`keras-s4 spectrum`: what can go, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import console, one_message, quiet_start, show_table


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
    with one_message():
        files.check_places({"the model": model, "--data": data}, {"--figure": figure, "--json": json})
        files.check_figure_name(figure)
        inputs = None if data is None else files.load_arrays(data, "x")["x"]
        with console().status("Starting TensorFlow ..."), quiet_start():
            from keras_s4 import compression, plots
        found = compression.spectrum(files.load_model(model), kind, inputs)
        files.write_json(json, found.figures())
        files.write_figure(figure, plots.spectra(found.curves()))
        show_table(found.table())
