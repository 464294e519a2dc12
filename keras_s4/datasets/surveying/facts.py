"""What the steps of recordings are like: missing values, ranges, lengths; and names for what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_s4.datasets.surveying.paths import Pattern
from keras_s4.recordings.frame import Frame, count
from keras_s4.recordings.track import Track


def group_name(column: str, pattern: Pattern) -> str:
    """What a group is, in the singular."""
    text = column or " ".join([pattern.text, *pattern.found.get("group", ())])
    for word in (
        "person",
        "subject",
        "user",
        "speaker",
        "machine",
        "device",
        "patient",
        "kit",
        "house",
        "participant",
        "pump",
        "motor",
    ):
        if word in text.casefold():
            return word
    return "group"


def count_missing(frames: Sequence[Frame], columns: Sequence[str]) -> tuple[int, int, str]:
    """Missing values, the most in a row, and the file that has them."""
    number, longest, where = 0, 0, ""
    for frame in frames:
        for column in columns:
            missing = np.isnan(frame.columns[column]) if column in frame.columns else np.zeros(1, bool)
            if not missing.any():
                continue
            number += int(missing.sum())
            edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
            run = int((edges[1::2] - edges[::2]).max())
            if run > longest:
                longest, where = run, frame.name
    return number, longest, where


def kind_of_labels(frames: Sequence[Frame], columns: Sequence[str]) -> str:
    """What columns of labels of arrays are for: "classes", "multi_label" if several are 0 or 1, or "targets"."""
    distinct = {float(value) for frame in frames for name in columns for value in _distinct(frame.columns[name])}
    if len(columns) > 1:
        return "multi_label" if distinct <= {0.0, 1.0} else "targets"
    return "targets" if any(value % 1 for value in distinct) else "classes"


def _distinct(values: np.ndarray) -> np.ndarray:
    """The different numbers of a column; none of texts."""
    return np.unique(values[~np.isnan(values)]) if values.dtype.kind == "f" else np.zeros(0)


def value_range(frames: Sequence[Frame], columns: Sequence[str]) -> tuple[float, float, bool]:
    """The lowest and highest value, and whether all are whole."""
    parts = [frame.columns[name] for frame in frames for name in columns if name in frame.columns]
    parts = [part[~np.isnan(part)] for part in parts]
    parts = [part for part in parts if part.size]
    if not parts:
        return 0.0, 0.0, False
    whole = all(not np.any(part % 1) for part in parts)
    return float(min(part.min() for part in parts)), float(max(part.max() for part in parts)), whole


def values_of(frame: Frame, columns: Sequence[str]) -> Track:
    """The values of a recording, to be compared with others."""
    return Track(frame.name, 0, np.stack([frame.columns[name] for name in columns if name in frame.columns], axis=1))


def length_range(values: Sequence[int]) -> str:
    """The shortest and longest length in words."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,} (half of them up to {int(np.median(values)):,})"


def share_of_classes(counts: Mapping[str, tuple[int, int]], most: int = 12) -> str:
    """How much of the steps is of each class, the commonest first, of many the first and last."""
    steps = sum(own for _, own in counts.values()) or 1
    ordered = sorted(counts, key=lambda name: -counts[name][1])
    texts = [f"{name} {100 * counts[name][1] / steps:.3g}% ({count(counts[name][0], 'recording')})" for name in ordered]
    if len(texts) > most:
        texts = [*texts[: most // 2], "...", *texts[-most // 2 :]]
    return ", ".join(texts)


def relative_folder(folder: Path, out: Path) -> str:
    """The folder as a task file names it: relative to itself where that is possible without going far up."""
    folder, base = folder.resolve(), out.resolve().parent
    for ups, parent in enumerate([base, *base.parents][:3]):
        if folder == parent or parent in folder.parents:
            tail = folder.relative_to(parent).as_posix()
            return "/".join([".."] * ups + ([tail] if tail != "." else [])) or "."
    return folder.as_posix()
