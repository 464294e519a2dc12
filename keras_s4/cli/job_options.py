"""The options that all commands of the job have; those of the settings are made from `keras_s4.job.settings`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_s4.job.settings import Settings

TaskName = Annotated[str, typer.Argument(help="A TOML file that describes a task, or the name of a built-in one.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; by default runs/ and the name of the task.")]
Fold = Annotated[int | None, typer.Option(min=0, help="Which groups are kept for the test.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Remove what an earlier run wrote into the folder, and begin anew.")
]


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each setting; it gets those that were asked for as a dict, its last argument."""
    fields = dataclasses.fields(Settings)
    *own, _ = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field))
        for field in fields
    ]

    @functools.wraps(command)
    def take(**arguments: Any) -> None:
        given = {field.name: arguments.pop(field.name, None) for field in fields}
        command(**arguments, settings={name: value for name, value in given.items() if value is not None})

    take.__signature__ = inspect.Signature([*own, *options])
    return take


def _option(field: dataclasses.Field) -> Any:
    least, kind = field.metadata["least"], type(field.default)
    limits = {"min": 0.0, "max": 1.0} if kind is float else {} if kind is bool else {"min": least}
    default = f"the task's, or {field.default}"
    return Annotated[kind | None, typer.Option(help=field.metadata["help"], show_default=default, **limits)]
