"""Labels of intervals inside of long recordings."""

from __future__ import annotations

import numpy as np

from keras_s4.recordings.frame import Frame, join_names, to_numbers
from keras_s4.recordings.layout import Labels
from keras_s4.recordings.tables import Table
from keras_s4.recordings.times import to_seconds


class Intervals:
    """Events with start, end and label, by recording.

    Args:
        table: with a row an event.
        labels: the names of its columns, the unit of its times, and the class of what no interval covers.
        time_unit: of the column of times, for the unit "time".
        several: whether intervals of different labels may lie over each other.

    Raises:
        ValueError: a column is missing, a time is no number, or an interval does not end after its start.
    """

    def __init__(self, table: Table, labels: Labels, time_unit: str, several: bool = False):
        self._table, self._labels, self._several = table, labels, several
        self._starts, self._ends = (self._times(column, time_unit) for column in (labels.start, labels.end))
        self._texts = table.column(labels.column)
        self._cut: list[str] = []
        self._empty: list[int] = []
        self._bare: list[str] = []
        bad = np.flatnonzero(~(self._ends > self._starts))
        if bad.size:
            starts, ends = table.column(labels.start), table.column(labels.end)
            raise ValueError(
                f"{table.name}, row {bad[0] + 1}, has an interval from {starts[bad[0]]!r} to {ends[bad[0]]!r}; "
                "expected an end after the start."
            )

    def texts_of(self, recording: str, frame: Frame, times: np.ndarray | None) -> np.ndarray:
        """The label of each step, an array of objects: the background where there is no interval.

        A step is in an interval from its start on, and not at its end.

        Args:
            recording: the name of the file.
            frame: of it.
            times: of the steps in seconds, or None.

        Raises:
            ValueError: intervals lie over each other, or behind the end; times are not known; says where.
        """
        rows = self._table.rows_of(recording)
        clock = self._clock(frame, times)
        texts = np.full(len(frame), self._labels.background, object)
        taken = np.full(len(frame), -1)
        if not rows:
            self._bare.append(recording)
        for row in sorted(rows, key=lambda row: self._starts[row]):
            inside = (clock >= self._starts[row]) & (clock < self._ends[row])
            if not inside.any():
                self._refuse_outside(row, recording, clock)
                self._empty.append(row)
                continue
            self._note_cut(row, recording, clock)
            other = taken[inside].max()
            label = self._texts[row]
            if other >= 0 and self._texts[other] != label and not self._several:
                raise ValueError(
                    f"{self._table.name} has intervals that lie over each other in {recording}: rows {other + 1} "
                    f"({self._texts[other]}) and {row + 1} ({label}). A step has one class; mend them, or let several "
                    'classes be there at once with [task] kind = "multi_label".'
                )
            free = inside & (taken < 0)
            texts[free] = label
            if self._several:
                both = inside & (taken >= 0)
                texts[both] = [f"{text}\0{label}" for text in texts[both]]
            taken[inside] = row
        return texts

    def remarks(self) -> list[str]:
        """What is strange about all intervals that were looked for."""
        name, remarks = self._table.name, []
        if self._cut:
            remarks.append(
                f"{name} has intervals that go beyond their recordings, and are cut there: {join_names(self._cut)}."
            )
        if self._empty:
            rows = join_names(row + 1 for row in self._empty)
            remarks.append(
                f"{name} has intervals between two steps, with none in them: rows {rows}. Is [labels] unit = "
                f'"{self._labels.unit}" right?'
            )
        if self._bare and self._labels.background:
            remarks.append(
                f"{name} has no interval in {join_names(self._bare)}: all of it is {self._labels.background!r}."
            )
        return remarks

    def _note_cut(self, row: int, recording: str, clock: np.ndarray) -> None:
        """Keeps in mind an interval that goes beyond its recording by more than a step."""
        step = float(np.median(np.diff(clock))) if len(clock) > 1 else 1.0
        if self._starts[row] < clock[0] - 1.5 * step or self._ends[row] > clock[-1] + 2.5 * step:
            self._cut.append(
                f"row {row + 1}, {self._starts[row]:.6g} to {self._ends[row]:.6g} {self._unit} of {recording}, which "
                f"lasts from {clock[0]:.6g} to {clock[-1]:.6g}"
            )

    def _refuse_outside(self, row: int, recording: str, clock: np.ndarray) -> None:
        """Refuses an interval outside of its recording; one between two steps is none at all."""
        if len(clock) and clock[0] <= self._starts[row] <= clock[-1]:
            return
        raise ValueError(
            f"{self._table.name}, row {row + 1}, has an interval from {self._starts[row]:.6g} to "
            f"{self._ends[row]:.6g} {self._unit}, outside of {recording}, which lasts from {clock[0]:.6g} to "
            f'{clock[-1]:.6g}. Is [labels] unit = "{self._labels.unit}" right?'
        )

    @property
    def _unit(self) -> str:
        return "steps" if self._labels.unit == "steps" else "s"

    def _clock(self, frame: Frame, times: np.ndarray | None) -> np.ndarray:
        """The times of the steps in the unit of the intervals: steps, or seconds."""
        steps = np.arange(len(frame), dtype=np.float64)
        if self._labels.unit == "steps":
            return steps
        if self._labels.unit == "time":
            if times is None:
                raise ValueError(
                    '[labels] unit = "time" needs the column of times that it is told in: [recordings] time.'
                )
            return times
        if times is not None:
            return times - times[0] if len(times) else times
        if frame.rate is None:
            raise ValueError(
                f'[labels] unit = "{self._labels.unit}" needs the times of the steps of {frame.name}: a column, '
                "[recordings] time, or steps a second, [recordings] rate."
            )
        return steps / frame.rate

    def _times(self, column: str, time_unit: str) -> np.ndarray:
        """A column of the table in seconds, or steps."""
        texts = self._table.column(column)
        if self._labels.unit == "steps":
            found = to_numbers(texts)
        else:
            found = to_seconds(texts, time_unit if self._labels.unit == "time" else self._labels.unit)
        if isinstance(found, str):
            raise ValueError(f"{self._table.name} has {found!r} in column {column!r}; expected times of intervals.")
        if np.isnan(found).any():
            raise ValueError(
                f"{self._table.name} has no time in column {column!r}, rows "
                f"{join_names(np.flatnonzero(np.isnan(found)) + 1)}; expected times of intervals."
            )
        return found
