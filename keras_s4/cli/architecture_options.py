"""The options of `keras-s4 tune --architecture`, and what they exclude."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_PANEL = "With --architecture"


class Network(StrEnum):
    """Kinds of networks; the keys of `keras_s4.architectures.KINDS`."""

    DSS = "dss"
    GRU = "gru"
    LSTM = "lstm"
    RNN = "rnn"
    CNN = "cnn"
    TCN = "tcn"


class Start(StrEnum):
    """What the weights of a network are before its training."""

    NOTHING = "nothing"
    REDUCTION = "reduction"


Architecture = Annotated[
    bool,
    typer.Option(
        "--architecture",
        help="Search whole networks in place of the ranks of a trained one: tune DATA OUT, or tune TASK OUT with a "
        "TOML file or the name of a built-in task.",
        rich_help_panel=_PANEL,
    ),
]
Networks = Annotated[
    list[Network] | None,
    typer.Option("--network", help="Kinds to search, repeatable; all if not given.", rich_help_panel=_PANEL),
]
Core = Annotated[
    str,
    typer.Option(metavar="m0|m4|m55|...", help="The core that costs are estimated for.", rich_help_panel=_PANEL),
]
InputRate = Annotated[
    float | None,
    typer.Option(
        help="Input samples a second, for budgets of instructions_a_second; a task has its own.", rich_help_panel=_PANEL
    ),
]
Starts = Annotated[
    Start,
    typer.Option(
        "--start",
        help="reduction: DSS networks are cut from a large trained one of their width and depth, by --method.",
        rich_help_panel=_PANEL,
    ),
]
# What stands in the place of an option that was not given; the usual one of each search is taken then.
UNSET: dict[str, Any] = {"networks": None, "core": "m4", "rate": None, "start": Start.NOTHING}


def places_of(architecture: bool, first: Path, second: Path, third: Path | None) -> tuple[Path | None, Path, Path]:
    """The model, the data and the folder that the arguments name; the model is None in a search over architectures.

    Raises:
        ValueError: an argument is missing, or there is one too many.
    """
    if architecture:
        if third is not None:
            raise ValueError(
                f"tune --architecture got {first}, {second} and {third}; expected DATA OUT, or TASK OUT. It needs no "
                "trained model."
            )
        return None, first, second
    if third is None:
        raise ValueError(
            f"tune got {first} and {second}; expected MODEL DATA OUT. For a search over whole networks, which needs no "
            "model, add --architecture."
        )
    return first, second, third


def refuse_others(architecture: bool, given: Mapping[str, Any], excluded: Mapping[str, Any]) -> None:
    """Refuses options that do not concern what is searched.

    Args:
        architecture: whether networks are searched.
        given: by the key of `UNSET`, what the options of a search over networks are.
        excluded: by name, options of other ways that such a search has no use for; None if not given.

    Raises:
        ValueError: names them.
    """
    if not architecture:
        names = [f"--{'network' if name == 'networks' else name}" for name in UNSET if given[name] != UNSET[name]]
        if names:
            raise ValueError(f"tune got {', '.join(names)}, which are of --architecture; add it, or leave them out.")
        return
    names = [f"--{name}" for name, value in excluded.items() if value]
    if names:
        raise ValueError(
            f"tune --architecture got {', '.join(names)}; these concern the ranks of a trained model. Leave them out."
        )
