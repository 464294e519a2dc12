"""The subcommands of `keras-s4`, and its own options."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from keras_s4.cli.console import DEBUG, allow_any_encoding, flush_output
from keras_s4.cli.convert import convert
from keras_s4.cli.demo import demo
from keras_s4.cli.estimate import estimate
from keras_s4.cli.import_checkpoint import import_checkpoint
from keras_s4.cli.new import new
from keras_s4.cli.reduce import reduce
from keras_s4.cli.run import run as run_task
from keras_s4.cli.spectrum import spectrum
from keras_s4.cli.train import train
from keras_s4.cli.tune import tune

app = typer.Typer(
    help="S4 models in Keras: trained, reduced with control theory, and turned into programs for microcontrollers.",
    epilog=f"With the environment variable {DEBUG}=1 an error also shows where in the program it comes from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (new, run_task, train, demo, spectrum, reduce, tune, convert, estimate):
    app.command(command.__name__)(command)
app.command("import")(import_checkpoint)  # a word of Python


def run() -> None:
    """Runs what the command line asks for."""
    allow_any_encoding()
    with flush_output():
        app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keras-s4 {importlib.metadata.version('keras-s4')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
