"""`keras-s4 convert`: a trained model as an integer program for microcontrollers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from keras_s4.cli import files, options
from keras_s4.cli.console import console, one_message, quiet_start, show_table


def convert(
    model: Annotated[
        Path | None, typer.Argument(help="A trained model, as model.save('NAME.keras') writes it.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="An .npz file with inputs `x`: some hundred windows of the training data, which set all scales."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the firmware: model.tflite, C99, manifest, golden vectors.")
    ] = None,
    c: Annotated[
        Path | None,
        typer.Option(
            "--c",
            metavar="FOLDER",
            help="Folder for the model as C99 alone, which needs no interpreter: model.h, model.c and their kernels."
            " --out has the same files in c99/.",
        ),
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=1, help="Steps of a window, if the model's sequence length is open.")
    ] = None,
    analyse: Annotated[
        bool, typer.Option("--analyse", help="Show first, layer by layer, whether the model can work in integers.")
    ] = False,
    activations: Annotated[
        list[str] | None,
        typer.Option(
            help="int8 (the default) or int16, for all layers; or LAYER=int16, as often as there are such layers.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Samples that an invoke takes at once; by default as few as the model's strides allow."),
    ] = None,
    states: Annotated[
        str,
        typer.Option(
            metavar="inputs|variables",
            help="How states last from step to step: as inputs and outputs that the caller copies back, or as variables"
            " inside the interpreter.",
        ),
    ] = "inputs",
    dss: Annotated[
        str,
        typer.Option(
            metavar="operators|custom",
            help="custom adds tflm_custom/ to --out: for TensorFlow Lite Micro with a custom operator for DSS layers,"
            " in C++, which is smaller and faster but must be registered.",
        ),
    ] = "operators",
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Compare Keras, emulator, TensorFlow Lite Micro and C on its inputs `x` and targets `y`, and show what"
            " each layer loses.",
        ),
    ] = None,
    list_supported: Annotated[
        bool, typer.Option("--list", help="Show which layers can be converted, and into which operators; no model.")
    ] = False,
    json: options.Json = None,
) -> None:
    """Convert a trained model to integers for TensorFlow Lite Micro or C99, and show what it takes.

    With --analyse a model that cannot work in integers is refused, with the reason; nothing is saved then. Without
    --activations it also shows what int16 would gain in each layer. With --verify nothing is saved unless emulator,
    TensorFlow Lite Micro and C agree in every bit, and with the model well enough.
    """
    with one_message():
        if not list_supported and (model is None or data is None):
            raise ValueError("convert needs a model and --data FILE.npz with inputs x; or --list, which needs neither.")
        read = {"the model": model, "--data": data, "--verify": verify}
        files.check_places(read, {"--json": json}, out=out, c=c)
        inputs = None if list_supported else files.load_arrays(data, "x")["x"]
        compared = None if verify is None else files.load_arrays(verify, "x", "y")
        types = _activations(activations)
        with console().status("Starting TensorFlow ..."), quiet_start():
            from keras_s4 import tflite
            from keras_s4.scoring.outputs import checked_targets
            from keras_s4.tflite.application import folder
            from keras_s4.tflite.lowering import registry
        if list_supported:
            found = _supported(registry.supported_layers())
            files.write_json(json, found)
            _show_supported(found)
            return
        folder.check_steps(dss)
        if out is not None:
            folder.check_folder(out)
        if c is not None:
            folder.check_c_folder(c)
        original = files.load_model(model)
        if compared:
            checked_targets(original, **compared, task=None, who=f"{verify}:")
        converted = tflite.convert(original, inputs, length, states, types, steps)
        analysis = tflite.analyse(converted, inputs, original) if analyse else None
        formats = tflite.compare_formats(original, inputs, length) if analyse and types == "int8" else None
        verification = tflite.verify(converted, original, **compared) if compared else None
        parts = {"analysis": analysis, "formats": formats, "verification": verification}
        figures = {name: part.figures() for name, part in parts.items() if part}
        files.write_json(json, {"manifest": converted.manifest} | figures)
        if analysis:
            _show_analysis(analysis)
        if formats and formats.together:
            show_table(formats.table())
            console().print(formats.advice)
        if verification:
            _show_verification(verification)
        show_table(_table(converted.manifest))
        if out is not None:
            converted.save(out, dss)
            console().print(f"Firmware: {out}")
        if c is not None:
            converted.save_c(c)
            console().print(f"C99: {c}")


def _activations(given: list[str] | None) -> str | dict[str, str]:
    """What `convert` takes: one type, or types by layer.

    Raises:
        ValueError: types for all layers among types for one.
    """
    pairs = [entry.rpartition("=") for entry in given or ["int8"]]
    if len(pairs) == 1 and not pairs[0][1]:
        return pairs[0][2]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError(
            f"--activations got {', '.join(given)}; expected one type for all layers, or LAYER=TYPE each time."
        )
    return {layer: type for layer, _, type in pairs}


def _supported(layers: list[str]) -> dict[str, Any]:
    """Layers and operators, JSON-ready."""
    from keras_s4.tflite.flatbuffer.operators.table import OPERATORS

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


def _show_analysis(analysis) -> None:
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


def _show_verification(verification) -> None:
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
        "multiply-accumulates a step": manifest["multiply_accumulates_per_step"],
        "operators": manifest["operators"],
    }
    for name, number in rows.items():
        table.add_row(name, "not measured" if number is None else f"{number:,}")
    table.add_section()
    for name, count in manifest["operator_counts"].items():
        table.add_row(name, f"{count:,}")
    return table
