"""`keras-s4 convert`: a trained model as an integer program for microcontrollers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import load, start


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
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="int4: weights of 4 bits in all layers that can have them but the first and the last; or LAYER=int4,"
            " as often as there are such layers. By default int8, or what the model was trained for.",
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
            help="custom adds tflm_custom/ to --out: for TensorFlow Lite Micro with a custom operator for DSS and"
            " DiagonalSSM layers, in C++, which is smaller and faster but must be registered.",
        ),
    ] = "operators",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For firmware with several models: what files, functions, types and macros are called by in --out and"
            " --c, such as NAME.tflite, NAME_step and NAME_application_poll; without it model.tflite, model_step and"
            " application_poll. The kernels are the same in every folder.",
        ),
    ] = None,
    decision: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="How to decide from outputs: settings of keras_s4.decisions.Decision, such as a run's decision.json;"
            " what --out makes of the model then decides.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="--out becomes a ready-made project instead, with the model as C99, an example that reads a sensor,"
            " and a self-check. KIND: arduino, platformio, esp-idf, zephyr, cmsis-pack or make; or web, a page that"
            " replays windows of --data and runs on phones.",
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Compare Keras, emulator, TensorFlow Lite Micro and C on its inputs `x` and targets `y`, and show what"
            " each layer loses.",
        ),
    ] = None,
    board: options.Boards = None,
    rate: options.Rate = None,
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
    with report_errors():
        if list_supported:
            files.check_places({}, {"--json": json})
            start("convert").list_supported(json)
            return
        if model is None or data is None:
            raise ValueError("convert needs a model and --data FILE.npz with inputs x; or --list, which needs neither.")
        if project is not None and out is None:
            raise ValueError(f"--project {project} needs --out FOLDER, which becomes the project.")
        if name is not None and out is None and c is None:
            raise ValueError(f"--name {name} needs --out FOLDER or --c FOLDER, in which files are called by it.")
        if decision is not None and out is None:
            raise ValueError("--decision needs --out FOLDER, whose applications then decide.")
        read = {"the model": model, "--data": data, "--verify": verify, "--decision": decision}
        files.check_places(read, {"--json": json}, out=out, c=c)
        inputs = files.load_arrays(data, "x")["x"]
        compared = None if verify is None else files.load_arrays(verify, "x", "y")
        if rate is not None and not board:
            raise ValueError(f"--rate {rate:g} is for the load of a board: give --board NAME as well.")
        boards = load("actions.boards").check(board, rate) if board else []
        request = start("convert").Request(
            model,
            inputs,
            length,
            states,
            _types("--activations", activations or ["int8"]),
            steps,
            dss,
            name,
            decision,
            project,
            analyse,
            verify,
            compared,
            _types("--weights", weights) if weights else None,
        )
        request.run(out, c, json, boards, rate)


def _types(option: str, given: list[str]) -> str | dict[str, str]:
    """What `convert` takes: one type, or types by layer.

    Raises:
        ValueError: types for all layers among types for one.
    """
    pairs = [entry.rpartition("=") for entry in given]
    if len(pairs) == 1 and not pairs[0][1]:
        return pairs[0][2]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError(f"{option} got {', '.join(given)}; expected one type for all layers, or LAYER=TYPE each time.")
    return {layer: type for layer, _, type in pairs}
