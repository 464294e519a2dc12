"""A model converted, analysed and verified as it was asked for; or the layers and operators that there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from keras_s4 import tflite
from keras_s4.cli.actions.boards import show as show_boards
from keras_s4.cli.actions.models import load_model
from keras_s4.cli.console import console, show_table
from keras_s4.cli.files import write_json
from keras_s4.costs import Estimate, estimate_boards
from keras_s4.decisions import Decision
from keras_s4.files.json_objects import read_object
from keras_s4.samples import as_list
from keras_s4.scoring.outputs import check_targets
from keras_s4.tflite.application import folder
from keras_s4.tflite.application.own_names import check_name
from keras_s4.tflite.application.projects import check_project
from keras_s4.tflite.flatbuffer import check_dss_form
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.lowering import registry

# Of a sequence of the representative data, for the estimates of boards.
COUNTED_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Request:
    """What is converted, and how.

    Args:
        model: file that holds the model.
        inputs: representative data, `[B, L, features]`.
        length: steps of a window, None as the model has them.
        states: "inputs" or "variables".
        activations: one type, or types by layer.
        steps: samples that an invoke takes, None for as few as can be.
        dss: "operators" or "custom".
        name: what C files, functions, types and macros are called by, None for the usual ones.
        decision: file that says how to decide from the outputs, or None.
        project: a kind of project, None for the usual folder.
        analyse: whether each layer is looked at first.
        verify: file of the data to compare on, or None.
        compared: its inputs `x` and targets `y`.
        weights: one type, or types by layer; None for that of the model's training.
    """

    model: Path
    inputs: np.ndarray
    length: int | None
    states: str
    activations: str | Mapping[str, str]
    steps: int | None
    dss: str
    name: str | None
    decision: Path | None
    project: str | None
    analyse: bool
    verify: Path | None
    compared: Mapping[str, np.ndarray] | None
    weights: str | Mapping[str, str] | None = None

    def run(
        self,
        out: Path | None,
        c: Path | None,
        json: Path | None,
        boards: Sequence[str] = (),
        rate: float | None = None,
    ) -> None:
        """Converts, shows what was found, on boards as well, and saves what is wanted."""
        check_dss_form(self.dss)
        if self.name is not None:
            check_name(self.name)
        if self.project is not None:
            check_project(self.project, self.dss, name=self.name)
        decision = None if self.decision is None else _read_decision(self.decision)
        if out is not None:
            folder.check_folder(out, self.name, self.project)
        if c is not None:
            folder.check_c_folder(c, self.name)
        original = load_model(self.model)
        if self.compared:
            check_targets(original, **self.compared, task=None, who=f"{self.verify}:")
        inputs, compared = self.inputs, self.compared
        converted = tflite.convert(
            original, inputs, self.length, self.states, self.activations, self.steps, self.weights
        )
        analysis = tflite.analyse(converted, inputs, original) if self.analyse else None
        compare = self.analyse and self.activations == "int8"
        formats = tflite.compare_formats(original, inputs, self.length) if compare else None
        verification = tflite.verify(converted, original, **compared) if compared else None
        parts = {"analysis": analysis, "formats": formats, "verification": verification}
        figures = {name: part.figures() for name, part in parts.items() if part}
        estimates = self._estimate(converted, boards, rate)
        figures |= {"boards": [each.to_json() for each in estimates]} if estimates else {}
        write_json(json, {"manifest": converted.manifest} | figures)
        if analysis:
            _show_analysis(analysis)
        if formats and formats.together:
            show_table(formats.table())
            console().print(formats.advice)
        if verification:
            _show_verification(verification)
        show_table(_table(converted.manifest))
        if estimates:
            show_boards(estimates)
        if out is not None:
            replayed = inputs if self.project == "web" else None
            converted.save(out, self.dss, decision, name=self.name, project=self.project, recordings=replayed)
            console().print(f"{'Firmware' if self.project is None else f'Project ({self.project})'}: {out}")
        if c is not None:
            converted.save_c(c, self.name)
            console().print(f"C99: {c}")

    def _estimate(self, converted: tflite.Converted, boards: Sequence[str], rate: float | None) -> list[Estimate]:
        """What the program takes on boards, counted with the first of the representative data."""
        if not boards:
            return []
        integers = [np.asarray(array)[:, :COUNTED_STEPS] for array in as_list(converted.quantize(self.inputs[:1]))]
        return estimate_boards(converted, boards, rate, inputs=integers)


def _read_decision(path: Path) -> Decision:
    """How to decide from the outputs.

    Raises:
        ValueError: the file is damaged, or has no decision or one that cannot be.
    """
    settings = read_object(path, "decision.json of a run shows how one is written.")
    if not settings:
        raise ValueError(f"{path} has no settings: the run's task decides nothing. Leave out --decision.")
    try:
        return Decision.from_dict(settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def list_supported(json: Path | None) -> None:
    """Shows which layers can be converted, and into which operators."""
    found = _supported(registry.supported_layers())
    write_json(json, found)
    _show_supported(found)


def _supported(layers: list[str]) -> dict[str, Any]:
    """Layers and operators, JSON-ready."""
    return {
        "layers": layers,
        "operators": {
            operator.name: {
                "types": [{"inputs": list(inputs), "output": output} for inputs, output in operator.signatures],
                "registration": operator.registration,
            }
            for operator in OPERATORS.values()
        },
    }


def _show_supported(found: dict[str, Any]) -> None:
    console().print(f"Layers that can be converted: {', '.join(found['layers'])}.", soft_wrap=False)
    table = Table("operator", "types", "registration", title="Operators of TensorFlow Lite Micro that are used")
    for name, operator in found["operators"].items():
        types = "\n".join(f"{', '.join(pair['inputs'])} -> {pair['output']}" for pair in operator["types"])
        table.add_row(name, types, operator["registration"])
    show_table(table)


def _show_analysis(analysis: tflite.Analysis) -> None:
    """The tables and warnings; a model that cannot work is refused.

    Raises:
        ValueError: the refusals.
    """
    show_table(analysis.table())
    show_table(analysis.noise_table())
    for warning in analysis.warnings:
        console().print(f"Warning: {warning}")
    if analysis.refusals:
        raise ValueError("\n".join(analysis.refusals))


def _show_verification(verification: tflite.Verification) -> None:
    """The comparison; a program that is not the file's, or not the model's, is refused.

    Raises:
        ValueError: where emulator, TensorFlow Lite Micro and C differ, or the model from them.
    """
    console().print(str(verification))
    if not verification.bit_exact:
        raise ValueError(f"The program differs between its engines: {verification.first_difference}.")
    for output in verification.outputs:
        if output.verdict == "WRONG":
            raise ValueError(
                f"The program does not do what the model does. Output {output.name}: {output.verdict_row()}."
            )


def _table(manifest: dict[str, Any]) -> Table:
    """What the program takes: bytes, multiply-accumulates, and its operators."""
    table = Table("what", "how much", title=f"{manifest['name']} in integers")
    table.columns[1].justify = "right"
    rows = {
        "bytes of the .tflite": manifest["tflite_bytes"],
        "bytes of the arena, measured here (a 32-bit device needs less)": manifest["arena_bytes"],
        "of these, states": manifest["state_bytes"],
        "multiply-accumulates a step": round(manifest["multiply_accumulates_per_step"] / manifest["steps_per_invoke"]),
        "operators": manifest["operators"],
    }
    for name, number in rows.items():
        table.add_row(name, "not measured" if number is None else f"{number:,}")
    table.add_section()
    for name, count in manifest["operator_counts"].items():
        table.add_row(name, f"{count:,}")
    return table
