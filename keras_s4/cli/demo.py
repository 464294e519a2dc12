"""`keras-s4 demo`: the whole way from recordings to firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_s4.cli import files
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import start
from keras_s4.job.settings import Settings

DEFAULTS = Settings()


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/smartwatch"),
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which people are kept for the test.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another training.")] = DEFAULTS.seed,
    channels: Annotated[int, typer.Option(min=1, help="Width of the model.")] = DEFAULTS.channels,
    states: Annotated[
        int, typer.Option(min=1, help="Memory of the full model: modes (complex states) per channel.")
    ] = DEFAULTS.states,
    blocks: Annotated[int, typer.Option(min=1, help="Depth of the model: S4 blocks.")] = DEFAULTS.blocks,
    fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the states to keep, above 0 and at most 1.")
    ] = DEFAULTS.fraction,
    epochs: Annotated[int, typer.Option(min=1, help="Rounds of training of the full model.")] = DEFAULTS.epochs,
    retrain_epochs: Annotated[
        int, typer.Option(min=1, help="Rounds of training of the reduced model.")
    ] = DEFAULTS.retrain_epochs,
    restart: Annotated[
        bool, typer.Option("--restart", help="Remove what an earlier run wrote into the folder, and begin anew.")
    ] = False,
) -> None:
    """Do everything on real sensor data: train, reduce, train again, convert, verify, report.

    A smartwatch recorded ten people doing seven shoulder exercises. The result is a model for TensorFlow Lite Micro in
    OUT/firmware, a page with figures, OUT/report.html, and all numbers, OUT/summary.json. Interrupt it whenever you
    like: the same command continues.
    """
    with report_errors(out):
        settings = Settings(seed, channels, states, blocks, fraction, epochs, retrain_epochs)
        files.check_places({}, {}, out=out)
        start("demo").run(out, fold, settings, restart)
