"""The spectra of a model as a table, numbers and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_s4 import compression, plots
from keras_s4.cli.actions.models import load_model
from keras_s4.cli.console import show_table
from keras_s4.cli.figures import write_figure
from keras_s4.cli.files import write_json
from keras_s4.cli.options import Kind


def run(
    model: Path, kind: list[Kind] | None, inputs: np.ndarray | None, figure: Path | None, json: Path | None
) -> None:
    """Shows what can go."""
    found = compression.spectrum(load_model(model), kind, inputs)
    write_json(json, found.figures())
    write_figure(figure, lambda: plots.spectra(found.curves()))
    show_table(found.table())
