"""What values that hold arrays show at a prompt: names, types and shapes, not pages of numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

# Of a list or dict that many entries are shown, and of any other value that many characters.
ENTRIES, CHARACTERS = 4, 80


class Brief:
    """Mixin of dataclasses, declared with `repr=False`: each field in a few words."""

    def __repr__(self) -> str:
        fields = [field for field in dataclasses.fields(self) if field.repr]
        return f"{type(self).__name__}({', '.join(f'{f.name}={brief(getattr(self, f.name))}' for f in fields)})"


def brief(value: Any) -> str:
    """A value in a few words: arrays as `float64[3, 4]`, long lists and dicts by their first entries."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, Mapping):
        entries = [f"{key!r}: {_inside(entry)}" for key, entry in list(value.items())[:ENTRIES]]
        return "{" + _joined(entries, len(value)) + "}"
    if isinstance(value, (list, tuple)):
        ends = "[]" if isinstance(value, list) else "()"
        return ends[0] + _joined([_inside(entry) for entry in value[:ENTRIES]], len(value)) + ends[1]
    return _cut(repr(value))


def _inside(value: Any) -> str:
    """An entry of a list: of what has a name of its own, type and name."""
    if isinstance(value, Brief):
        name = getattr(value, "name", None)
        return f"{type(value).__name__}({name!r})" if isinstance(name, str) else type(value).__name__
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    return brief(value)


def _joined(entries: list[str], count: int) -> str:
    return ", ".join([*entries, *([f"... {count:,} in all"] if count > len(entries) else [])])


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CHARACTERS else f"{line[:CHARACTERS]}..."
