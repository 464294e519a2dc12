"""`keras-s4 demo`: `keras-s4 run smartwatch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_s4.cli.job_options import Restart, takes_settings
from keras_s4.cli.run import run


@takes_settings
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/smartwatch"),
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which people are kept for the test.")] = 0,
    restart: Restart = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Do everything on real sensor data; the same as `keras-s4 run smartwatch`.

    A smartwatch recorded ten people doing seven shoulder exercises. The result is a model for TensorFlow Lite Micro in
    OUT/firmware, a page with figures, OUT/report.html, and all numbers, OUT/summary.json. Interrupt it whenever you
    like: the same command continues.
    """
    run(task="smartwatch", out=out, fold=fold, restart=restart, **settings)
