"""Times of steps: what a column of times says, whether steps follow each other evenly, and at which rate."""

from __future__ import annotations

import re

import numpy as np

from keras_s4.recordings.frame import DATE, Frame, to_numbers
from keras_s4.recordings.layout import TIME_UNITS

# Steps without data that make a gap, where nobody says how long one is.
GAP_STEPS = 5.0
# A rate that differs by less than this part is that of a clock that is not exact.
RATE_TOLERANCE = 0.02
# Steps are even if all times are that close, in steps, to those of an even clock.
JITTER = 0.5
# The part of the steps that may go back in time, where a recording follows another in one file.
BACKWARDS = 0.05
_DAY_AND_MONTH = re.compile(r"\s*(\d{1,2})([-./])(\d{1,2})\2\d{2}")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?")


def seconds_of(frame: Frame, column: str, unit: str) -> np.ndarray:
    """The times of the steps in seconds, float64 `[steps]`.

    Args:
        frame: with the column.
        column: of the times.
        unit: of numbers in it; "date" for dates and times of day.

    Raises:
        ValueError: there is no such column, a time is missing, or none can be read; says where.
    """
    values = frame.column(column, "times")
    if values.dtype.kind == "f" and (unit == DATE) != (frame.units.get(column) == DATE) and unit != "s":
        found, wanted = ("numbers", "s, ms, us or ns") if unit == DATE else ("dates", "date")
        raise ValueError(
            f"{frame.name} has {found} in column {column!r}, and [recordings] time_unit is {unit}; expected {wanted}."
        )
    if frame.units.get(column) == DATE and values.dtype.kind == "f":
        seconds = values
    elif unit == DATE:
        seconds = _dates(frame, column, values)
    else:
        seconds = frame.numbers(column, f'times in {unit} (for dates say time_unit = "date")') * TIME_UNITS[unit]
    if np.isnan(seconds).any():
        row = int(np.isnan(seconds).argmax())
        raise ValueError(
            f"{frame.name} has no time in column {column!r}, line {frame.first + row}; expected one at every step. "
            "Remove the line, or leave out [recordings] time and give a rate."
        )
    return seconds


def parse_dates(texts: np.ndarray) -> np.ndarray | None:
    """Dates and times of day as seconds; None if they are none.

    Of 01.02.2026 the day is first. Of 01/02/2026 it is what others of the texts say, or else what makes them last the
    shorter time, or else the month.
    """
    import pandas

    texts = np.array([re.sub(r",(?=\d)", ".", str(text)).replace(",", " ") for text in texts], object)
    try:
        if all(_TIME_OF_DAY.fullmatch(text) for text in texts):
            full = [text if text.count(":") == 2 else f"{text}:00" for text in texts]
            return pandas.to_timedelta(full).total_seconds().to_numpy()
        found = [
            pandas.DatetimeIndex(pandas.to_datetime(texts, format="mixed", utc=True, dayfirst=day_first))
            for day_first in _orders_of_days(texts)
        ]
    except (ValueError, OverflowError):
        return None
    seconds = [(dates - pandas.Timestamp(0, tz="UTC")).total_seconds().to_numpy() for dates in found]
    return min(seconds, key=np.ptp) if len(texts) and seconds else None


def _orders_of_days(texts: np.ndarray) -> tuple[bool, ...]:
    """Whether the day is before the month, as it may be in all of these texts; none if it is before and behind."""
    matches = [match for text in texts if (match := _DAY_AND_MONTH.match(text))]
    if not matches:
        return (False,)
    day_first = any(int(match[1]) > 12 for match in matches)
    month_first = any(int(match[3]) > 12 for match in matches)
    if day_first and month_first:
        return ()
    if day_first or month_first:
        return (day_first,)
    return (False, True) if matches[0][2] == "/" else (True,)


def _dates(frame: Frame, column: str, texts: np.ndarray) -> np.ndarray:
    seconds = parse_dates(texts)
    if seconds is not None:
        return seconds
    bad = next((i for i, text in enumerate(texts) if parse_dates(np.array([text], object)) is None), 0)
    raise ValueError(
        f"{frame.name} has {texts[bad]!r} in column {column!r}, line {frame.first + bad}; expected a date, such as "
        "2026-01-31 12:00:00.020."
    )


def period_of(times: np.ndarray) -> float:
    """Seconds from one step to the next: the mean of those that are no gaps; NaN for fewer than two steps."""
    distances = np.diff(times)
    distances = distances[distances > 0]
    if not distances.size:
        return np.nan
    near = distances[distances <= 1.5 * np.median(distances)]
    return float(near.mean())


def round_rate(rate: float) -> float:
    """A measured rate as it was meant: a whole number where one is near, or else of four figures."""
    whole = round(rate)
    return float(whole) if whole and abs(rate / whole - 1.0) < 0.005 else float(f"{rate:.4g}")


def unevenness(times: np.ndarray) -> tuple[float, int]:
    """How far times are from those of an even clock, in steps, and which is the farthest."""
    if len(times) < 3:
        return 0.0, 0
    steps = np.arange(len(times))
    period, start = np.polyfit(steps, times - times[0], 1)
    if period <= 0:
        return np.inf, 0
    off = np.abs(times - times[0] - start - period * steps) / period
    return float(off.max()), int(off.argmax())


def check_order(frame: Frame, times: np.ndarray) -> None:
    """Refuses times that go back again and again, or stand still.

    Raises:
        ValueError: they do; says where, and what to do.
    """
    distances = np.diff(times)
    if not distances.size:
        return
    back, still = distances < 0, distances == 0
    for found, what, advice in (
        (
            back,
            "go back",
            "Sort the lines by time, or name the columns that tell recordings apart in [recordings] recording",
        ),
        (still, "stand still", "If steps are stamped in blocks, leave out [recordings] time and give a rate"),
    ):
        if found.mean() > BACKWARDS:
            place = int(found.argmax()) + 1
            raise ValueError(
                f"{frame.name} has times that {what} at {int(found.sum()):,} of {len(times):,} steps, first at line "
                f"{frame.first + place}. {advice}."
            )


def to_seconds(texts: np.ndarray, unit: str) -> np.ndarray | str:
    """Times in a table as seconds; or the first text that is none."""
    if unit == "date":
        found = parse_dates(texts)
        return texts[0] if found is None else found
    numbers = to_numbers(texts)
    return numbers if isinstance(numbers, str) else numbers * TIME_UNITS[unit]
