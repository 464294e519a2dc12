"""A look at a folder of recordings that nobody prepared: what is in it, and a task file that is ready to run."""

from __future__ import annotations

import dataclasses
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_s4.brief import Brief
from keras_s4.datasets.described_task import task_of
from keras_s4.datasets.description import Description
from keras_s4.datasets.surveying.draft import file_text
from keras_s4.datasets.surveying.facts import relative_folder
from keras_s4.datasets.surveying.look import Look, look_at
from keras_s4.datasets.surveying.writing import Writer
from keras_s4.datasets.task import Task
from keras_s4.datasets.task_file import describe
from keras_s4.recordings import UNLABELLED, Recordings
from keras_s4.recordings.frame import count, join_names
from keras_s4.recordings.layout import Layout
from keras_s4.recordings.loading import Loaded, load_frames

# Ways to split, the first of which that works is taken.
WAYS = (("group", 5), ("group", 4), ("group", 3), ("time", 5))


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Survey(Brief):
    """What was found in a folder.

    Args:
        text: of a task file.
        problem: why `keras-s4 run` would refuse it, and what to fill in; "" if it is ready to run.
        notes: what is worth saying of the recordings.
        classes: of each class its recordings and its steps, by name.
        splits: how many recordings are for training, validation and test; () if there is a problem.
        left_out: columns that are no sensors, and why.
        look: everything that was found.
        task: that the file describes; None if there is a problem.
        missing: values of sensors, the most of them in a row, and the file that has these.
    """

    text: str
    problem: str
    notes: tuple[str, ...]
    classes: dict[str, tuple[int, int]]
    splits: tuple[int, ...]
    left_out: dict[str, str]
    look: Look
    task: Task | None
    missing: tuple[int, int, str] = (0, 0, "")

    def facts(self) -> list[tuple[str, str]]:
        """What is in the folder, each fact by its name."""
        look, timing = self.look, self.look.timing
        lengths = [len(frame) for _, frame in look.frames]
        facts = [
            ("Files", f"{len(look.names):,} {look.format} in {look.folder}, {look.pattern.text}"),
            ("Recordings", f"{len(lengths):,} of {min(lengths):,} to {max(lengths):,} steps"),
            ("Rate", f"{timing.rate:g} steps a second" if timing.rate else "unknown: no column of times"),
        ]
        if timing.are_mixed:
            facts.append(("Rates", f"{min(timing.rates):.6g} to {max(timing.rates):.6g}, brought to the one above"))
        if timing.uneven:
            facts.append(("Uneven steps", f"in {count(len(timing.uneven), 'file')}, made even"))
        if self.missing[0]:
            facts.append(("Missing values", f"{self.missing[0]:,}, up to {self.missing[1]:,} in a row"))
        facts += [
            (f"Found {name}s", f"{len(texts):,}: {join_names(texts)}") for name, texts in look.pattern.found.items()
        ]
        if look.table is not None:
            facts.append(("Table", f"{look.table.path}{', a row an event' if look.table.start else ''}"))
        if timing.gaps[0]:
            facts.append(("Gaps in time", f"{timing.gaps[0]:,}, the longest of {timing.gaps[1]:.3g} s"))
        facts += [("Left out", f"{column}: {why}") for column, why in self.left_out.items()]
        facts += [("Left out", note) for note in look.others]
        if self.task is not None:
            facts.append(("Sensors", join_names(self.task.features)))
            facts.append(("Windows", f"{self.task.length:,} steps, every {self.task.hop:,}"))
            facts.append(("Split", "{} recordings to train, {} to validate, {} to test".format(*self.splits)))
        return facts


