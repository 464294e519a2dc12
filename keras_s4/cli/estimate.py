"""`keras-s4 estimate`: what a model will take on a board, before it is trained."""

from __future__ import annotations

from typing import Annotated

import typer

from keras_s4.cli import files, options
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import load, start

_MODEL, _BOARD = "The model", "The board"


def estimate(
    board: options.Boards = None,
    rate: options.Rate = None,
    features: Annotated[
        int, typer.Option(min=1, help="Numbers of a sample: sensors, or their axes.", rich_help_panel=_MODEL)
    ] = 6,
    classes: Annotated[int, typer.Option(min=1, help="Or quantities: outputs.", rich_help_panel=_MODEL)] = 7,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="dss|gru|lstm|rnn|cnn|tcn",
            help="Of the network: S4 blocks (default), recurrent layers, separable or dilated convolutions.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    channels: Annotated[
        int, typer.Option("--channels", "--width", min=1, help="Or units: width of a block.", rich_help_panel=_MODEL)
    ] = 32,
    states: Annotated[
        int, typer.Option(min=1, help="Modes a channel, after the reduction.", rich_help_panel=_MODEL)
    ] = 8,
    shared_modes: Annotated[
        bool,
        typer.Option(
            "--shared-modes",
            help="All channels of an S4 block share its modes: --states of the whole block.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    blocks: Annotated[int, typer.Option(min=1, help="Or layers, one behind the other.", rich_help_panel=_MODEL)] = 2,
    kernel: Annotated[
        int | None, typer.Option(min=1, help="Taps of the convolutions of cnn and tcn.", rich_help_panel=_MODEL)
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Of the mixing matrices, or the recurrent one.", rich_help_panel=_MODEL)
    ] = None,
    gate: Annotated[
        str | None, typer.Option(metavar="dense|channel|none", help="Of the S4 blocks.", rich_help_panel=_MODEL)
    ] = None,
    downsample: Annotated[
        int | None,
        typer.Option(min=1, help="In front of each further block, so many steps become one.", rich_help_panel=_MODEL),
    ] = None,
    pooling: Annotated[
        str,
        typer.Option(
            metavar="average|max|last|recent|sliding|none",
            help="Over time; none gives an output at every step.",
            rich_help_panel=_MODEL,
        ),
    ] = "average",
    activation: Annotated[str, typer.Option(help="In the blocks.", rich_help_panel=_MODEL)] = "gelu",
    front: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="KERNEL STRIDE", help="A strided convolution in front of the blocks.", rich_help_panel=_MODEL
        ),
    ] = None,
    activations: Annotated[
        str, typer.Option(metavar="int8|int16", help="Bits of activations.", rich_help_panel=_MODEL)
    ] = "int8",
    window: Annotated[int, typer.Option(min=1, help="Steps of a window.", rich_help_panel=_MODEL)] = 64,
    method: Annotated[
        str,
        typer.Option(
            metavar="auto|counted|modelled",
            help="counted compiles the C and runs it on an emulated core; modelled needs no compiler, and is less"
            " exact; auto counts where the tools are installed.",
            rich_help_panel=_BOARD,
        ),
    ] = "auto",
    list_boards: Annotated[bool, typer.Option("--list", help="Show the boards, and where their facts stand.")] = False,
    json: options.Json = None,
) -> None:
    """Estimate what a model takes on a board before it is trained: flash, RAM, time a step, load, energy.

    For example: `keras-s4 estimate --channels 32 --states 8 --blocks 2 --rate 50 --board arduino-nano-33-ble`, and
    beside it `keras-s4 estimate --kind gru --width 32 --blocks 1 --front 7 2 --rate 50 --board arduino-nano-33-ble`. A
    model of these sizes with random weights is turned into integers and C: what it costs does not depend on its
    weights. For a trained one see `keras-s4 convert --board`.
    """
    with report_errors():
        files.check_places({}, {"--json": json})
        if list_boards:
            load("actions.boards").list_boards(json)
            return
        if not board:
            raise ValueError("estimate needs --board NAME, once or more; or --list, which shows the boards.")
        names = load("actions.boards").check(board, rate, method)
        sizes = {
            "features": features,
            "outputs": classes,
            "channels": channels,
            "states": states,
            "shared_modes": shared_modes,
            "blocks": blocks,
            "pooling": pooling,
            "activation": activation,
            "front": front,
            "activations": activations,
            "steps": window,
        }
        choices = {"kind": kind, "kernel": kernel, "rank": rank, "gate": gate, "downsample": downsample}
        chosen = {name: value for name, value in choices.items() if value is not None}
        start("estimate").run(sizes, chosen, names, rate, method, json)
