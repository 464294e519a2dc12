"""A task file that is being written: sections of keys with values and comments, as text."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH = 110
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclasses.dataclass
class Entry:
    """A key of a section.

    Args:
        key: its name.
        value: a text, number, truth value, or a list or dict of texts.
        comment: behind it; "" for none.
        active: whether it counts, or is only shown as a comment.
    """

    key: str
    value: Any
    comment: str = ""
    active: bool = True

    @property
    def text(self) -> str:
        """The line."""
        line = f"{self.key} = {toml_value(self.value)}"
        line = line if self.active else "# " + line.replace("\n", "\n# ")
        return f"{line}  # {_plain(self.comment)}" if self.comment else line


@dataclasses.dataclass
class Section:
    """A section of a task file.

    Args:
        name: in brackets, such as "[labels]".
        comments: lines above its keys.
        entries: its keys.
        active: whether it counts, or is only shown as a comment.
    """

    name: str
    comments: list[str] = dataclasses.field(default_factory=list)
    entries: list[Entry] = dataclasses.field(default_factory=list)
    active: bool = True

    def say(self, key: str, value: Any, comment: str = "", active: bool = True) -> None:
        """Adds a key."""
        self.entries.append(Entry(key, value, comment, active))

    def remark(self, comment: str) -> None:
        """Adds a comment above the keys."""
        self.comments.append(comment)

    @property
    def text(self) -> str:
        """Its lines."""
        comments = comment_lines(self.comments)
        if not self.active:
            hidden = [dataclasses.replace(entry, active=False).text for entry in self.entries]
            return "\n".join([*comments, f"# [{self.name}]", *hidden])
        return "\n".join([f"[{self.name}]", *comments, *(entry.text for entry in self.entries)])


def comment_lines(comments: Sequence[str]) -> list[str]:
    """Comments as lines that are not too long."""
    return [
        line
        for comment in comments
        for line in textwrap.wrap(_plain(comment), WIDTH, initial_indent="# ", subsequent_indent="# ")
    ]


def file_text(heading: Sequence[str], sections: Sequence[Section]) -> str:
    """The text of a file."""
    return "\n".join(comment_lines(heading)) + "\n\n" + "\n\n".join(section.text for section in sections) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if value != int(value) or abs(value) > 1e15 else f"{value:.1f}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {toml_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        entries = [toml_value(entry) for entry in value]
        line = f"[{', '.join(entries)}]"
        return line if len(line) <= WIDTH - 20 else "\n".join(["[", *_wrap(entries), "]"])
    text = value.as_posix() if isinstance(value, Path) else str(value)
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return _quoted(text)


def _wrap(entries: Sequence[str]) -> list[str]:
    """Lines of entries with commas, none of which is broken."""
    lines = ["   "]
    for entry in entries:
        if len(lines[-1]) + len(entry) + 2 > WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {entry},"
    return lines


def _quoted(text: str) -> str:
    """A text in quotes; TOML wants one more character escaped than JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(comment: str) -> str:
    """A comment without line breaks and other characters that TOML does not allow in one."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", comment)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)
