"""What a search chooses from: the usual choices of each field of a network, or those of a user in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_s4.architecture_search.space import WIDTH
from keras_s4.architectures import KINDS, Architecture, idle_fields, spaces
from keras_s4.architectures.spaces import SHARED_STATES
from keras_s4.checks import choice, quote, whole_number

POOLINGS = ("average", "last", "max")
# Widths between those of a space: kernels of the C take four channels at a time.
WIDTH_STEP = 4


def choices_of(
    kinds: Sequence[str], given: Mapping[str, Mapping[str, Sequence[Any]]] | None
) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The choices of each field, by kind.

    Args:
        kinds: some of `keras_s4.architectures.KINDS`.
        given: choices of a user, by kind and field, in the place of those of `keras_s4.architectures.spaces`.

    Raises:
        ValueError: an unknown kind or field, a field without a choice, or choices that no network would have.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in kinds:
        choice(kind, "kinds has ", KINDS)
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(f"kinds is {quote(kinds)}; expected one or more of {', '.join(KINDS)}, each once.")
    given = given or {}
    if unknown := [kind for kind in given if kind not in kinds]:
        raise ValueError(f"spaces has kinds {', '.join(map(repr, unknown))}; searched are {', '.join(kinds)}.")
    return {kind: _choices(kind, given.get(kind, {})) for kind in kinds}


def _choices(kind: str, given: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    own = {"pooling": POOLINGS, **spaces(kind)}
    own[WIDTH] = _widths_between(own[WIDTH])
    known = (Architecture(kind=kind).figures().keys() | own.keys()) - {"kind"}
    if unknown := [name for name in given if name not in known]:
        raise ValueError(
            f"spaces of {kind!r} has {', '.join(map(repr, unknown))}; an architecture has {', '.join(sorted(known))}."
        )
    for name, values in given.items():
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"spaces of {kind!r} has {name}={quote(values)}; expected a tuple of choices.")
        for value in values:
            _check_choice(kind, name, value)
    return _without_idle(kind, {name: tuple(values) for name, values in {**own, **given}.items()}, given)


def _check_choice(kind: str, name: str, value: Any) -> None:
    if name == SHARED_STATES:
        whole_number(value, f"spaces of {kind!r} has {name}=")
    else:
        Architecture(kind=kind, **{WIDTH: 2**16, name: value})


def _without_idle(
    kind: str, choices: Mapping[str, tuple[Any, ...]], given: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[Any, ...]]:
    """The fields that make a difference to some network.

    Raises:
        ValueError: a field that a user gave does not.
    """
    shared = choices.get("shared_modes", (False,))
    idle = set.intersection(*(set(idle_fields(kind, {"shared_modes": value})) for value in shared))
    if useless := sorted(idle & given.keys()):
        instead = "shared_states" if "states" in useless else "states"
        raise ValueError(
            f"spaces of {kind!r} has {', '.join(useless)}, which no network with shared_modes={quote(tuple(shared))} "
            f"has; give {instead}, or other choices of shared_modes."
        )
    return {name: values for name, values in choices.items() if name not in idle}


def _widths_between(widths: Sequence[int]) -> tuple[int, ...]:
    """Widths in small steps, so that networks can fill a budget."""
    return tuple(sorted({*widths, *range(min(widths), max(widths) + 1, WIDTH_STEP)}))
