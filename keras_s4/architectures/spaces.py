"""What of an architecture there is to choose from, by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_s4.architectures.architecture import KINDS, Architecture
from keras_s4.checks import choice

# The choices of `states` where all channels of a block share its modes: of other sizes than modes a channel.
SHARED_STATES = "shared_states"
_FRONTS = (None, (4, 2), (7, 2), (8, 4), (16, 8))
_WIDTHS = (8, 12, 16, 24, 32, 48, 64)
_DOWNSAMPLE = (1, 2, 4)
_COMMON = {"front": _FRONTS, "downsample": _DOWNSAMPLE}
_SPACES: dict[str, dict[str, tuple]] = {
    "dss": {
        "width": _WIDTHS,
        "blocks": (1, 2, 3, 4),
        "states": (2, 4, 8, 16, 32),
        "rank": (None, 4, 8),
        "gate": ("dense", "channel", None),
        "shared_modes": (False, True),
        SHARED_STATES: (4, 8, 16, 32, 64),
        "feedthrough": ("diagonal", "full"),
        "time_steps": (None, (1e-2, 1.0)),
    },
    "gru": {"width": _WIDTHS, "blocks": (1, 2)},
    "lstm": {"width": _WIDTHS, "blocks": (1, 2)},
    "rnn": {"width": (*_WIDTHS, 96), "blocks": (1, 2), "rank": (None, 4, 8)},
    "cnn": {"width": _WIDTHS, "blocks": (1, 2, 3, 4, 5), "kernel": (3, 5, 9, 15)},
    "tcn": {"width": _WIDTHS, "blocks": (2, 3, 4, 5, 6), "kernel": (2, 3, 5)},
}


def spaces(kind: str) -> dict[str, tuple[Any, ...]]:
    """The choices of each field of `Architecture` that concerns a kind.

    Of "dss", `shared_states` has those of `states` of networks with `shared_modes`. A rank above the width is none of a
    network's; whoever draws from a space leaves these out.

    Raises:
        ValueError: another kind.
    """
    return {**_SPACES[choice(kind, "spaces got kind=", KINDS)], **_COMMON}


def architecture_of(kind: str, chosen: Mapping[str, Any]) -> Architecture:
    """The network that one choice of each field of a space makes; those that do not concern it have no effect.

    Args:
        kind: one of `KINDS`.
        chosen: by the keys of `spaces(kind)`; what is missing is the usual one of `Architecture`.

    Raises:
        ValueError: choices that contradict each other, or that are none.
    """
    ignored = idle_fields(kind, chosen)
    fields = {name: value for name, value in chosen.items() if name not in ignored}
    if SHARED_STATES in fields:
        fields["states"] = fields.pop(SHARED_STATES)
    return Architecture(kind=kind, **fields)


def idle_fields(kind: str, chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a space that make no difference beside the others that are chosen."""
    if kind != "dss":
        return ()
    return ("states",) if chosen.get("shared_modes", False) else (SHARED_STATES, "feedthrough")
