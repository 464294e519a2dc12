"""Tasks as TOML files: recordings of one's own, described section by section.

`keras_s4.datasets.description` and `keras_s4.recordings.layout` have the sections and their keys.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s4.checks import quote
from keras_s4.datasets.described_task import task_of
from keras_s4.datasets.description import Aim, Description, Split, Windows
from keras_s4.datasets.live import Live
from keras_s4.datasets.sections import check_keys, read_section
from keras_s4.datasets.task import Task
from keras_s4.recordings import Splits
from keras_s4.recordings.layout import Channels, Groups, Labels, Source
from keras_s4.recordings.loading import load

SECTIONS = {
    "task": Aim,
    "recordings": Source,
    "labels": Labels,
    "groups": Groups,
    "windows": Windows,
    "split": Split,
    "live": Live,
}
# Sections whose keys are those of others: the decision layer's and the job's.
OTHERS = ("decision", "training")


def read_task(path: Path | str, fold: int | None = None) -> Task:
    """The task that a TOML file describes.

    Args:
        path: of the file; paths in it are relative to its folder.
        fold: which groups are kept for the test; by default what the file says.

    Raises:
        ValueError: no such file, no TOML, a section or key that there is not, a value of another type, or recordings
            that do not fit; the message names file and key.
        OSError: a file cannot be read.
    """
    path = Path(path)
    description = read_description(path)
    with _named(path):
        task = task_of(description, load, fold=fold)

    def read() -> Splits:
        with _named(path):
            return task.read()

    return dataclasses.replace(task, read=read)


def read_description(path: Path) -> Description:
    """What a TOML file says, before anything is read of the recordings.

    Raises:
        ValueError: see `read_task`.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no task file {path}. Write one with: keras-s4 new FOLDER, which looks at a folder of recordings."
        )
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no TOML file: {error}. Texts stand in quotes, a section begins with [name]."
        ) from error
    with _named(path):
        return describe(content, path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors that name the task file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def describe(content: dict[str, Any], path: Path) -> Description:
    """What the content of a TOML file says.

    Args:
        content: of the file.
        path: of it; paths in it are relative to its folder.

    Raises:
        ValueError: a section or key that there is not, one that is missing, or a value of another type.
    """
    check_keys(content, [*SECTIONS, "sensors", *OTHERS], "The file")
    if "recordings" not in content:
        raise ValueError("The file has no section [recordings]; expected one with the folder of the recordings.")
    if "windows" not in content:
        raise ValueError("The file has no section [windows]; expected one with the seconds of a window.")
    parts = {name: read_section(kind, content[name], f"[{name}]") for name, kind in SECTIONS.items() if name in content}
    source: Source = parts["recordings"]
    parts["recordings"] = dataclasses.replace(source, folder=(path.parent / source.folder))
    aim: Aim = parts.get("task", Aim())
    parts["task"] = dataclasses.replace(aim, name=aim.name or path.stem)
    for name in OTHERS:
        section = content.get(name, {})
        if not isinstance(section, dict):
            raise ValueError(f"[{name}] is {quote(section)}; expected a table of keys and values.")
        parts[name] = section
    return Description(sensors=_read_sensors(content.get("sensors", [])), **parts)


def _read_sensors(entries: Any) -> tuple[Channels, ...]:
    if not isinstance(entries, list):
        raise ValueError(f"sensors is {quote(entries)}; expected entries [[sensors]], with two brackets each.")
    return tuple(read_section(Channels, entry, "[[sensors]]") for entry in entries)
