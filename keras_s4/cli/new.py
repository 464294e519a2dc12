"""`keras-s4 new`: a look at a folder of recordings, and a task file about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_s4.cli import files
from keras_s4.cli.console import report_errors
from keras_s4.cli.loading import start


def new(
    folder: Annotated[
        Path, typer.Argument(help="A folder of recordings, as they are: CSV, Parquet, WAV or .npz files.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The task file; by default the name of the folder, and .toml."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a task file that is there.")] = False,
) -> None:
    """Look at a folder of recordings and write a task file about it, ready for `keras-s4 run`.

    The file says what was found, with comments: classes, sampling rate, lengths, sensors, gaps, missing values, copies,
    columns that had better not be trained on, who was recorded; and it suggests windows, a split and what a decision in
    a live stream is. Look it over before you run it.
    """
    with report_errors():
        out = out or Path(f"{folder.resolve().name}.toml")
        if out.suffix.casefold() != ".toml":
            raise ValueError(f"--out is {out}; give a name that ends in .toml.")
        files.check_places({}, {"--out": out})
        if out.exists() and not force:
            raise ValueError(
                f"{out} is there already, and may hold what you wrote. Say --force to replace it, or --out."
            )
        start("new").run(folder, out)
