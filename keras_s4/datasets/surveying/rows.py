"""Files whose rows are recordings: a column a step."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from keras_s4.datasets.surveying.words import GROUP, LABEL, best_name
from keras_s4.recordings.frame import Frame, as_texts

# Fewer columns than these are sensors rather than steps.
FEWEST_STEPS = 20
MOST_CLASSES = 60
_NUMBERED = re.compile(r"(.*?)[ _.\-]*\d+")


@dataclasses.dataclass(frozen=True)
class RowsFound:
    """Files whose rows are recordings.

    Args:
        steps: of a row.
        label: the column of labels; "" if there is none.
        group: the column of groups; "" if there is none.
        label_lines: pattern of files of labels, a line a row; "" if there are none.
        group_lines: likewise of groups.
        path: pattern of the files, where the layout is a known one; "" if it is found as usual.
    """

    steps: int
    label: str = ""
    group: str = ""
    label_lines: str = ""
    group_lines: str = ""
    path: str = ""


def find_rows(frames: Sequence[Frame]) -> RowsFound | None:
    """Whether the rows of files are recordings: many columns of numbers with numbers for names, and no times."""
    frame = frames[0]
    columns = list(frame.columns)
    numbered = [name for name in frame.numeric if _NUMBERED.fullmatch(name) or name.isdecimal()]
    if len(numbered) < FEWEST_STEPS or len(numbered) < len(columns) - 4:
        return None
    prefixes = {match[1] for name in numbered if (match := _NUMBERED.fullmatch(name))}
    if len(prefixes) > 2:
        return None
    others = [name for name in columns if name not in numbered]
    group = best_name(others, GROUP)
    label = best_name([name for name in others if name != group], LABEL)
    if not label:
        ends = [name for name in (columns[-1], columns[0]) if name not in (group,)]
        label = next((name for name in ends if _is_class(frames, name)), "")
    return RowsFound(len(numbered) - (label in numbered), label, group)


def find_human_activity(names: Sequence[str]) -> RowsFound | None:
    """The layout of the UCI HAR data set: a file a sensor and split, and labels and persons line by line."""
    found = {re.fullmatch(r"(?:.*/)?(train|test)/Inertial Signals/(.+)_\1\.txt", name) for name in names}
    if not any(found):
        return None
    prefix = next(match for match in found if match).group().split("train/")[0].split("test/")[0]
    there = set(names)
    labels, groups = (
        f"{prefix}{{split}}/{what}_{{split}}.txt" if f"{prefix}train/{what}_train.txt" in there else ""
        for what in ("y", "subject")
    )
    path = f"{prefix}{{split}}/Inertial Signals/{{sensor}}_{{split}}.txt"
    return RowsFound(0, label_lines=labels, group_lines=groups, path=path)


def _is_class(frames: Sequence[Frame], name: str) -> bool:
    """Whether a column has few values in many rows: texts, or whole numbers."""
    values = np.concatenate([frame.columns[name] for frame in frames if name in frame.columns])
    if values.dtype.kind == "f" and np.any(values % 1):
        return False
    distinct = set(as_texts(values)) - {""}
    return 2 <= len(distinct) <= min(MOST_CLASSES, max(2, len(values) // 2))