def survey(
    folder: Path | str, out: Path | str | None = None, progress: Callable[[int, int], None] | None = None
) -> Survey:
    """Looks at a folder of recordings, and writes a task file about it.

    The file is tried: its recordings are read and split as it says.

    Args:
        folder: of recordings, as they are.
        out: where the file is to be, since it names the folder relative to that; by default beside the folder.
        progress: called as `progress(files read, files)`.

    Raises:
        ValueError: there is no recording, or one cannot be read; says which.
        OSError: a file cannot be read.
        ModuleNotFoundError: a package is missing that reads their format.
    """
    folder = Path(folder)
    out = Path(out) if out is not None else folder.resolve().with_suffix(".toml")
    look = look_at(folder, progress)
    writer = Writer(look, relative_folder(folder, out), out.stem)
    by, folds = ("given", 5) if writer.are_split else WAYS[0]
    loaded, problem, notes = _try_units(writer, out, by, folds)
    problem = problem or look.odd
    if loaded is not None:
        writer.counts = _count_classes(loaded)
        writer.lengths = [len(signal) for signal in loaded.recordings.signals]
    task, splits = None, ()
    if loaded is not None:
        reasons = []
        for way in [("given", 5)] if writer.are_split else WAYS:
            task, splits, found, why = _try_to_split(_text(writer, *way, loaded.classes), out, loaded)
            if task is not None:
                (by, folds), notes = way, notes + found
                break
            reasons.append(why)
        if task is None:
            problem = problem or reasons[0]
    task = None if problem else task
    classes = loaded.classes if loaded is not None else ()
    text = _text(writer, by, folds, classes, problem, notes)
    return Survey(
        text=text,
        problem=problem,
        notes=tuple(dict.fromkeys(notes)),
        classes=writer.counts,
        splits=splits,
        left_out=dict(writer.left_out),
        look=look,
        task=task,
        missing=writer.missing,
    )


def _text(writer: Writer, by: str, folds: int, classes=(), problem: str = "", notes=()) -> str:
    """The task file."""
    heading = ["A task for keras-s4, written by keras-s4 new. Look it over, then: keras-s4 run FILE."]
    heading += [f"NOT READY TO RUN. {problem}"] if problem else []
    heading += [f"Note: {note}" for note in dict.fromkeys(notes)]
    return file_text(heading, writer.sections(by, folds, classes))


def _describe(text: str, out: Path) -> Description:
    return describe(tomllib.loads(text), out)


def _try_to_load(writer: Writer, out: Path, by: str, folds: int) -> tuple[Loaded | None, str, list[str]]:
    """The recordings as the file says; or why they cannot be read so."""
    description = _describe(_text(writer, by, folds), out)
    if writer.problem:
        return None, writer.problem, []
    layout = Layout(
        source=dataclasses.replace(description.recordings, folder=writer.look.folder),
        labels=description.labels,
        groups=description.groups,
        channels=description.sensors,
        aim=description.task.kind,
    )
    try:
        loaded = load_frames(writer.look.frames, layout, writer.look.names)
    except ValueError as error:
        return None, str(error), []
    return loaded, "", list(loaded.notes)


def _try_units(writer: Writer, out: Path, by: str, folds: int) -> tuple[Loaded | None, str, list[str]]:
    """As `_try_to_load`; where intervals do not fit their recordings, in another unit in which they do."""
    found = _try_to_load(writer, out, by, folds)
    said = writer.unit
    if found[0] is not None or writer.labels_in != "intervals":
        return found
    for unit in ("s", "ms", "time", "steps"):
        writer.unit, writer.unit_reason = unit, f"GUESSED, since in {said} they do not fit the recordings"
        tried = _try_to_load(writer, out, by, folds)
        if tried[0] is not None:
            return tried
    writer.unit, writer.unit_reason = said, ""
    return found


def _try_to_split(text: str, out: Path, loaded: Loaded) -> tuple[Task | None, tuple[int, ...], list[str], str]:
    """The task, sizes of its splits and notes; or why there is none."""
    loaded = dataclasses.replace(loaded, notes=())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            task = task_of(_describe(text, out), lambda layout: loaded)
            sizes = tuple(len(part) for part in task.splits)
        except ValueError as error:
            return None, (), [], str(error)
    return task, sizes, [str(each.message) for each in caught], ""


def _count_classes(loaded: Loaded | None) -> dict[str, tuple[int, int]]:
    """Recordings and steps of each class."""
    if loaded is None or not loaded.classes:
        return {}
    recordings: Recordings = loaded.recordings
    counts = {name: [0, 0] for name in loaded.classes}
    for labels in recordings.step_labels():
        rows = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(loaded.classes))
        rows = rows * (labels != UNLABELLED).reshape(len(labels), -1)
        for name, steps in zip(loaded.classes, rows.sum(axis=0), strict=True):
            counts[name][0] += bool(steps)
            counts[name][1] += int(steps)
    return {name: (own[0], own[1]) for name, own in counts.items()}
