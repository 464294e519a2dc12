"""Transforms by name, as a table of a TOML file tells them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from keras_s4.augmentation.transforms import (
    ChannelDropout,
    Gain,
    Jitter,
    Mirror,
    Mix,
    Offset,
    Rotation,
    Shift,
    Transform,
    Warp,
)
from keras_s4.checks import quote

# In the order in which they are done.
TRANSFORMS: dict[str, type[Transform]] = {
    "warp": Warp,
    "shift": Shift,
    "mirror": Mirror,
    "rotation": Rotation,
    "gain": Gain,
    "offset": Offset,
    "jitter": Jitter,
    "channel_dropout": ChannelDropout,
    "mix": Mix,
}


def from_dict(table: Mapping[str, Any]) -> tuple[Transform, ...]:
    """The transforms that a table names, in the order in which they are done.

    Args:
        table: for each name (`warp`, `shift`, `mirror`, `rotation`, `gain`, `offset`, `jitter`, `channel_dropout`,
            `mix`) a table of its arguments, or the first of them alone, or true for what they are by default; false
            leaves it out. For example `{"jitter": 0.05, "gain": {"factor": 1.3, "each": "sensor"}, "mirror": true}`.

    Raises:
        TypeError: no table.
        ValueError: another name, or arguments that the transform does not have.
    """
    if not isinstance(table, Mapping):
        raise TypeError(f"augmentation got {quote(table)}; expected a table of transforms, such as jitter = 0.05.")
    if unknown := [name for name in table if name not in TRANSFORMS]:
        raise ValueError(
            f"augmentation got {', '.join(map(repr, unknown))}; expected some of {', '.join(map(repr, TRANSFORMS))}."
        )
    return tuple(_make(name, table[name]) for name in TRANSFORMS if table.get(name, False) is not False)


def as_dict(transforms: Iterable[Transform]) -> dict[str, dict[str, Any]]:
    """The table that `from_dict` makes these transforms of, every argument told; JSON-ready."""
    names = {kind: name for name, kind in TRANSFORMS.items()}
    return {names[type(transform)]: dataclasses.asdict(transform) for transform in transforms}


def _make(name: str, value: Any) -> Transform:
    kind = TRANSFORMS[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    if value is True:
        return kind()
    if not isinstance(value, Mapping):
        return kind(**{fields[0]: value})
    if unknown := [key for key in value if key not in fields]:
        raise ValueError(
            f"augmentation got {name} with {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(map(repr, fields))}."
        )
    return kind(**value)
