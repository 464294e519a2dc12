"""From files to `Recordings`: read, labelled, cut at gaps, brought to one rate, and looked at for faults."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.brief import Brief
from keras_s4.recordings.checks import check_copies, check_sensors, settle_duplicates
from keras_s4.recordings.frame import DATE, Frame, as_texts, join_names, relative_name
from keras_s4.recordings.gaps import bring_to_rate, cut_at_gaps, mend_missing
from keras_s4.recordings.joining_files import frames_of_files
from keras_s4.recordings.labels import TARGETS, Labeller, drops_unlabelled, encode, find_classes
from keras_s4.recordings.layout import Channels, Labels, Layout, Source
from keras_s4.recordings.paths import compile_pattern, find_files
from keras_s4.recordings.readers import frames_of_arrays
from keras_s4.recordings.recordings import UNLABELLED, Recordings
from keras_s4.recordings.spelling import find_alike, join_alike
from keras_s4.recordings.tables import Table
from keras_s4.recordings.times import check_order, period_of, round_rate, seconds_of
from keras_s4.recordings.track import Track

# What recordings may say themselves of the split that they are for.
SPLIT_NAMES = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "te", "eval"),
}


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Loaded(Brief):
    """Recordings that were read.

    Args:
        recordings: all of them.
        splits: of each its split, "train", "validation", "test" or "" if they do not say so, `[R]`.
        names: of each the file, `[R]`.
        classes: the names of the classes; () if labels are something else.
        channels: the sensors, in the order of the features.
        rate: steps a second; None if nobody knows.
        notes: what is worth saying.
    """

    recordings: Recordings
    splits: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    channels: tuple[Channels, ...]
    rate: float | None
    notes: tuple[str, ...]


def load(layout: Layout, progress: Callable[[int, int], None] | None = None) -> Loaded:
    """Reads all recordings of a folder.

    Args:
        layout: what is said of them.
        progress: called as `progress(files read, files)`.

    Raises:
        ValueError: there are none, or they do not fit what is said of them; the message names files and places.
        OSError: a file cannot be read.
        ModuleNotFoundError: a package is missing that reads their format.
    """
    layout = dataclasses.replace(layout, labels=with_source(layout.labels, layout.source))
    source, labels, groups = layout.source, layout.labels, layout.groups
    tables = {source.folder / name for name in (labels.table, groups.table) if name}
    files = find_files(source.folder, source.path, tables)
    if source.format == "" and len({path.suffix.casefold() for path in files}) > 1:
        check_formats(files, source)
    frames = frames_of_files(files, source, labels, groups, progress)
    return load_frames(frames, layout, [relative_name(path, source.folder) for path in files])


def load_arrays(arrays: Mapping[str, Any], layout: Layout) -> Loaded:
    """Recordings in arrays; see `keras_s4.recordings.readers.frames_of_arrays`."""
    layout = dataclasses.replace(layout, labels=with_source(layout.labels, layout.source))
    if layout.labels.source == "column" and "y" not in arrays and "y_train" not in arrays:
        layout = dataclasses.replace(layout, labels=dataclasses.replace(layout.labels, source="none"))
    frames = [("the arrays", frame) for frame in frames_of_arrays(arrays, "the arrays")]
    return load_frames(frames, layout, ["the arrays"])


def load_frames(frames: Iterable[tuple[str, Frame]], layout: Layout, files: Sequence[str]) -> Loaded:
    """Recordings from what files hold.

    Args:
        frames: pairs of the name of a file and what it holds, or a part of it.
        layout: what is said of them.
        files: the names of all files.

    Raises:
        ValueError: see `load`.
    """
    reading = _Reading(layout, files)
    tracks = [track for file, frame in frames for track in reading.tracks_of(file, frame)]
    return reading.finish(tracks)


def with_source(labels: Labels, source: Source) -> Labels:
    """Labels that say where they come from: a field {label} in the path, a table, files of lines, or a column."""
    if labels.source:
        return labels
    if "label" in compile_pattern(source.path).fields:
        found = "path"
    else:
        found = "table" if labels.table else "lines" if labels.lines else "column"
    return dataclasses.replace(labels, source=found)


def check_formats(files: Iterable[Path], source: Source) -> None:
    """Refuses files of several kinds: some of them are no recordings.

    Raises:
        ValueError: there are several; says how to choose.
    """
    kinds = Counter(path.suffix.casefold() for path in files)
    kind, _ = kinds.most_common(1)[0]
    odd = [relative_name(path, source.folder) for path in files if path.suffix.casefold() != kind]
    raise ValueError(
        f"{source.folder} has files of several kinds ({', '.join(f'{n} {k or chr(39) * 2}' for k, n in kinds.items())})"
        f', such as {join_names(odd, 3)}. Choose with [recordings] path, as in path = "**/*{kind}".'
    )


class _Reading:
    """What reading recordings needs to know, and what it notes."""

    def __init__(self, layout: Layout, files: Sequence[str]):
        self.layout, self.source = layout, layout.source
        folder = self.source.folder
        self.labeller = Labeller(layout.labels, layout.aim, folder, files, self.source.time_unit)
        self.channels = layout.channels
        self.notes: list[str] = self.labeller.notes
        self.table = None
        if layout.groups.source == "table":
            name = layout.groups.table or layout.labels.table
            if not name:
                raise ValueError('[groups] source = "table" and no table; expected [groups] table or [labels] table.')
            self.table = Table(folder / name, layout.labels.file, files, "[groups] table")
        self.sources = 0
        self.lost: list[str] = []

    @property
    def columns(self) -> list[str]:
        """The columns of the features."""
        return [column for channel in self.channels for column in channel.columns]

    def tracks_of(self, file: str, frame: Frame) -> list[Track]:
        """What a file holds as tracks without gaps, in time."""
        if not len(frame):
            raise ValueError(f"{frame.name} is empty: it holds no row of data.")
        if not self.channels:
            self.channels = self._find_channels(frame)
        if frame.rate is None and not self.source.time and self.source.rate is not None:
            frame = dataclasses.replace(frame, rate=self.source.rate)
        times = seconds_of(frame, self.source.time, self.source.time_unit) if self.source.time else None
        labels = self.labeller.of(frame, file, times)
        groups = self._groups(frame, file)
        whole = Track(frame.name, frame.first, self._values(frame), times, frame.rate, labels)
        found = []
        for start, stop in self._parts(frame, groups):
            part = dataclasses.replace(
                whole.take(slice(start, stop)),
                group=str(groups[start]) if groups is not None else frame.name,
                split=self._split(frame, file, start),
                source=self.sources,
            )
            self.sources += 1
            if times is not None:
                check_order(frame.take(slice(start, stop)), part.times)
                period = period_of(part.times)  # that of pieces would be less exact
                part = dataclasses.replace(part, rate=1.0 / period if np.isfinite(period) else None)
            pieces = [mend_missing(track, self.columns, self.source) for track in cut_at_gaps(part, self.source)]
            found += itertools.chain.from_iterable(pieces)
            if not any(pieces):
                self.lost.append(self._why_lost(part))
        return found

    def _why_lost(self, part: Track) -> str:
        """A recording of which missing values leave nothing, and the sensors without any value."""
        silent = [name for name, values in zip(self.columns, part.values.T, strict=True) if np.isnan(values).all()]
        return f"{part.name} ({join_names(silent)} without a value)" if silent else part.name

    def finish(self, tracks: list[Track]) -> Loaded:
        """Tracks as recordings at one rate."""
        if self.lost:
            self.notes.append(f"Missing values leave nothing of {join_names(self.lost, 4)}.")
        if not tracks:
            raise ValueError(" ".join([*self.notes, "No recording is left. Leave out such sensors, or such files."]))
        tracks = settle_duplicates(tracks, self.source, self.notes)
        self.notes += self.labeller.remarks() + self._remarks_on_groups(tracks)
        self.notes += check_sensors(tracks, self.columns, self.source) + check_copies(tracks, self.source)
        rate = self._rate(tracks)
        if rate is not None:
            tracks = [bring_to_rate(track, rate, self.source) for track in tracks]
        tracks = self._without_short_ones(tracks, rate)
        tracks, labels, classes = self._labels(tracks)
        if not tracks:
            raise ValueError("Nothing is left of the recordings after gaps and missing values were cut out.")
        return Loaded(
            recordings=Recordings(
                [track.values.astype(np.float32) for track in tracks],
                labels,
                np.array([track.group for track in tracks]),
                np.array([track.source for track in tracks]),
            ),
            splits=np.array([track.split for track in tracks]),
            names=tuple(track.name for track in tracks),
            classes=classes,
            channels=self.channels,
            rate=rate,
            notes=tuple(self.notes),
        )

    def _remarks_on_groups(self, tracks: Sequence[Track]) -> list[str]:
        """Whether groups may be one, written in two ways."""
        groups = self.layout.groups
        alike = find_alike(track.group for track in tracks) if groups.source != "recording" else []
        if not alike:
            return []
        what = groups.name if groups.name != "recording" else "group"
        return [
            f"Groups that are written alike are different ones: {join_alike(alike)}. If they are one {what}, a "
            "model may be tested on whom it was trained on: write them in one way."
        ]

    def _find_channels(self, frame: Frame) -> tuple[Channels, ...]:
        """Each column of numbers that nothing else uses."""
        labels, groups = self.layout.labels, self.layout.groups
        used = {self.source.time, *self.source.recording, labels.column, *labels.columns, groups.column, "split"}
        names = [name for name in frame.numeric if name not in used and frame.units.get(name) != DATE]
        if not names:
            raise ValueError(f"{frame.name} has no column of numbers for a sensor; it has {join_names(frame.columns)}.")
        return tuple(Channels(name=name, columns=(name,), axes=("",), unit=frame.units.get(name, "")) for name in names)

    def _values(self, frame: Frame) -> np.ndarray:
        """The features in the units of the sensors, `[steps, features]`."""
        return np.stack(
            [
                channel.quantities(self._raw(frame, column, channel))
                for channel in self.channels
                for column in channel.columns
            ],
            axis=1,
        )

    def _raw(self, frame: Frame, column: str, channel: Channels) -> np.ndarray:
        values = frame.numbers(column, f"sensor {channel.name!r}")
        if channel.raw and np.any(values[~np.isnan(values)] % 1):
            row = int(np.argmax(values % 1 > 0))
            raise ValueError(
                f"{frame.name} has {values[row]:g} in column {column!r}, line {frame.first + row}, which is no integer "
                f"of a sensor. Are the values in {channel.unit or 'its unit'} already? Say raw = false of it."
            )
        return values

    def _groups(self, frame: Frame, file: str) -> np.ndarray | None:
        """The group of each step; None if the file is one."""
        groups = self.layout.groups
        if groups.source in ("column", "lines"):
            found = frame.texts(groups.column, "groups ([groups] column)")
        elif groups.source == "path":
            found = np.array([frame.facts.get("group", "")], object)
        elif groups.source == "table":
            found = np.array([self.table.text_of(file, groups.column)], object)
        else:
            return None
        if groups.source == "table" and not found[0]:
            raise ValueError(
                f"{frame.name} has no {groups.name} (group) in the table of labels; expected a row with one for each "
                "recording. Add it, or move the recording away."
            )
        if (found == "").any():
            raise ValueError(
                f"{frame.name} has no {groups.name} (group) in line {frame.first + int((found == '').argmax())}; "
                "expected one. Mend the file, or the section [groups]."
            )
        return found if len(found) == len(frame) else np.repeat(found, len(frame))

    def _parts(self, frame: Frame, groups: np.ndarray | None) -> list[tuple[int, int]]:
        """Start and end of what is one recording each: no change of group, nor of the columns that tell."""
        telling = [as_texts(frame.column(name, "[recordings] recording")) for name in self.source.recording]
        telling += [] if groups is None else [groups]
        changes = np.zeros(max(0, len(frame) - 1), bool)
        for column in telling:
            changes |= column[1:] != column[:-1]
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(frame)]
        return list(itertools.pairwise(edges))

    def _split(self, frame: Frame, file: str, start: int) -> str:
        """The split that the recording says it is for."""
        said = frame.facts.get("split", "")
        if not said and "split" in frame.columns:
            said = str(as_texts(frame.columns["split"][start : start + 1])[0])
        if not said and self.labeller.table is not None and self.labeller.table.has("split"):
            said = self.labeller.table.text_of(file, "split")
        name = next((name for name, words in SPLIT_NAMES.items() if said.casefold() in words), "")
        if said and not name and "split" in frame.facts:
            raise ValueError(f"{frame.name} is for the split {said!r}; expected train, validation or test.")
        return name

    def _rate(self, tracks: Sequence[Track]) -> float | None:
        """Steps a second of all: what is said, or what most recordings have."""
        known = [(track.rate, len(track)) for track in tracks if track.rate is not None]
        if self.source.rate is not None or not known:
            return self.source.rate
        rates, steps = (np.array(column, np.float64) for column in zip(*known, strict=True))
        order = np.argsort(rates)
        middle = rates[order][np.searchsorted(np.cumsum(steps[order]), steps.sum() / 2)]
        near = np.abs(rates / middle - 1.0) < 0.02
        return round_rate(float(np.average(rates[near], weights=steps[near])))

    def _without_short_ones(self, tracks: list[Track], rate: float | None) -> list[Track]:
        """Without pieces that are shorter than is asked for."""
        least = max(1.0, self.source.shortest * (rate or 0.0))
        kept = [track for track in tracks if len(track) >= least]
        if len(kept) < len(tracks):
            self.notes.append(f"{len(tracks) - len(kept)} pieces shorter than {self.source.shortest:g} s are left out.")
        return kept

    def _labels(self, tracks: list[Track]) -> tuple[list[Track], np.ndarray | list[np.ndarray], tuple[str, ...]]:
        """Tracks that have labels, the labels in the form in which `Recordings` holds them, and classes."""
        aim, labels = self.layout.aim, self.layout.labels
        if not tracks or any(track.labels is None for track in tracks):
            return tracks, np.zeros(len(tracks), np.int64), ()
        tracks = self._without_unlabelled(tracks)
        if aim == TARGETS:
            return tracks, _collapse([track.labels for track in tracks]), ()
        texts = self.labeller.texts
        classes = find_classes(texts, labels, aim)
        per_step = [encode(track.labels, texts, classes, labels, aim) for track in tracks]
        return tracks, _collapse(per_step), classes

    def _without_unlabelled(self, tracks: list[Track]) -> list[Track]:
        """Without tracks that have no label at all, which are refused if the labels say so."""
        bare = [track for track in tracks if not _is_labelled(track.labels).any()]
        if not bare:
            return tracks
        names = join_names(dict.fromkeys(track.name for track in bare))
        whole = {track.source for track in tracks if _is_labelled(track.labels).any()}
        missing = [track for track in bare if track.source not in whole]
        if len(bare) == len(tracks):
            raise ValueError(f"None of the {len(tracks)} recordings has a label. Fill in the section [labels].")
        if missing and not drops_unlabelled(self.layout.labels):
            raise ValueError(
                f"{len(missing)} recordings have no label: {names}. Label them, or leave them out with [labels] "
                'missing = "drop".'
            )
        if missing:
            self.notes.append(f"{len(missing)} recordings without a label are left out: {names}.")
        dropped = {id(track) for track in bare}
        return [track for track in tracks if id(track) not in dropped]


def _is_labelled(labels: np.ndarray) -> np.ndarray:
    """Whether each step has a label."""
    if labels.dtype.kind == "f":
        return ~np.isnan(labels).any(axis=1)
    return labels != UNLABELLED


def _collapse(per_step: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """One label a recording where none changes inside of one, or else one a step."""
    if all((labels == labels[:1]).all() for labels in per_step):
        return np.stack([labels[0] for labels in per_step])
    return per_step
