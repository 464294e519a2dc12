"""What of an architecture there is to choose from, by its kind."""

from __future__ import annotations

from typing import Any

from keras_s4.architectures.architecture import KINDS
from keras_s4.checks import choice

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

    A rank above the width is none of a network's; whoever draws from a space leaves these out.

    Raises:
        ValueError: another kind.
    """
    return {**_SPACES[choice(kind, "spaces got kind=", KINDS)], **_COMMON}
