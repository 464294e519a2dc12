"""Where labels, groups and splits are in a folder, which columns are sensors, and what is to be learned."""

from __future__ import annotations

import functools

from keras_s4.datasets.surveying.columns import says_label, sensors_of
from keras_s4.datasets.surveying.facts import count_missing, kind_of_labels
from keras_s4.datasets.surveying.look import Look
from keras_s4.datasets.surveying.words import split_of
from keras_s4.recordings.frame import Frame, as_texts
from keras_s4.recordings.layout import Channels
from keras_s4.recordings.tables import Table


class Findings:
    """What a look at a folder amounts to.

    Args:
        look: what is in the folder.

    Attributes:
        look: the same.
        frames: the recordings.
        channels: the sensors.
        left_out: why other columns are none, by column.
    """

    def __init__(self, look: Look):
        self.look = look
        self.frames: list[Frame] = [frame for _, frame in look.frames]
        self.left_out = dict(look.roles.left_out)
        self.channels = self._find_channels()

    @property
    def labels_in(self) -> str:
        """Where labels are: "path", "table", "intervals", "lines", "column", or "" if nowhere."""
        table, rows = self.look.table, self.look.rows
        if table is not None and (table.label or table.targets):
            return "intervals" if table.start else "table"
        if rows is not None and (rows.label_lines or rows.label):
            return "lines" if rows.label_lines else "column"
        if "label" in self.look.pattern.found:
            return "path"
        if self.look.format == "npz":
            return "column" if self.label_columns else ""
        return "column" if self.look.roles.label else ""

    @property
    def label_columns(self) -> list[str]:
        """The columns of labels of arrays."""
        return [name for name in self.frames[0].columns if name == "label" or name.startswith("label ")]

    @property
    def kind(self) -> str:
        """What is to be learned: "classes", "targets" or "multi_label"."""
        table = self.look.table
        if self.labels_in == "table" and table.targets and not table.label:
            return "targets"
        return kind_of_labels(self.frames, self.label_columns) if self.look.format == "npz" else "classes"

    @property
    def groups_in(self) -> str:
        """Where groups are: "path", "table", "lines", "column", or "recording" if nowhere."""
        table, rows = self.look.table, self.look.rows
        if table is not None and table.group:
            return "table"
        if rows is not None and (rows.group_lines or rows.group):
            return "lines" if rows.group_lines else "column"
        if "group" in self.look.pattern.found:
            return "path"
        if self.look.format == "npz" and all("group" in frame.columns for frame in self.frames):
            return "column"
        return "column" if self.look.roles.group else "recording"

    @property
    def are_split(self) -> bool:
        """Whether the recordings say themselves what they are for."""
        if "split" in self.look.pattern.found or (self.look.table is not None and self.look.table.split):
            return True
        parts = [frame.columns["split"] for frame in self.frames if "split" in frame.columns]
        said = {split_of(text) for part in parts for text in set(as_texts(part))}
        return len(parts) == len(self.frames) and {"train", "test"} <= said

    @functools.cached_property
    def missing(self) -> tuple[int, int, str]:
        """Missing values of the sensors, the most in a row, and the file that has these."""
        return count_missing(self.frames, [column for channel in self.channels for column in channel.columns])

    def _find_channels(self) -> tuple[Channels, ...]:
        look = self.look
        names = [name for name in look.roles.sensors if not (look.table and name in look.table.targets)]
        if look.format == "npz":
            used = {*self.label_columns, "group", "split"}
            names = [name for name in names if name not in used]
            self.left_out = {name: why for name, why in self.left_out.items() if name not in used}
        labels = self._labels_of_recordings()
        telling = [name for name in names if labels and says_label(self.frames, name, labels)]
        if len(telling) < len(names):
            self.left_out |= dict.fromkeys(telling, "one value a class: a model would learn nothing else")
            names = [name for name in names if name not in telling]
        return sensors_of(names, look.units)

    def _labels_of_recordings(self) -> list[str]:
        """The label of each recording, where paths or a table say it; else none."""
        table = self.look.table
        if self.labels_in == "path":
            return [frame.facts.get("label", "") for frame in self.frames]
        if self.labels_in == "table" and table.label:
            found = Table(self.look.folder / table.path, table.file, self.look.names, "the table")
            return [found.text_of(name, table.label) for name, _ in self.look.frames]
        return []
