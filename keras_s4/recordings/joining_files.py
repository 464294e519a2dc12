"""Files that belong together: those of several sensors of a recording; files of rows, and their labels line by line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from keras_s4.recordings.frame import Frame, as_texts, relative_name
from keras_s4.recordings.layout import ROWS, Groups, Labels, Source
from keras_s4.recordings.paths import natural
from keras_s4.recordings.readers import read_file, read_texts


def frames_of_files(
    files: Mapping[Path, Mapping[str, str]],
    source: Source,
    labels: Labels,
    groups: Groups,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Frame]]:
    """What files hold, with what their paths say; a frame a recording, or several.

    Args:
        files: what the path of each says, by its path.
        source: how they are read.
        labels: whose files of lines belong to layout "rows".
        groups: likewise.
        progress: called as `progress(files read, files)`.

    Raises:
        ValueError: a file cannot be read, or files of one recording differ in length; the message names them.
    """
    done = 0
    for facts, members in _together(files):
        frames: list[Frame] = []
        for position, (sensor, path) in enumerate(members.items()):
            name = relative_name(path, source.folder)
            read = read_file(path, name, source)
            if position == 0:
                frames = [_name_columns(frame, sensor) for frame in read]
            else:
                frames = [_join(one, _name_columns(two, sensor)) for one, two in zip(frames, read, strict=True)]
            done += 1
            if progress is not None:
                progress(done, len(files))
        name = relative_name(next(iter(members.values())), source.folder)
        for frame in frames:
            frame = dataclasses.replace(frame, facts={**facts, **frame.facts})
            if source.layout == ROWS:
                yield from ((name, row) for row in _rows(frame, source, labels, groups, list(members)))
            else:
                yield name, frame


def _together(files: Mapping[Path, Mapping[str, str]]) -> list[tuple[dict[str, str], dict[str, Path]]]:
    """Files whose paths differ in the sensor alone: what they say, and the file of each sensor."""
    found: dict[tuple, tuple[dict[str, str], dict[str, Path]]] = {}
    for path, facts in files.items():
        facts = dict(facts)
        sensor = facts.pop("sensor", "")
        key = tuple(sorted(facts.items())) if sensor else (str(path),)
        _, members = found.setdefault(key, (facts, {}))
        if sensor in members:
            raise ValueError(
                f"{path.name} and {members[sensor].name} are both sensor {sensor!r} of one recording; say in "
                "[recordings] path what tells recordings apart, as {recording}."
            )
        members[sensor] = path
    return list(found.values())


def _name_columns(frame: Frame, sensor: str) -> Frame:
    """A frame whose columns say the sensor of its file."""
    if not sensor:
        return frame
    names = [f"{sensor} {name}" if len(frame.columns) > 1 else sensor for name in frame.columns]
    return dataclasses.replace(frame, columns=dict(zip(names, frame.columns.values(), strict=True)))


def _join(one: Frame, two: Frame) -> Frame:
    """Columns of two files side by side.

    Raises:
        ValueError: they have different numbers of rows.
    """
    if len(one) != len(two):
        raise ValueError(
            f"{one.name} has {len(one):,} rows, {two.name}, which belongs to it, has {len(two):,}; expected as many."
        )
    return dataclasses.replace(one, columns={**one.columns, **two.columns})


def _rows(frame: Frame, source: Source, labels: Labels, groups: Groups, sensors: list[str]) -> Iterator[Frame]:
    """The rows of a file as recordings: a column a sensor, and those of label and group."""
    used = [name for name in (labels.column, groups.column) if name in frame.columns]
    columns: dict[str, np.ndarray] = {name: as_texts(frame.columns[name]) for name in used}
    if labels.lines:
        columns[labels.column] = _lines(labels.lines, frame, source, "[labels] lines")
    if groups.lines:
        columns[groups.column] = _lines(groups.lines, frame, source, "[groups] lines")
    signals = {name: values for name, values in _signals(frame, used, source, sensors)}
    for row in range(len(frame)):
        steps = {name: values[row] for name, values in signals.items()}
        length = max(
            (int(np.flatnonzero(~np.isnan(v))[-1]) + 1 if not np.isnan(v).all() else 0) for v in steps.values()
        )
        steps = {name: values[:length] for name, values in steps.items()}
        steps |= {name: np.full(length, texts[row], object) for name, texts in columns.items()}
        yield dataclasses.replace(frame, name=f"{frame.name}, line {frame.first + row}", columns=steps, first=0)


def _signals(frame: Frame, used: list[str], source: Source, sensors: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The signal of each row, `[rows, steps]`, by the name of the sensor."""
    for sensor in sensors:
        names = [name for name in frame.columns if name not in used and (not sensor or name.startswith(f"{sensor} "))]
        matrix = np.stack([frame.numbers(name, "steps of a recording") for name in names], axis=1)
        count = source.interleaved
        if matrix.shape[1] % count:
            raise ValueError(
                f"{frame.name} has {matrix.shape[1]} values a row; expected a multiple of interleaved = {count}. Is a "
                "column of labels among them? Name it in [labels] column."
            )
        for index in range(count):
            name = f"{sensor or 'value'} {index + 1}" if count > 1 else sensor or "value"
            yield name, matrix[:, index::count]


def _lines(pattern: str, frame: Frame, source: Source, where: str) -> np.ndarray:
    """The texts of a file with a line a row of the frame."""
    try:
        path = source.folder / pattern.format(**frame.facts)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{where} is {pattern!r}; expected fields that [recordings] path has.") from error
    if not path.is_file():
        raise ValueError(f"{where} is {path}, which is no file; expected one with a line for each of {frame.name}.")
    columns = read_texts(path, Source(header=False))
    texts = next(iter(columns.values()))
    if len(texts) != len(frame):
        raise ValueError(f"{path.name} has {len(texts):,} lines, {frame.name} has {len(frame):,}; expected as many.")
    return texts


def sensors_of(files: Mapping[Path, Mapping[str, str]]) -> list[str]:
    """The sensors that paths name."""
    return sorted({facts["sensor"] for facts in files.values() if "sensor" in facts}, key=natural)
