"""Tables beside recordings: a row a recording, or a row an event in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from keras_s4.recordings.frame import as_texts, find_name, join_names
from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers import format_of, read_file, read_texts
from keras_s4.recordings.spelling import composed


class Table:
    """The rows of a CSV or Parquet file by the recordings that they name.

    Args:
        path: of the table.
        file: the column that names recordings: by path, or by name, with or without what it ends in. Where none is
            found so, folders in front of all paths are left out, and what they end in.
        recordings: the names of all recordings, relative to their folder, with slashes.
        where: in the TOML file the table is named, for messages: "[labels] table".

    Raises:
        ValueError: it cannot be read, names a file that several recordings could be, or has no such column.
    """

    def __init__(self, path: Path, file: str, recordings: Sequence[str], where: str):
        if not path.is_file():
            raise ValueError(f"{where} is {path}, which is no file; expected a CSV file with a row a recording.")
        self.name, self._where = path.name, where
        self._columns = _read(path)
        self.length = len(next(iter(self._columns.values()), ()))
        self.foreign: list[str] = []
        self._rows: dict[str, list[int]] = {name: [] for name in recordings}
        if len(recordings) == 1 and not self.has(file):
            self._rows[recordings[0]] = list(range(self.length))
            return
        meant = _names_of(recordings)
        texts = self.column(file)
        for row, (text, name) in enumerate(zip(texts, _paths_in(texts, meant, recordings), strict=True)):
            found = meant.get(name, ())
            if len(found) > 1:
                raise ValueError(
                    f"{self.name}, row {row + 1}, names {text!r}, which may be {join_names(sorted(found))}; expected "
                    "one. Write paths relative to the folder of the recordings."
                )
            if not found:
                self.foreign.append(text)
            for name in found:
                self._rows[name].append(row)
        if recordings and len(self.foreign) == self.length:
            raise ValueError(
                f"{self.name} names no recording in its column {file!r}: {join_names(self.foreign, 3)}; there are "
                f"{join_names(recordings, 3)}."
            )

    def column(self, name: str) -> np.ndarray:
        """A column as texts; spaces around its name and its case do not matter where that leaves one only.

        Raises:
            ValueError: there is none.
        """
        if not self.has(name):
            raise ValueError(
                f"{self.name} has no column {name!r}; it has {join_names(self._columns)}. It is the file of "
                f"{self._where}; name its columns there."
            )
        return self._columns[find_name(self._columns, name)]

    def rows_of(self, recording: str) -> list[int]:
        """The rows that name a recording."""
        return self._rows[recording]

    def text_of(self, recording: str, column: str) -> str:
        """What the table says of a recording; "" if nothing.

        Raises:
            ValueError: it says two different things.
        """
        texts = list(dict.fromkeys(self.column(column)[row] for row in self._rows[recording]))
        if len(texts) > 1:
            rows = join_names(row + 1 for row in self._rows[recording])
            raise ValueError(
                f"{self.name} has {join_names(map(repr, texts))} in column {column!r} for {recording} (rows {rows}); "
                'expected one. If these are events inside of it, say [labels] source = "intervals".'
            )
        return texts[0] if texts else ""

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return find_name(self._columns, column) is not None


def _read(path: Path) -> dict[str, np.ndarray]:
    """The columns as texts, by their names."""
    source = Source()
    if format_of(path, source) == "csv":
        return read_texts(path, source)
    (frame,) = read_file(path, path.name, source)
    return {name: as_texts(values) for name, values in frame.columns.items()}


def _names_of(recordings: Iterable[str], most: int = 4) -> dict[str, set[str]]:
    """What each recording may be called: a better name of one goes before a worse name of another.

    Args:
        recordings: their paths.
        most: kinds of names, the best ones: the path, that without its ending, the name, and that without its ending.
    """
    meant: dict[str, set[str]] = {}
    paths = [(name, PurePosixPath(name)) for name in recordings]
    for shorten in (
        lambda path: path,
        lambda path: path.with_suffix(""),
        lambda path: PurePosixPath(path.name),
        lambda path: PurePosixPath(path.stem),
    )[:most]:
        level: dict[str, set[str]] = {}
        for name, path in paths:
            level.setdefault(_normal(str(shorten(path))), set()).add(name)
        meant = level | meant
    return meant


def _paths_in(texts: Sequence[str], meant: Mapping[str, set[str]], recordings: Sequence[str]) -> list[str]:
    """What the texts of a table may name: as they are, or where that is nothing, without folders in front of all."""
    names = [_normal(text) for text in texts]
    if not names or any(name in meant for name in names):
        return names
    paths = [PurePosixPath(name) for name in names]
    whole = _names_of(recordings, most=2)
    for left_out in range(min(len(path.parts) for path in paths)):
        if len({path.parts[:left_out] for path in paths}) > 1:
            break
        shorter = [PurePosixPath(*path.parts[left_out:]) for path in paths]
        for found in ([str(path) for path in shorter], [str(path.with_suffix("")) for path in shorter]):
            if any(name in whole for name in found):
                return found
    return names


def _normal(name: str) -> str:
    return composed(name).strip().replace("\\", "/").removeprefix("./").casefold()
