"""`keras-s4 import`: a model that was trained in PyTorch or JAX, as a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import console, report_errors
from keras_s4.cli.loading import start
from keras_s4.importers.blueprint import draw
from keras_s4.importers.recorded import read_recorded

_WORDS = {"true": True, "false": False, "none": None}


def import_checkpoint(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="What was trained elsewhere: .pt, .pth or .ckpt of PyTorch, .safetensors, a checkpoint of Flax or"
            " Orbax, or .npz. No code in it is run.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the model goes, NAME.keras.", show_default=False)],
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Inputs x and outputs y that the source computed: nothing is saved unless the model gives them too.",
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="The order in which modules run, where the checkpoint does not tell: 'conv(stride=2,padding=0) relu"
            " gru last fc'; [ ... ] is what a residual path goes past.",
        ),
    ] = None,
    norm_order: Annotated[
        str | None, typer.Option(metavar="pre|post", help="Whether normalisations stand before or behind their layers.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(metavar="mean|last|none", help="Over time, before the decoder.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(metavar="NAME", help="Behind the systems of an S4 layer, such as gelu.")
    ] = None,
    training_length: Annotated[
        int | None, typer.Option(min=1, help="Steps of the training, for softmax kernels.")
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            metavar="log_softmax|softmax|logits",
            help="Of stacked models in Flax; by default log_softmax as there, which no device computes.",
        ),
    ] = None,
    unstable: Annotated[
        str | None,
        typer.Option(metavar="refuse|clip", help="clip moves poles that never fade to the real part -1e-4."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An argument of a published layer by its name there, such as disc=bilinear; as often as there are.",
        ),
    ] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Steps of a window; open without it.")] = None,
    entry: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="In a PyTorch file, under which the weights stand, such as state_dict."),
    ] = None,
    json: options.Json = None,
) -> None:
    """Take over a model that was trained in PyTorch or JAX.

    The layers are recognised by the names and shapes of their parameters. What these do not say is asked for by name;
    what is missing or left over is refused by name. The result is a Keras model to reduce, stream and convert.
    """
    with report_errors():
        files.check_model_name(out)
        read = {"the checkpoint": None if checkpoint.is_dir() else checkpoint, "--check": check}
        files.check_places(read, {"--out": out, "--json": json})
        blueprint = draw(
            checkpoint,
            layers=layers,
            norm_order=norm_order,
            pooling=pooling,
            activation=activation,
            training_length=training_length,
            outputs=outputs,
            unstable=unstable,
            settings=_settings(setting or []),
            length=length,
            entry=entry,
        )
        recorded = None if check is None else read_recorded(check)
        console().print(str(blueprint.imported))
        start("import_checkpoint").run(blueprint, out, recorded, json)


def _settings(given: list[str]) -> dict[str, Any]:
    """Values by name: numbers, true, false, none, or words.

    Raises:
        ValueError: without a name.
    """
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"--set got {text!r}; expected NAME=VALUE, such as disc=bilinear.")
        found[name] = _WORDS.get(value.lower(), _number(value))
    return found


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
