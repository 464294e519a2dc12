"""What the columns of recordings are: times, labels, groups, sensors; and which had better not be trained on."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from keras_s4.datasets.surveying.words import (
    GROUP,
    INDEX,
    LABEL,
    RECORDING,
    SPLIT,
    TIME,
    TIME_UNITS,
    TRUTH,
    best_name,
    means,
    split_axis,
    words_of,
)
from keras_s4.recordings.frame import DATE, Frame, as_texts
from keras_s4.recordings.layout import Channels
from keras_s4.recordings.times import parse_dates, period_of

# A column of labels has at most so many different ones.
MOST_CLASSES = 60
# Groups are at least so many.
FEWEST_GROUPS = 3
# Recordings that are looked at for what columns mean.
LOOKED_AT = 200


@dataclasses.dataclass(frozen=True)
class Roles:
    """What the columns of recordings are.

    Args:
        time: the column of times; "" if there is none.
        time_unit: of it.
        time_reason: how that was found out.
        label: the column of labels; "" if there is none.
        group: likewise.
        split: likewise.
        recording: columns whose change begins another recording.
        sensors: columns of sensors.
        left_out: why others are none, by column.
    """

    time: str = ""
    time_unit: str = "s"
    time_reason: str = ""
    label: str = ""
    group: str = ""
    split: str = ""
    recording: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


def find_roles(frames: Sequence[Frame], labels_elsewhere: bool, wanted: Sequence[str] = ()) -> Roles:
    """What the columns of recordings are, by their names and content.

    Args:
        frames: of one layout.
        labels_elsewhere: whether paths or a table have the labels.
        wanted: columns of targets that the user's table names; never sensors.
    """
    frames = frames[:: max(1, len(frames) // LOOKED_AT)]
    columns = {
        name: [frame.columns[name] for frame in frames]
        for name in frames[0].columns
        if all(name in frame.columns for frame in frames)
    }
    numeric = [name for name, parts in columns.items() if all(part.dtype.kind == "f" for part in parts)]
    texts = [name for name in columns if name not in numeric]
    time, unit, reason = _find_time(columns, numeric, texts, frames[0])
    left = [name for name in columns if name != time]
    split = best_name([name for name in texts if name in left], SPLIT)
    few = [name for name in left if name != split and _is_few(columns[name])]
    group = best_name(few, GROUP)
    if not group and are_unnamed(columns):  # as WISDM has them: person, activity, time, x, y, z
        group = next((name for name in few if name in numeric and _is_class(columns[name], False, FEWEST_GROUPS)), "")
    left = [name for name in left if name not in (split, group)]
    label = "" if labels_elsewhere else _find_label(columns, [name for name in left if name not in wanted], texts)
    left = [name for name in left if name != label]
    session = best_name([name for name in left if _is_few(columns[name])], RECORDING)
    recording = (session,) if session else ()
    left_out = {name: "texts" for name in left if name in texts and name not in recording}
    for name in left:
        if name in numeric and name not in recording:
            fault = _fault_of(name, columns[name], columns.get(label))
            if fault:
                left_out[name] = fault
    others = dict.fromkeys(name for frame in frames for name in frame.columns if name not in columns)
    sensors = tuple(name for name in numeric if name in left and name not in left_out and name not in recording)
    if not sensors:  # rather a strange sensor than none
        sensors = tuple(name for name in left_out if name in numeric)
        left_out = {name: why for name, why in left_out.items() if name not in sensors}
    left_out |= dict.fromkeys(others, "not in all files")
    return Roles(time, unit, reason, label, group, split, recording, sensors, left_out)


def sensors_of(columns: Sequence[str], units: dict[str, str]) -> tuple[Channels, ...]:
    """Columns put together by quantity: accX, accY and accZ are the axes of acceleration."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    quantities = Counter(split_axis(column)[0] for column in columns)
    for column in columns:
        quantity, axis = split_axis(column)
        if axis.isdecimal() and quantities[quantity] == 1:  # temperature2 is no axis
            axis = ""
        key = (quantity, units.get(column, "")) if axis else (column, units.get(column, ""))
        found.setdefault(key, []).append((column, axis))
    channels = []
    for (quantity, unit), members in found.items():
        names, axes = zip(*members, strict=True)
        if len(set(axes)) < len(axes):
            channels += [Channels(name=name, columns=(name,), axes=("",), unit=unit) for name in names]
        else:
            channels.append(Channels(name=quantity, columns=names, axes=axes, unit=unit))
    return tuple(_name_apart(channels))


