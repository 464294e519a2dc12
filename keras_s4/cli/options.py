"""Arguments that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """Kinds of parts."""

    STATES = "states"
    MATRIX = "matrix"


class Method(StrEnum):
    """Ways to reduce states: the keys of `keras_s4.reduction.METHODS`, and for each layer the best of them."""

    BALANCED = "balanced"
    FINITE_HORIZON = "finite_horizon"
    SINGULAR_PERTURBATION = "singular_perturbation"
    INPUT_WEIGHTED = "input_weighted"
    H2 = "h2"
    MODAL = "modal"
    AUTO = "auto"


Model = Annotated[Path, typer.Argument(help="A trained model, as model.save('NAME.keras') writes it.")]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option(
        "--kind",
        help="Which parts; repeat for both. By default the states of DSS layers, or the matrices where there are none.",
    ),
]
Methods = Annotated[
    Method, typer.Option(help="How states are reduced; auto tries all, on --data if given, and tells their errors.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write all numbers to this file too.")]
Boards = Annotated[
    list[str] | None,
    typer.Option(
        "--board",
        metavar="NAME",
        help="A board to estimate time, load and energy for; as often as there are boards. `keras-s4 estimate --list`"
        " shows them.",
        show_default=False,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(help="Steps of the signal a second: the load of a --board, and its average current, need it."),
]
Data = Annotated[
    Path | None,
    typer.Option(help="An .npz file with inputs `x`: what they excite counts, and what they do not can go first."),
]
