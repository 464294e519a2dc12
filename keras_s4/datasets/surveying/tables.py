"""Which of the files in a folder are no recordings but say something of them: tables of labels, lists of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_s4.datasets.surveying.words import END, FILE, GROUP, LABEL, SPLIT, START, best_name
from keras_s4.recordings.frame import as_texts, relative_name, to_numbers
from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers import format_of, read_file, read_texts
from keras_s4.recordings.tables import Table

# A table is smaller than this, and there are not many.
LARGEST_TABLE, MOST_TABLES = 20_000_000, 40


@dataclasses.dataclass(frozen=True)
class TableFound:
    """A table, and what its columns are.

    Args:
        path: of the file, relative to the folder.
        file: the column of recordings; "" if there is one recording only.
        label: the column of labels; "" if it has none.
        group: likewise.
        split: likewise.
        start: the column where events begin; "" if a row is a recording.
        end: where they end.
        unit: of start and end.
        names: all labels.
        targets: columns of numbers, if there is no label.
    """

    path: str
    file: str
    label: str = ""
    group: str = ""
    split: str = ""
    start: str = ""
    end: str = ""
    unit: str = "s"
    names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


def find_table(folder: Path, candidates: Sequence[Path], recordings: Sequence[Path]) -> TableFound | None:
    """The table that names most recordings; None if there is none.

    Args:
        folder: of all.
        candidates: files that may be one.
        recordings: that it may name; a candidate is none of them.
    """
    best, score = None, 0
    for path in candidates[:MOST_TABLES]:
        others = [relative_name(other, folder) for other in recordings if other != path]
        columns = columns_of(path)
        if not columns or not others:
            continue
        found, named = _read_roles(path, folder, columns, others)
        if found is not None and named > score:
            best, score = found, named
    return best


def columns_of(path: Path) -> Mapping[str, np.ndarray]:
    """The columns of a file as texts; none if it is no table."""
    try:
        if path.stat().st_size > LARGEST_TABLE:
            return {}
        if format_of(path, Source()) == "csv":
            return read_texts(path)
        if format_of(path, Source()) != "parquet":
            return {}
        (frame,) = read_file(path, path.name, Source())
    except (ValueError, OSError):
        return {}
    return {name: as_texts(values) for name, values in frame.columns.items()}


def _read_roles(
    path: Path, folder: Path, columns: Mapping[str, np.ndarray], recordings: Sequence[str]
) -> tuple[TableFound | None, int]:
    """What the columns of a file are, and how many recordings it names."""
    start, end = best_name(columns, START), best_name(columns, END)
    file, named = _file_column(path, columns, recordings)
    if not file and not (start and end and len(recordings) == 1):
        return None, 0
    left = [name for name in columns if name not in (file, start, end)]
    group = best_name([name for name in left if not _all_different(columns[name])], GROUP)
    split = best_name([name for name in left if name != group], SPLIT)
    left = [name for name in left if name not in (group, split)]
    label = best_name(left, LABEL) or next((name for name in left if _are_names(columns[name])), "")
    events = bool(start and end)
    targets = () if label else tuple(name for name in left if _are_numbers(columns[name]))
    if not label and not targets and not group:
        return None, 0
    names = tuple(dict.fromkeys(text for text in columns.get(label, ()) if text)) if label else ()
    found = TableFound(
        relative_name(path, folder),
        file,
        label,
        group,
        split,
        start if events else "",
        end if events else "",
        unit_of_events(start, end, columns) if events else "s",
        names,
        targets,
    )
    return found, named or 1


def _file_column(path: Path, columns: Mapping[str, np.ndarray], recordings: Sequence[str]) -> tuple[str, int]:
    """The column that names recordings, and how many."""
    best, most = "", 0
    ordered = sorted(columns, key=lambda name: name != best_name(columns, FILE))
    for name in ordered:
        try:
            table = Table(path, name, [*recordings, "\0"], "the table")
        except ValueError:
            continue
        named = sum(bool(table.rows_of(recording)) for recording in recordings)
        if named > most and len(table.foreign) <= table.length / 2:
            best, most = name, named
    return best, most


def unit_of_events(start: str, end: str, columns: Mapping[str, np.ndarray]) -> str:
    """The unit of start and end, by their names."""
    text = f"{start} {end}".casefold()
    if any(word in text for word in ("sample", "step", "row", "index", "idx")):
        return "steps"
    if "ms" in text or "milli" in text:
        return "ms"
    values = to_numbers(columns[start])
    return "time" if isinstance(values, str) else "s"


def _are_names(texts: np.ndarray) -> bool:
    """Whether a column holds words of which some come again."""
    distinct = set(texts) - {""}
    return 2 <= len(distinct) < len(texts) and isinstance(to_numbers(sorted(distinct)), str)


def _are_numbers(texts: np.ndarray) -> bool:
    found = to_numbers(texts)
    return not isinstance(found, str) and len(set(texts)) > 1 and not np.isnan(found).all()


def _all_different(texts: np.ndarray) -> bool:
    return len(set(texts)) == len(texts) and len(texts) > 2
