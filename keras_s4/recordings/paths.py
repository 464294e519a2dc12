"""Patterns of paths that say what is known of a file: `{label}/person{group}_*.csv`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from keras_s4.recordings.frame import join_names, relative_name
from keras_s4.recordings.spelling import composed

# What a field may be called, and what it says of a file.
FIELDS = ("label", "group", "split", "recording", "sensor")
# Files and folders that operating systems put beside others, in lower case.
HIDDEN = {"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information"}
# Kinds of fields, and the default.
_KINDS = {"d": r"\d+", "w": r"[^\W\d_]+", "": r"[^/]+?"}
_TOKEN = re.compile(r"\{(?P<field>\w*)(?::(?P<kind>\w*))?\}|\*\*/|\*|\?|[^*?{]+|\{")


class PathPattern:
    """A pattern of paths relative to a folder, with slashes.

    `{label}` is any text up to what follows it in the pattern, `{group:d}` a row of digits, `{label:w}` one of
    letters; `{}` and `*` are anything but a slash, `?` one character, and `**/` is any number of folders. A field that
    is there twice must be the same text twice. Fields: label, group, split, recording, sensor.

    Args:
        pattern: such as "{label}/person{group}_*.csv".

    Raises:
        ValueError: a field of another name or kind.
    """

    def __init__(self, pattern: str):
        self.pattern = pattern = composed(pattern)
        self.fields: tuple[str, ...] = ()
        parts = [self._part(match) for match in _TOKEN.finditer(pattern)]
        self._expression = re.compile("".join(parts), re.DOTALL | re.IGNORECASE)

    def match(self, path: str) -> dict[str, str] | None:
        """What a path says, by field; None if it is none of these."""
        found = self._expression.fullmatch(composed(path))
        return None if found is None else {name: text.strip() for name, text in found.groupdict().items()}

    def _part(self, match: re.Match) -> str:
        text, field, kind = match.group(), match["field"], match["kind"] or ""
        if field is None:
            return {"**/": r"(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}.get(text) or re.escape(text)
        if kind not in _KINDS or field not in (*FIELDS, ""):
            raise ValueError(
                f"The path {self.pattern!r} has the field {text}; expected one of "
                f"{', '.join('{' + name + '}' for name in FIELDS)}, with :d for digits or :w for letters."
            )
        if not field:
            return _KINDS[kind]
        if field in self.fields:
            return f"(?P={field})"
        self.fields += (field,)
        return f"(?P<{field}>{_KINDS[kind]})"


@functools.cache
def compile_pattern(pattern: str) -> PathPattern:
    """A pattern, made once."""
    return PathPattern(pattern)


def find_files(folder: Path, pattern: str, others: Iterable[Path] = ()) -> dict[Path, dict[str, str]]:
    """The files of a folder that a pattern matches, in the order of their names, and what their paths say.

    Args:
        folder: to search.
        pattern: see `PathPattern`.
        others: files that are no recordings.

    Raises:
        ValueError: no such folder, or no file that matches; says what is there.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ValueError(
            f"The folder of the recordings, {folder}, {what}; expected a folder. Mend [recordings] folder."
        )
    compiled, left_out = compile_pattern(pattern), {path.resolve() for path in others}
    files = visible_files(folder)
    matches = {path: compiled.match(relative_name(path, folder)) for path in files if path.resolve() not in left_out}
    found = {path: facts for path, facts in matches.items() if facts is not None}
    if not found:
        there = join_names(relative_name(path, folder) for path in files) if files else "it is empty"
        raise ValueError(
            f"{folder} has no file {pattern!r}: {there}. Give a folder of recordings, or another [recordings] path."
        )
    return found


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder in the order of their names, but for hidden ones and those of operating systems."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    shown = [path for path in paths if not any(map(_is_hidden, path.relative_to(folder).parts))]
    for path in shown:
        if not str(path).isprintable() and any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise ValueError(f"The name of {str(path)!r} is no text in UTF-8. Rename it.")
    return sorted(shown, key=lambda path: natural(relative_name(path, folder)))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "~$")) or name.casefold() in HIDDEN


def natural(text: str) -> tuple:
    """A key for sorting in which 10 comes after 9."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)
