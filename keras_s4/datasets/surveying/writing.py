"""What was found in a folder, as the sections of a task file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from keras_s4.datasets.surveying.draft import Section
from keras_s4.datasets.surveying.facts import (
    group_name,
    length_range,
    share_of_classes,
    value_range,
    values_of,
)
from keras_s4.datasets.surveying.findings import Findings
from keras_s4.datasets.surveying.look import Look
from keras_s4.datasets.surveying.timing import window_seconds, window_steps
from keras_s4.datasets.surveying.words import background_of
from keras_s4.recordings.checks import clipped_at, find_duplicates
from keras_s4.recordings.frame import count, join_names

# The table that is to be written where nothing says what the recordings are.
TO_WRITE = "labels.csv"
# Missing values in a row that are filled in.
FILLED_STEPS = 5
LIKELY_UNITS = {"acceleration": "g", "angular velocity": "dps", "magnetic field": "uT"}
VECTORS = {"acceleration": "polar", "angular velocity": "axial", "magnetic field": "axial"}
# Windows of more steps than these get a convolution in front, behind which some STEPS_BEHIND remain.
LONG, STEPS_BEHIND = 2000, 250
# A class may be there so many times as often as another before it is worth saying.
UNBALANCED = 3


class Writer(Findings):
    """Writes the sections of a task file from what was found.

    Args:
        look: what is in the folder.
        folder: of the recordings, as the file is to name it.
        name: of the task.
    """

    def __init__(self, look: Look, folder: str, name: str):
        super().__init__(look)
        self._folder, self._name = folder, name
        self.lengths = [len(frame) for frame in self.frames]
        self.rate = look.timing.rate
        self.problem = ""
        self.unit = look.table.unit if look.table is not None else "s"
        self.unit_reason = ""
        self.counts: dict[str, tuple[int, int]] = {}

    def sections(self, by: str, folds: int, classes: Sequence[str]) -> list[Section]:
        """The sections, with a split and the names of the classes as they turned out.

        Args:
            by: of the split: "group", "time" or "given".
            folds: of it.
            classes: in the order of the outputs; () if there are none.
        """
        return [
            self._task(),
            self._recordings(),
            self._labels(classes),
            self._groups(),
            *self._sensors(),
            self._windows(),
            self._split(by, folds),
            self._live(classes),
            self._training(),
        ]

    def _task(self) -> Section:
        section = Section("task")
        section.say("name", self._name)
        comment = {
            "targets": "quantities are to be measured",
            "multi_label": "several classes may be there at once",
            "classes": 'or "targets", "multi_label", "forecast", "anomaly"',
        }
        section.say("kind", self.kind, comment[self.kind])
        return section

    def _recordings(self) -> Section:
        look, timing = self.look, self.look.timing
        section = Section("recordings")
        section.remark(
            f"{count(len(look.names), look.format + ' file')}, {count(len(self.frames), 'recording')} of "
            f"{length_range(self.lengths)} steps."
        )
        for note in look.others:
            section.remark(f"{note}.")
        section.say("folder", self._folder)
        section.say("path", look.pattern.text, self._path_comment())
        if look.rows is not None:
            section.say("layout", "rows", "a row of a file is a recording, its columns are steps")
        if look.mono:
            section.say("mono", True, "files have different numbers of channels, which are averaged into one")
        if look.roles.recording:
            section.say("recording", list(look.roles.recording), "a change begins another recording")
        self._say_times(section)
        self._say_faults(section)
        if timing.gaps[0]:
            number, longest, where = timing.gaps
            section.remark(
                f"{count(number, 'gap')} in time, the longest of {longest:.3g} s in {where}: recordings are cut there."
            )
            section.say("gap", float(f"{5 / self.rate:.2g}"), "seconds without steps that make a gap")
        if timing.backwards:
            section.remark(f"Times go back in {join_names(timing.backwards, 3)}: a recording begins anew there.")
        return section

    def _path_comment(self) -> str:
        reasons = self.look.pattern.reason
        return "; ".join(f"{field}: {why}" for field, why in reasons.items())

    def _say_times(self, section: Section) -> None:
        roles, timing = self.look.roles, self.look.timing
        if roles.time:
            section.say("time", roles.time)
            section.say("time_unit", roles.time_unit, roles.time_reason)
        if timing.error:
            section.remark(f"TIMES CANNOT BE READ: {timing.error}")
        if self.rate is not None:
            section.say("rate", self.rate, f"steps a second{self._spread()}")
        else:
            section.remark(
                "No column of times: say here how many steps a second there are, and windows may be in seconds."
            )
            section.say("rate", 50.0, active=False)
        if timing.uneven:
            section.remark(f"Steps are uneven in {len(timing.uneven)} files, such as {timing.uneven[0]}.")
            section.say("irregular", "resample", "interpolated to even steps; or refuse")
        if timing.are_mixed:
            section.say("rates", "resample", "all are brought to the rate above; or refuse")

    def _spread(self) -> str:
        rates = self.look.timing.rates
        return f"; found {min(rates):.5g} to {max(rates):.5g}" if rates and min(rates) < max(rates) * 0.999 else ""

    def _say_faults(self, section: Section) -> None:
        columns = [column for channel in self.channels for column in channel.columns]
        number, longest, where = self.missing
        if number:
            section.remark(f"{count(number, 'missing value')}, up to {longest} in a row in {where}.")
            section.say(
                "missing", "interpolate", "up to missing_steps in a row, cut where there are more; or cut, refuse"
            )
            section.say("missing_steps", FILLED_STEPS)
        twins = find_duplicates([values_of(frame, columns) for frame in self.frames])
        if twins:
            pair = [self.frames[index].name for index in twins[0][:2]]
            number = sum(len(same) - 1 for same in twins)
            section.remark(f"{count(number, 'recording')} copied from others, such as {pair[0]} = {pair[1]}.")
            section.say("duplicates", "drop", "all but one; or refuse, keep")

    def _labels(self, classes: Sequence[str]) -> Section:
        section, table, rows = Section("labels"), self.look.table, self.look.rows
        source = self.labels_in
        if not source:
            section.remark(
                "NO LABELS WERE FOUND. Write a table with a row a recording, file,label or file,label,group, and name "
                'it here; or say kind = "forecast" or "anomaly" in [task] and source = "none" here, which need none. '
                "If events are inside of long recordings, write file,start,end,label, with start and end in seconds, "
                'and say source = "intervals".'
            )
            section.say("source", "table")
            section.say("table", TO_WRITE)
            folder = PurePosixPath(self.look.pattern.text).parent.as_posix()
            one = f" (all are in {folder}, which is one class, and nothing to tell apart)" if folder != "." else ""
            self.problem = (
                f"No labels were found{one}: write {TO_WRITE} into the folder, or fill in the section [labels] another "
                "way."
            )
            return section
        section.say("source", source)
        if source in ("table", "intervals"):
            section.say("table", table.path)
            section.say("file", table.file or "file")
            if table.targets and not table.label:
                section.say("columns", list(table.targets), "targets")
            else:
                section.say("column", table.label)
        if source == "intervals":
            section.say("start", table.start)
            section.say("end", table.end)
            section.say(
                "unit",
                self.unit,
                self.unit_reason or "seconds or ms from the start of the recording, steps, or time as in its column",
            )
            section.say(
                "background", background_of(table.names) or "background", "the class of what no interval covers"
            )
        elif source == "lines":
            section.say("lines", rows.label_lines)
        elif source == "column":
            if self.look.format == "npz" and len(self.label_columns) > 1:
                section.say("columns", self.label_columns)
            else:
                section.say("column", (rows.label if rows else self.look.roles.label) or "label")
        if self.counts:
            section.remark(f"Of the steps: {share_of_classes(self.counts)}.")
        if classes:
            section.say("classes", list(classes), "in the order of the outputs")
        return section

    def _groups(self) -> Section:
        section, source = Section("groups"), self.groups_in
        if source == "recording":
            section.remark(
                "Nothing says who or what was recorded: each recording stands for itself. If several are of one person "
                "or machine, say so, or the test will be too good: a model is tested on whom it was trained on."
            )
            section.say("source", "recording", 'or "path" with {group} in path, "column", "table"')
            return section
        section.say("source", source)
        column = ""
        if source == "table":
            column = self.look.table.group
        elif source == "lines":
            section.say("lines", self.look.rows.group_lines)
        elif source == "column":
            column = (self.look.rows.group if self.look.rows else self.look.roles.group) or "group"
        if column:
            section.say("column", column)
        lines = self.look.rows.group_lines if source == "lines" else ""
        section.say("name", group_name(column or lines, self.look.pattern), "what a group is")
        return section

    def _sensors(self) -> list[Section]:
        sections = []
        suspicious = self._suspicious()
        for channel in self.channels:
            section = Section("[sensors]")
            low, high, whole = value_range(self.frames, channel.columns)
            section.say("name", channel.name)
            section.say("columns", list(channel.columns), f"{low:.4g} to {high:.4g}")
            section.say("axes", list(channel.axes or channel.columns), active=any(channel.axes))
            guess = next((unit for words, unit in LIKELY_UNITS.items() if words in channel.name), "")
            if channel.unit or guess:
                section.say("unit", channel.unit or guess, active=bool(channel.unit))
            if whole and high - low > 100:
                section.remark("Whole numbers: if these are integers of the sensor, say what one is in its unit.")
                section.say("raw", True, active=False)
            vector = VECTORS.get(channel.name, "") if channel.axes == ("x", "y", "z") else ""
            if vector:
                section.say("vector", vector, "x, y and z belong together, for rotation and mirror in augmentation")
            if not sections:
                section.say(
                    "lsb", "1/4096", "what one integer of the sensor is in its unit, for firmware", active=False
                )
            for column in channel.columns:
                section.comments += suspicious.get(column, [])
            if not any(channel.axes):
                section.entries = [entry for entry in section.entries if entry.key != "axes"]
            sections.append(section)
        if sections:
            left_out = [f"Column {column!r} is left out: {why}." for column, why in self.left_out.items()]
            sections[0].comments = left_out + sections[0].comments
        return sections

    def _suspicious(self) -> dict[str, list[str]]:
        """What is strange about columns that are kept."""
        found: dict[str, list[str]] = {}
        for channel in self.channels:
            for column in channel.columns:
                notes = []
                clipped = [frame.name for frame in self.frames if clipped_at(frame.columns[column])]
                if clipped:
                    notes.append(f"{column} is CLIPPED in {len(clipped)} recordings, such as {clipped[0]}.")
                found[column] = notes
        return found

    @property
    def window(self) -> float:
        """Length of a window, in seconds; in steps where no rate is known."""
        if self.rate is None:
            return window_steps(self.lengths)
        return window_seconds(self.rate, self.lengths, self.look.format == "wav")

    @property
    def window_steps(self) -> int:
        """Its steps."""
        return round(self.window * (self.rate or 1))

    @property
    def front(self) -> int:
        """Stride of a convolution in front, which divides a window; 0 for none."""
        steps = self.window_steps
        return max(n for n in range(1, steps // STEPS_BEHIND + 1) if steps % n == 0) if steps > LONG else 0

    def _windows(self) -> Section:
        section = Section("windows")
        section.remark("A window is what a model sees at once; a recording must hold one.")
        if self.rate is None:
            section.say("length", self.window_steps, "steps")
            section.say("hop", max(1, self.window_steps // 2))
        else:
            section.say("seconds", self.window, f"{self.window_steps} steps")
            section.say("hop_seconds", self.window / 2)
        return section

    def _split(self, by: str, folds: int) -> Section:
        section = Section("split")
        section.say("by", by, {"given": "as the recordings say", "time": "each recording is cut in time"}.get(by, ""))
        if by == "time":
            section.remark(
                "There are too few recordings to keep some for the test, so each is cut in time: how good a model is "
                "on other people or machines, such a test does not say."
            )
        section.say("folds", folds, "parts, of which one is kept for the test and one for validation")
        if by != "given":
            section.say("fold", 0, "which one")
        return section

    def _live(self, classes: Sequence[str]) -> Section:
        if self.rate is None:
            return Section("decision", ["Of the firmware in a live stream. A section [live] needs [recordings] rate."])
        section = Section("live", active=not self.front)
        seconds = self.window
        section.remark("What a decision is on the device, where nobody knows when an event begins.")
        if self.front:
            section.remark("It does not go with [training] front, which long windows need: take a lower rate instead.")
        section.say("pooling", "recent", 'or "sliding"')
        section.say("seconds", seconds / 2, "time constant of the average over time")
        section.say("every", seconds / 4, "seconds from one decision to the next")
        section.say("tolerance", seconds, "seconds after a change that are not judged")
        background = background_of(classes)
        section.say("background", background or "idle", "the class in which nothing happens", active=bool(background))
        return section

    def _training(self) -> Section:
        section = Section("training", ["What `keras-s4 run --help` lists: epochs, channels, states, blocks, seed, ..."])
        section.say("epochs", 20, active=False)
        if self.front:
            section.say("front", self.front, "stride of a convolution in front: windows of so many steps take long")
        steps = [count for _, count in self.counts.values() if count]
        if steps and max(steps) > UNBALANCED * min(steps):
            section.say("balance", True, "classes count alike, however often they are there", active=False)
        return section
