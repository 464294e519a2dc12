"""Labels of recordings and of their steps: from paths, columns, tables and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_s4.recordings.frame import Frame, join_names, to_numbers
from keras_s4.recordings.intervals import Intervals
from keras_s4.recordings.layout import DROP, Labels
from keras_s4.recordings.paths import natural
from keras_s4.recordings.recordings import UNLABELLED
from keras_s4.recordings.spelling import composed, find_alike, join_alike
from keras_s4.recordings.tables import Table

CLASSES, TARGETS, MULTI_LABEL, ANOMALY, FORECAST = AIMS = ("classes", "targets", "multi_label", "anomaly", "forecast")
# The classes that are normal where nobody says so.
NORMAL = ("normal",)
# Between the names of several classes that are there at once.
TOGETHER = "\0"
# What programs write where there is no label, in lower case.
_NO_LABEL = ("nan", "nat", "<na>", "#n/a")
_NONE = np.array(["", "0", "false", "no"])


class Labeller:
    """Gives the steps of recordings their labels, as numbers of texts or as quantities.

    Args:
        labels: where they come from.
        aim: what they are for, one of `AIMS`.
        folder: of the recordings.
        recordings: the names of all files, relative to it.
        time_unit: of a column of times, for intervals that are told in it.

    Attributes:
        texts: all texts that were found, by their numbers; in the order of finding.
        table: of labels or intervals, or None.
        notes: what is worth saying.

    Raises:
        ValueError: the table or file of intervals does not fit.
    """

    def __init__(self, labels: Labels, aim: str, folder: Path, recordings: Sequence[str], time_unit: str = "s"):
        self._labels, self._aim = labels, aim
        self.texts: list[str] = []
        self.notes: list[str] = []
        self._numbers: dict[str, int] = {"": UNLABELLED}
        self._seen: set[str] = set()
        self.table: Table | None = None
        self._intervals: Intervals | None = None
        if labels.source in ("table", "intervals"):
            if not labels.table:
                raise ValueError(f'[labels] source = "{labels.source}" and no table; expected table = "labels.csv".')
            self.table = Table(folder / labels.table, labels.file, recordings, "[labels] table")
            if self.table.foreign:
                self.notes.append(
                    f"{self.table.name} names {len(self.table.foreign)} recordings that are not there: "
                    f"{join_names(self.table.foreign, 3)}."
                )
        if labels.source == "intervals":
            self._intervals = Intervals(self.table, labels, time_unit, several=aim == MULTI_LABEL)

    def of(self, frame: Frame, recording: str, times: np.ndarray | None) -> np.ndarray | None:
        """The labels of the steps: numbers of `texts`, -1 for none, int32 `[steps]`, or float32 `[steps, T]`.

        Args:
            frame: with columns and facts of the recording.
            recording: the name of its file.
            times: of the steps in seconds, or None.

        Raises:
            ValueError: the labels do not fit; says where.
        """
        if self._labels.source in ("none", ""):
            return None
        if self._aim == TARGETS:
            return self._quantities(frame, recording)
        if self._labels.source == "intervals":
            texts = self._intervals.texts_of(recording, frame, times)
            return self.numbers([text or TOGETHER for text in texts] if self._aim == MULTI_LABEL else texts)
        if self._labels.source in ("column", "lines"):
            return self._from_columns(frame)
        return self._constant(self._text(frame, recording), len(frame))

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        """Texts by their numbers; new ones get the next."""
        for text in dict.fromkeys(texts):
            if text not in self._numbers:
                self._numbers[text] = self._number(text)
        return np.fromiter((self._numbers[text] for text in texts), np.int32, len(texts))

    def remarks(self) -> list[str]:
        """What is strange about all labels that were found: spellings, names that no recording has, events."""
        remarks = self._intervals.remarks() if self._intervals is not None else []
        alike = find_alike(part for text in self.texts for part in text.split(TOGETHER))
        if alike:
            remarks.append(
                f"Labels that are written alike are different classes: {join_alike(alike)}. If they mean one, say so: "
                f'[labels] names = {{ "{alike[0][1]}" = "{alike[0][0]}" }}.'
            )
        said = {"names": self._labels.names, "ignore": self._labels.ignore}
        for key, names in said.items() if self._seen and not self._labels.columns else ():
            unused = [name for name in names if name not in self._seen]
            if unused:
                there = join_names(sorted(self._seen - {""}, key=natural))
                remarks.append(f"[labels] {key} has {join_names(unused)}, which no recording has; there are {there}.")
        return remarks

    def _number(self, text: str) -> int:
        """The number of a text: names are changed, what counts for nothing is -1."""
        parts = [composed(part.strip()) for part in self._parts(text)]
        parts = ["" if part.casefold() in _NO_LABEL else part for part in parts]
        self._seen.update(parts)
        parts = [self._labels.names.get(part, part) for part in parts if part not in self._labels.ignore]
        meant = TOGETHER.join(sorted({part for part in parts if part and part not in self._labels.ignore}))
        if not meant and self._aim != MULTI_LABEL:
            return UNLABELLED
        if meant not in self.texts:
            self.texts.append(meant)
        return self.texts.index(meant)

    def _parts(self, text: str) -> list[str]:
        separator = self._labels.separator
        parts = text.split(TOGETHER)
        return [one for part in parts for one in part.split(separator)] if separator else parts

    def _constant(self, text: str, steps: int) -> np.ndarray:
        return np.repeat(self.numbers([text]), steps)

    def _text(self, frame: Frame, recording: str) -> str:
        """The label of a whole recording; "" for none."""
        if self._labels.source == "path":
            return frame.facts.get("label", "")
        if self._aim == MULTI_LABEL and not self.table.rows_of(recording):
            return ""
        if self._labels.columns:
            return TOGETHER + TOGETHER.join(
                self._labels.names.get(name, name)
                for name in self._labels.columns
                if self.table.text_of(recording, name).casefold() not in _NONE
            )
        text = self.table.text_of(recording, self._labels.column)
        return text or TOGETHER if self._aim == MULTI_LABEL else text

    def _from_columns(self, frame: Frame) -> np.ndarray:
        if not self._labels.columns:
            texts = frame.texts(self._labels.column, "labels ([labels] column)")
            return self.numbers([text or TOGETHER for text in texts] if self._aim == MULTI_LABEL else texts)
        there = np.stack([self._is_there(frame, name) for name in self._labels.columns], axis=1)
        rows, places = np.unique(there, axis=0, return_inverse=True)
        names = np.array(self._labels.columns, object)
        return self.numbers([TOGETHER + TOGETHER.join(names[row]) for row in rows])[places.reshape(-1)]

    def _is_there(self, frame: Frame, name: str) -> np.ndarray:
        return ~np.isin([text.casefold() for text in frame.texts(name, "[labels] columns")], _NONE)

    def _quantities(self, frame: Frame, recording: str) -> np.ndarray:
        """Targets of the steps, float32 `[steps, T]`; NaN where there are none."""
        names = self._labels.columns or (self._labels.column,)
        if self._labels.source in ("column", "lines"):
            return np.stack([frame.numbers(name, "targets ([labels] columns)") for name in names], 1).astype(np.float32)
        if self._labels.source == "path":
            texts = [frame.facts.get("label", "")]
        elif self._labels.source == "table":
            texts = [self.table.text_of(recording, name) for name in names]
        else:
            raise ValueError('[labels] source = "intervals" tells classes; targets come from a column or a table.')
        values = to_numbers(texts)
        if isinstance(values, str):
            raise ValueError(f"{recording} has the target {values!r}; expected a number.")
        return np.repeat(values.astype(np.float32)[None], len(frame), axis=0)


def find_classes(texts: Sequence[str], labels: Labels, aim: str) -> tuple[str, ...]:
    """The classes in the order of the outputs: those that the labels name, or all that were found.

    Raises:
        ValueError: a label is none of the classes that are named, one of them is named twice, or, where anomalies are
            to be found, none is normal; says which.
    """
    found = sorted({part for text in texts for part in text.split(TOGETHER) if part}, key=natural)
    if len(set(labels.classes)) < len(labels.classes):
        raise ValueError(f"[labels] classes has a name twice: {join_names(labels.classes)}; expected each once.")
    normal = labels.normal or NORMAL
    if aim == ANOMALY and found and not set(found) & set(normal):
        raise ValueError(
            f"No recording is normal: [labels] normal is {join_names(normal)}, labels are {join_names(found)}. A model "
            "learns from normal ones alone."
        )
    if aim == MULTI_LABEL and labels.columns and not labels.classes:
        return tuple(labels.names.get(name, name) for name in labels.columns)
    if not labels.classes:
        return tuple(found)
    foreign = [name for name in found if name not in labels.classes]
    if foreign:
        raise ValueError(
            f"Recordings have the labels {join_names(foreign)}, which [labels] classes does not name "
            f"({join_names(labels.classes)}). Add them there, or to [labels] ignore or names."
        )
    return labels.classes


def encode(numbers: np.ndarray, texts: Sequence[str], classes: Sequence[str], labels: Labels, aim: str) -> np.ndarray:
    """Labels as heads take them: indices of classes `[steps]`, or rows of zeros and ones `[steps, C]`.

    Of anomalies 0 is normal and 1 is not. Steps without a label stay -1, in every column.
    """
    if aim == MULTI_LABEL:
        rows = np.array([[name in text.split(TOGETHER) for name in classes] for text in texts], np.int32)
        return np.where((numbers == UNLABELLED)[:, None], UNLABELLED, rows[numbers])
    if aim == ANOMALY:
        table = np.array([int(text not in (labels.normal or NORMAL)) for text in texts] or [0], np.int32)
    else:
        table = np.array([classes.index(text) for text in texts] or [0], np.int32)
    return np.where(numbers == UNLABELLED, UNLABELLED, table[numbers]).astype(np.int64)


def drops_unlabelled(labels: Labels) -> bool:
    """Whether recordings without a label are left out rather than refused."""
    return labels.missing == DROP
