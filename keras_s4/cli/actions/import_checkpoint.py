"""The model of a blueprint, checked and saved."""

from __future__ import annotations

from pathlib import Path

from keras_s4.cli.actions.models import save_model
from keras_s4.cli.console import console
from keras_s4.cli.files import write_json
from keras_s4.importers.blueprint import Blueprint
from keras_s4.importers.loading import check_outputs, make_model
from keras_s4.importers.recorded import Recorded


def run(blueprint: Blueprint, out: Path, recorded: Recorded | None, json: Path | None) -> None:
    """Writes the model, if it computes what was recorded.

    Args:
        blueprint: what will be computed.
        out: file for the model.
        recorded: inputs and outputs of the source.
        json: file for what was recognised, assumed and measured.
    """
    model = make_model(blueprint)
    error = None if recorded is None else check_outputs(model, recorded)
    save_model(model, out)
    imported = blueprint.imported
    found = {
        "source": imported.source,
        "model": imported.model,
        "modules": imported.modules,
        "assumed": list(imported.assumed),
        "parameters": model.count_params(),
        "relative error of the outputs": error,
    }
    write_json(json, found)
    if error is not None:
        console().print(f"Checked: {len(recorded.inputs)} outputs, {error:.1e} from those recorded (relative)")
    console().print(f"Model: {out}, {model.count_params():,} parameters")
