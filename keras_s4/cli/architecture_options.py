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
SharedModes = Annotated[
    bool | None,
    typer.Option(
        "--shared-modes/--no-shared-modes",
        help="Of dss, networks whose channels share the modes of a block alone, or none of them; if not given, both "
        "kinds.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
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
UNSET: dict[str, Any] = {
    "networks": None,
    "shared-modes": None,
    "core": "m4",
    "rate": None,
    "start": Start.NOTHING,
}


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


def spaces_of(networks: list[Network] | None, shared_modes: bool | None) -> dict[str, dict[str, tuple[bool, ...]]]:
    """What is searched in place of the usual choices.

    Raises:
        ValueError: shared modes of networks that are not searched.
    """
    if shared_modes is None:
        return {}
    if networks is not None and Network.DSS not in networks:
        name = _option_of("shared-modes", shared_modes)
        raise ValueError(f"tune got {name}, which is of dss networks; add --network dss, or leave it out.")
    return {Network.DSS.value: {"shared_modes": (shared_modes,)}}


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
        names = [_option_of(name, given[name]) for name in UNSET if given[name] != UNSET[name]]
        if names:
            raise ValueError(f"tune got {', '.join(names)}, which are of --architecture; add it, or leave them out.")
        return
    names = [f"--{name}" for name, value in excluded.items() if value]
    if names:
        raise ValueError(
            f"tune --architecture got {', '.join(names)}; these concern the ranks of a trained model. Leave them out."
        )


def _option_of(name: str, value: Any) -> str:
    """What was written on the command line."""
    if name == "networks":
        return "--network"
    return f"--no-{name}" if value is False else f"--{name}"
