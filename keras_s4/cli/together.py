"""Options of commands that several processes run together, on one machine or on several."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from keras_s4 import extras

BACKEND = "KERAS_BACKEND"
# Keras' own names.
VARIABLES = "KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"
PANEL = "Several machines"

Distributed = Annotated[
    bool,
    typer.Option(
        "--distributed",
        rich_help_panel=PANEL,
        help="Train together with other processes, on JAX: the same command in each; process 0 writes the results.",
    ),
]
Coordinator = Annotated[
    str | None,
    typer.Option(rich_help_panel=PANEL, envvar=VARIABLES[0], help="HOST:PORT of process 0, the same for all."),
]
Processes = Annotated[
    int | None, typer.Option(rich_help_panel=PANEL, envvar=VARIABLES[1], min=1, help="How many processes there are.")
]
Process = Annotated[
    int | None, typer.Option(rich_help_panel=PANEL, envvar=VARIABLES[2], min=0, help="Which one this is, from 0.")
]
Place = tuple[str | None, int | None, int | None]


def place_of(distributed: bool, coordinator: str | None, processes: int | None, process: int | None) -> Place | None:
    """Where this process stands, for `keras_s4.distribution.join`; None for one that is alone. Chooses JAX.

    Raises:
        ValueError: options that go with --distributed alone, or another backend than JAX.
        ImportError: JAX is not installed.
    """
    place = coordinator, processes, process
    if not distributed:
        given = [
            value for value, name in zip(place, VARIABLES, strict=True) if value is not None and name not in os.environ
        ]
        if given:
            raise ValueError(
                "--coordinator, --processes and --process go with --distributed; add it, or leave them out."
            )
        return None
    extras.require("jax", "Trainings on several machines")
    if os.environ.setdefault(BACKEND, "jax") != "jax":
        raise ValueError(
            f"--distributed trains on JAX, and {BACKEND} is {os.environ[BACKEND]!r}; leave it out, or set it to jax."
        )
    return place
