"""What the steps of recordings are like: missing values, ranges, lengths; and names for what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_s4.datasets.surveying.paths import Pattern
from keras_s4.recordings.frame import Frame
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
    count, longest, where = 0, 0, ""
    for frame in frames:
        for column in columns:
            missing = np.isnan(frame.columns[column]) if column in frame.columns else np.zeros(1, bool)
            if not missing.any():
                continue
            count += int(missing.sum())
            edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
            run = int((edges[1::2] - edges[::2]).max())
            if run > longest:
                longest, where = run, frame.name
    return count, longest, where


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


def relative_folder(folder: Path, out: Path) -> str:
    """The folder as a task file names it: relative to itself where that is possible without going far up."""
    folder, base = folder.resolve(), out.resolve().parent
    for ups, parent in enumerate([base, *base.parents][:3]):
        if folder == parent or parent in folder.parents:
            tail = folder.relative_to(parent).as_posix()
            return "/".join([".."] * ups + ([tail] if tail != "." else [])) or "."
    return folder.as_posix()