def _name_apart(channels: Sequence[Channels]) -> Iterator[Channels]:
    """Sensors with a number behind the name where others have it before them."""
    taken: set[str] = set()
    for channel in channels:
        names = itertools.chain([channel.name], (f"{channel.name} {number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield dataclasses.replace(channel, name=name)


def _find_time(columns, numeric: list[str], texts: list[str], frame: Frame) -> tuple[str, str, str]:
    """The column of times, its unit, and how that was found out."""
    for name in texts:
        first = columns[name][0][:50].astype(object)
        if means(name, TIME) and parse_dates(first) is not None:
            return name, "date", "dates and times of day"
    rising = [name for name in numeric if _is_rising(columns[name])]
    dates = [name for name in rising if frame.units.get(name) == DATE]
    if dates:
        return dates[0], "date", "dates and times of day"
    name = best_name(rising, TIME)
    if not name:  # the first column, or any where columns have no names
        places = list(columns) if are_unnamed(columns) else list(columns)[:1]
        name = next((name for name in rising if name in places and not _counts(columns[name])), "")
    if not name:
        return "", "s", ""
    said = _said_unit(name, frame.units.get(name, ""))
    if said:
        return name, said, "as its name says"
    unit, reason = _guess_unit(columns[name])
    return name, unit, reason


def _said_unit(name: str, unit: str) -> str:
    words = [unit.casefold().strip(), *reversed(words_of(name))]
    return next((TIME_UNITS[word] for word in words if word in TIME_UNITS and not (word == "s" and len(words) < 3)), "")


def _guess_unit(parts: Sequence[np.ndarray]) -> tuple[str, str]:
    """The unit in which times make a rate that sensors have, or a date of these years."""
    start, period = float(np.nanmin(parts[0])), float(np.nanmedian([period_of(part) for part in parts[:20]]))
    for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11), ("s", 1e9)):
        if start > least and period * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[unit] < 3600.0:
            return unit, f"since its first is {start:.6g}, a date of our time in {unit}"
    unit = "s" if period < 1.0 else "ms" if period < 1_000.0 else "us" if period < 1_000_000.0 else "ns"
    return unit, f"GUESSED, since steps are {period:.4g} apart"


def _is_rising(parts: Sequence[np.ndarray]) -> bool:
    """Whether values grow from step to step, nearly always, in every recording."""
    for part in parts:
        distances = np.diff(part)
        if len(distances) and (np.isnan(part).any() or (distances > 0).mean() < 0.9):
            return False
    return any(len(part) > 2 for part in parts)


def _counts(parts: Sequence[np.ndarray]) -> bool:
    """Whether values are the numbers of the steps."""
    return all(len(part) < 2 or (np.diff(part) == 1).mean() > 0.99 for part in parts)


def _is_few(parts: Sequence[np.ndarray]) -> bool:
    """Whether values stay the same over many steps, as the names of persons do."""
    return sum(map(_count_changes, parts)) <= sum(map(len, parts)) / 10


def _count_changes(values: np.ndarray) -> int:
    """How many steps differ from the one before; a missing value does not differ from another."""
    if values.dtype.kind == "f":
        differ = (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    else:
        differ = np.array([str(value).strip() for value in values], object)
        differ = differ[1:] != differ[:-1]
    return int(np.count_nonzero(differ))


def _find_label(columns, names: list[str], texts: list[str]) -> str:
    """The column of labels: one that is called so, or texts of few kinds."""
    few = [name for name in names if _is_few(columns[name]) and _is_class(columns[name], name in texts)]
    named = best_name([name for name in few if name in texts], LABEL) or best_name(few, LABEL)
    return named or next((name for name in few if name in texts and _is_class(columns[name], True, 2)), "")


def are_unnamed(columns: Iterable[str]) -> bool:
    """Whether files do not name their columns."""
    return all(name.startswith("column ") for name in columns)


def _is_class(parts: Sequence[np.ndarray], is_text: bool, fewest: int = 1) -> bool:
    """Whether a column has few values: texts, or whole numbers."""
    if not is_text and any(np.any(part[~np.isnan(part)] % 1) for part in parts):
        return False
    distinct = {text for part in parts for text in set(as_texts(part))}
    return fewest <= len(distinct - {""}) <= MOST_CLASSES


def _fault_of(name: str, parts: Sequence[np.ndarray], labels: Sequence[np.ndarray] | None) -> str:
    """Why a column is no sensor; "" if it may be one."""
    ends = [(np.nanmin(part), np.nanmax(part)) for part in parts if not np.isnan(part).all()]
    if not ends:
        return "no value at all"
    if len(set(ends)) == 1 and ends[0][0] == ends[0][1]:
        return f"always {ends[0][0]:g}"
    if _is_rising(parts) and _counts(parts):
        return "numbers of the steps"
    if means(name, TIME) and _is_rising(parts):
        return "times"
    if means(name, TRUTH):
        return "called like a label"
    if labels is not None and _equals_label(parts, labels):
        return "says the label: a model would learn nothing else"
    constant = all(low == high for low, high in ends)
    if constant and len(ends) > 1 and (means(name, INDEX | RECORDING) or len(set(ends)) > len(ends) / 2):
        return "the same in all of a recording, like an identifier"
    return ""


def _equals_label(parts: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> bool:
    """Whether values and labels say the same: one value for each label, and another for another."""
    pairs = set()
    for part, own in zip(parts, labels, strict=False):
        if len(part) == len(own):
            pairs |= set(zip(part.tolist(), as_texts(own), strict=True))
            if len(pairs) > 2 * MOST_CLASSES:
                return False
    values, texts = {value for value, _ in pairs}, {text for _, text in pairs}
    return 2 <= len(pairs) == len(values) == len(texts)


def says_label(frames: Sequence[Frame], column: str, labels: Sequence[str]) -> bool:
    """Whether a column has one value a label, where each recording has one."""
    parts = [frame.columns[column] for frame in frames if column in frame.columns]
    if len(parts) != len(labels) or any(len(part) and np.ptp(part) != 0 for part in parts):
        return False
    pairs = {(float(part[0]), label) for part, label in zip(parts, labels, strict=True) if len(part)}
    return 2 <= len(pairs) == len({value for value, _ in pairs}) == len({label for _, label in pairs})
