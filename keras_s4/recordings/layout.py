"""What is said of recordings in files: where they are, how to read them, what their columns, labels and groups are.

Each value is a section of a task's TOML file; `keras_s4.datasets.task_file` reads them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Literal

from keras_s4.checks import number, quote, whole_number

STEPS, ROWS = "steps", "rows"
REFUSE, RESAMPLE, INTERPOLATE, CUT, DROP, KEEP, WARN = (
    "refuse",
    "resample",
    "interpolate",
    "cut",
    "drop",
    "keep",
    "warn",
)
# Seconds that one of a time column is; "date" reads dates and times of day.
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Section `[recordings]`: files, and what is done about their faults.

    Args:
        folder: that holds the recordings; relative to the TOML file.
        path: of the files in it, a pattern (`keras_s4.recordings.paths`) that may say label, group and split:
            "{label}/person{group}_*.csv".
        format: of the files; by default what their names end in.
        layout: "steps": a row of a file is a step; "rows": a row of a file is a recording, its columns are steps.
        delimiter: of CSV files; found out by default, as are the next ones.
        decimal: "." or ",".
        encoding: of CSV files, such as "utf-8" or "cp1252".
        header: whether the first line of a CSV file names the columns.
        comment: what begins a line that is no data, such as "#".
        skip_lines: of a CSV file, before its header.
        bad_lines: "refuse" or "drop" lines of a CSV file that have more fields than the others.
        interleaved: of layout "rows": the sensors whose values take turns in a row, as in x, y, z, x, y, z.
        mono: whether the channels of WAV files are averaged into one.
        recording: columns whose change begins a new recording within a file, such as a person or a session.
        time: the column of times; "" if there is none.
        time_unit: of these: s, ms, us, ns, min, h, or "date".
        rate: steps a second, if no column of times says so; with one, the rate that all are brought to.
        irregular: what to do about steps that do not follow each other evenly: "refuse", or "resample" them.
        rates: what to do about files of another rate: "refuse", or "resample" them.
        gap: seconds between two steps above which a recording is cut in two; by default five steps.
        missing: what to do about missing values (empty, NaN, infinite): "refuse", "interpolate" them in time up to
            `missing_steps` in a row and cut there if there are more, or "cut" always.
        missing_steps: see `missing`.
        duplicates: what to do about recordings of equal content: "refuse", "drop" all but one, or "keep".
        clipped: what to do about sensors at the end of their range: "warn", "refuse", or "keep" them in silence.
        shortest: seconds below which what was cut out of a recording is left out.

    Raises:
        ValueError: a number out of its range.
    """

    folder: Path = Path(".")
    path: str = "**/*"
    format: Literal["csv", "parquet", "wav", "npz", ""] = ""
    layout: Literal["steps", "rows"] = STEPS
    delimiter: str = ""
    decimal: Literal[".", ",", ""] = ""
    encoding: str = ""
    header: bool | None = None
    comment: str = ""
    skip_lines: int = 0
    bad_lines: Literal["refuse", "drop"] = REFUSE
    mono: bool = False
    interleaved: int = 1
    recording: tuple[str, ...] = ()
    time: str = ""
    time_unit: Literal["s", "ms", "us", "ns", "min", "h", "date"] = "s"
    rate: float | None = None
    irregular: Literal["refuse", "resample"] = REFUSE
    rates: Literal["refuse", "resample"] = REFUSE
    gap: float | None = None
    missing: Literal["refuse", "interpolate", "cut"] = REFUSE
    missing_steps: int = 5
    duplicates: Literal["refuse", "drop", "keep"] = REFUSE
    clipped: Literal["warn", "refuse", "keep"] = WARN
    shortest: float = 0.0

    def __post_init__(self):
        whole_number(self.skip_lines, "[recordings] got skip_lines=", 0)
        whole_number(self.interleaved, "[recordings] got interleaved=")
        whole_number(self.missing_steps, "[recordings] got missing_steps=", 0)
        number(self.shortest, "[recordings] got shortest=", 0.0)
        for name in ("rate", "gap"):
            value = getattr(self, name)
            if value is not None and not number(value, f"[recordings] got {name}=", 0.0):
                raise ValueError(f"[recordings] got {name}=0; expected a number above 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """Section `[labels]`: where labels come from.

    Args:
        source: "path" (`{label}` in the path), "column", "table" (a file with a row a recording), "intervals" (a file
            with a row an event inside of recordings), "lines" (files with a line a recording, beside files of layout
            "rows"), or "none".
        column: of the labels, in the recordings, the table or the file of intervals.
        columns: several of them: one for each target, or for each of several classes that may be there at once.
        table: the file of the table or of the intervals; relative to the folder of the recordings.
        file: the column of the table that names recordings.
        start: the column of intervals where they begin.
        end: the column of intervals where they end; what is at the end is outside.
        unit: of start and end: seconds or ms from the start of the recording, "steps" from 0 on, or "time", as in the
            column of times.
        background: the class of what no interval covers; "" if that is not known.
        classes: names of all classes, in the order of the outputs; by default all that are found.
        names: other names for labels, as in `{ "1" = "walking" }`.
        ignore: labels that count for nothing.
        separator: between several labels in one field, for several classes at once.
        missing: what to do about recordings without a label: "refuse" or "drop".
        lines: pattern of the files of source "lines".
        normal: classes that are normal, where anomalies are to be found.
    """

    source: Literal["path", "column", "table", "intervals", "lines", "none", ""] = ""
    column: str = "label"
    columns: tuple[str, ...] = ()
    table: str = ""
    file: str = "file"
    start: str = "start"
    end: str = "end"
    unit: Literal["s", "ms", "steps", "time"] = "s"
    background: str = ""
    classes: tuple[str, ...] = ()
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    separator: str = ""
    missing: Literal["refuse", "drop"] = REFUSE
    lines: str = ""
    normal: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    """Section `[groups]`: who or what was recorded; never in two splits.

    Args:
        source: "path" (`{group}` in the path), "column", "table", "lines", or "recording" if each file stands for
            itself.
        column: of the groups, in the recordings or the table.
        table: the file of the table; by default that of the labels.
        lines: pattern of the files of source "lines".
        name: of what a group is, in the singular, such as "person" or "machine".
    """

    source: Literal["path", "column", "table", "lines", "recording"] = "recording"
    column: str = "group"
    table: str = ""
    lines: str = ""
    name: str = "recording"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Channels:
    """An entry `[[sensors]]`: columns of one quantity.

    Args:
        name: the quantity, such as "acceleration".
        columns: of the files, in the order of the features.
        axes: their names, such as "x", "y", "z"; by default the columns.
        unit: of the quantity, such as "g"; "" if it has none.
        lsb: what one integer of the sensor is in this unit, a number or a fraction such as "1/4096"; None if it is not
            known.
        zero: what its integer 0 is in this unit.
        raw: whether the files hold integers of the sensor rather than values in its unit.
        vector: what three axes x, y, z are together: "polar" (acceleration) or "axial" (angular velocity, magnetic
            field); "" if they are none.

    Raises:
        ValueError: an lsb of 0, raw integers without one, or other numbers of axes than of columns.
    """

    name: str
    columns: tuple[str, ...]
    axes: tuple[str, ...] = ()
    unit: str = ""
    lsb: float | str | None = None
    zero: float = 0.0
    raw: bool = False
    vector: Literal["polar", "axial", ""] = ""

    def __post_init__(self):
        who = f"[[sensors]] {self.name!r} got"
        if not self.columns:
            raise ValueError(f"{who} columns=[]; expected the names of one column or more.")
        if self.axes and len(self.axes) != len(self.columns):
            raise ValueError(f"{who} {len(self.axes)} axes and {len(self.columns)} columns; expected as many.")
        if isinstance(self.lsb, str):
            object.__setattr__(self, "lsb", _number_of(self.lsb, who))
        if self.lsb is not None and not number(self.lsb, f"{who} lsb="):
            raise ValueError(f"{who} lsb=0; expected what one integer of the sensor is, such as 0.000244 or '1/4096'.")
        if self.raw and self.lsb is None:
            raise ValueError(f"{who} raw = true and no lsb; expected what one integer of the sensor is in its unit.")

    def quantities(self, values):
        """Values of the files in the unit of the sensor."""
        return self.zero + self.lsb * values if self.raw else values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """All that is said of recordings in files.

    Args:
        source: the files.
        labels: where labels come from.
        groups: who or what was recorded.
        channels: the sensors, in the order of the features; by default each column of numbers that nothing else uses
            is one.
        aim: what the labels are for: "classes", "targets", "multi_label", "anomaly" or "forecast".

    Raises:
        ValueError: two sensors of one name, or a column in two places.
    """

    source: Source = dataclasses.field(default_factory=Source)
    labels: Labels = dataclasses.field(default_factory=Labels)
    groups: Groups = dataclasses.field(default_factory=Groups)
    channels: tuple[Channels, ...] = ()
    aim: str = "classes"

    def __post_init__(self):
        columns = [column for channel in self.channels for column in channel.columns]
        for what, names in (("name", [channel.name for channel in self.channels]), ("column", columns)):
            twice = [name for name, number in Counter(names).items() if number > 1]
            if twice:
                raise ValueError(f"[[sensors]] have the {what} {twice[0]!r} twice; expected each once.")


def _number_of(text: str, who: str) -> float:
    try:
        return float(Fraction(text.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{who} lsb={quote(text)}; expected a number or a fraction such as '1/4096'.") from None
