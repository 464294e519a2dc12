"""Names that are written in several ways: for one thing, or for things that only a reader takes for one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from keras_s4.recordings.frame import join_names


def composed(text: str) -> str:
    """A text whose letters have their accents, as keyboards write them; some file systems part the two."""
    return unicodedata.normalize("NFC", text)


def find_alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in case, spaces, hyphens and underscores alone, or as 1 and 1.0 do; several each."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(_plain(name), []).append(name)
    return [alike for alike in found.values() if len(alike) > 1]


def join_alike(alike: Iterable[list[str]]) -> str:
    """Names that are alike, in a message: "'Walk' and 'walk'"."""
    return join_names(" and ".join(map(repr, names)) for names in alike)


def _plain(name: str) -> str:
    try:
        return repr(float(name))
    except ValueError:
        return re.sub(r"[\s_-]+", " ", composed(name)).strip().casefold()
