"""What a file holds, before anything is done to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_s4.brief import Brief

# What stands for no value, in lower case; names of classes may be among these.
MISSING = ("", "nan", "na", "n/a", "null", "none", "-", "--", "?", "inf", "-inf", "+inf", "infinity", "#n/a")
# The unit of columns of times that were dates in the file, and are seconds.
DATE = "date"
TRUTH = {"true": 1.0, "false": 0.0}


@dataclasses.dataclass(frozen=True, repr=False)
class Frame(Brief):
    """Columns of a file.

    Args:
        name: of the file, relative to the folder of the recordings; for messages.
        columns: by name and in order: float64 `[steps]`, of which NaN are missing; or texts, an array of objects.
        rate: steps a second, if the file says so.
        facts: what else is known of it, by name: "label", "group", "split".
        units: of columns, if the file says so.
        first: the line or row of the first step, for messages.
    """

    name: str
    columns: dict[str, np.ndarray]
    rate: float | None = None
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    first: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def numeric(self) -> tuple[str, ...]:
        """The names of columns of numbers."""
        return tuple(name for name, values in self.columns.items() if values.dtype.kind == "f")

    def column(self, name: str, what: str) -> np.ndarray:
        """A column by its name; spaces around it and its case do not matter where that leaves one only.

        Args:
            name: of the column.
            what: it is wanted for, for the message: "labels".

        Raises:
            ValueError: there is none, or several.
        """
        found = find_name(self.columns, name)
        if found is not None:
            return self.columns[found]
        raise ValueError(f"{self.name} has no column {name!r} for {what}; it has {join_names(self.columns)}.")

    def numbers(self, name: str, what: str) -> np.ndarray:
        """A column of numbers.

        Raises:
            ValueError: there is none, or it holds texts; says where.
        """
        values = self.column(name, what)
        if values.dtype.kind == "f":
            return values
        found = to_numbers(values)
        if not isinstance(found, str):
            return found
        row = next(index for index, text in enumerate(values) if text == found)
        raise ValueError(
            f"{self.name} has {found!r} in column {name!r}, line {self.first + row}; expected numbers for {what}."
        )

    def texts(self, name: str, what: str) -> np.ndarray:
        """A column as texts without spaces around them; "" where values are missing.

        Raises:
            ValueError: there is none.
        """
        return as_texts(self.column(name, what))

    def take(self, rows: slice) -> Frame:
        """Some of its rows."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return dataclasses.replace(self, columns=columns, first=self.first + (rows.start or 0))


def find_name(names: Iterable[str], name: str) -> str | None:
    """One of the names: this one, or the only one that differs from it in case or spaces around it; None if none does.

    Args:
        names: of columns.
        name: that is looked for.
    """
    if name in names:
        return name
    alike = [other for other in names if other.strip().casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def as_texts(values: np.ndarray) -> np.ndarray:
    """Values as texts, an array of objects: whole numbers without a point, "" for NaN."""
    if values.dtype.kind != "f":
        distinct, places = np.unique([str(value).strip() for value in values], return_inverse=True)
        return distinct.astype(object)[places]
    distinct, places = np.unique(values, return_inverse=True)
    return np.array([number_text(value) for value in distinct], object)[places]


def number_text(value: float) -> str:
    """A number as a name: whole ones without a point; "" for NaN."""
    if np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def to_numbers(texts: Iterable[str], decimal: str = ".") -> np.ndarray | str:
    """Texts as float64, NaN for what stands for none; or the first one that is no number."""
    numbers: dict[str, float] = {}
    for text in dict.fromkeys(texts):
        try:
            found = float(text.replace(",", ".") if decimal == "," else text)
        except ValueError:
            found = TRUTH.get(text.casefold(), np.nan)
            if np.isnan(found) and text.strip().casefold() not in MISSING:
                return text
        numbers[text] = found if np.isfinite(found) else np.nan
    return np.array([numbers[text] for text in texts], np.float64)


def join_names(names: Iterable, most: int = 8) -> str:
    """Names in a message, the first few of many."""
    names = [str(name) for name in names]
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" ... ({len(names)} in all)" if len(names) > most else "")


def count(number: int, what: str) -> str:
    """So many of something: "1 file", "1,074 files"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def relative_name(path: Path, folder: Path) -> str:
    """The name of a file in messages and tables: its path in the folder, with slashes."""
    return path.relative_to(folder).as_posix()
