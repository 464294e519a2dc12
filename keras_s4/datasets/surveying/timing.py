"""Rates, gaps, missing values, and how long windows and decisions should be."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from keras_s4.recordings.frame import Frame
from keras_s4.recordings.times import GAP_STEPS, JITTER, RATE_TOLERANCE, period_of, round_rate, seconds_of, unevenness

# Steps of a window that a model of some ten thousand weights can learn from, and seconds that people like.
WINDOW_STEPS = 150.0
NICE_SECONDS = tuple(digit * 10.0**power for power in range(-4, 5) for digit in (1.0, 2.0, 5.0))


@dataclasses.dataclass(frozen=True)
class Timing:
    """How the steps of recordings follow each other.

    Args:
        rate: steps a second, of most; None if nobody knows.
        rates: of each recording.
        uneven: files whose steps are not even.
        gaps: how many there are, the longest in seconds, and the file that has it.
        backwards: files whose times go back.
        error: why times cannot be read; "" if they can.
    """

    rate: float | None = None
    rates: tuple[float, ...] = ()
    uneven: tuple[str, ...] = ()
    gaps: tuple[int, float, str] = (0, 0.0, "")
    backwards: tuple[str, ...] = ()
    error: str = ""

    @property
    def are_mixed(self) -> bool:
        """Whether recordings have different rates."""
        return any(abs(rate / self.rate - 1.0) > RATE_TOLERANCE for rate in self.rates) if self.rate else False


def measure_times(frames: Sequence[Frame], column: str, unit: str) -> Timing:
    """How the steps of recordings follow each other, by a column of times or by what the files say."""
    if not column:
        rates = tuple(frame.rate for frame in frames if frame.rate)
        return Timing(rate=_middle(rates, [len(frame) for frame in frames if frame.rate]), rates=rates)
    rates, lengths, uneven, backwards = [], [], [], []
    count, longest, where = 0, 0.0, ""
    for frame in frames:
        try:
            times = seconds_of(frame, column, unit)
        except ValueError as error:
            return Timing(error=str(error))
        period = period_of(times)
        if not np.isfinite(period):
            continue
        rates.append(1.0 / period)
        lengths.append(len(frame))
        distances = np.diff(times)
        if (distances < 0).any():
            backwards.append(frame.name)
        far = np.flatnonzero(distances > GAP_STEPS * period)
        count += len(far)
        if far.size and distances[far].max() > longest:
            longest, where = float(distances[far].max()), frame.name
        edges = np.flatnonzero((distances < 0) | (distances > GAP_STEPS * period)) + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fits of few points
            if any(unevenness(piece)[0] > JITTER for piece in np.split(times, edges)):
                uneven.append(frame.name)
    return Timing(_middle(rates, lengths), tuple(rates), tuple(uneven), (count, longest, where), tuple(backwards))


def _middle(rates: Sequence[float], lengths: Sequence[int]) -> float | None:
    """The rate that most steps have."""
    if not rates:
        return None
    order = np.argsort(rates)
    counts = np.cumsum(np.asarray(lengths)[order])
    return round_rate(float(np.asarray(rates)[order][np.searchsorted(counts, counts[-1] / 2)]))


def window_seconds(rate: float, lengths: Sequence[int], is_sound: bool = False) -> float:
    """Seconds of a window that suit a rate, and of which nearly all recordings hold one; of sounds up to a second."""
    short = short_length(lengths) / rate
    if is_sound:
        return max([seconds for seconds in NICE_SECONDS if seconds <= min(short, 1.0)] or [float(f"{short:.2g}")])
    fitting = [seconds for seconds in NICE_SECONDS if seconds <= short] or [float(f"{short:.2g}")]
    return min(fitting, key=lambda seconds: abs(np.log(seconds * rate / WINDOW_STEPS)))


def window_steps(lengths: Sequence[int]) -> int:
    """Steps of a window where no rate is known."""
    return max(1, min(int(WINDOW_STEPS), int(short_length(lengths))))


def short_length(lengths: Sequence[int]) -> float:
    """The length of which recordings of at least that length hold nine tenths of all steps."""
    ordered = np.sort(lengths)
    before = np.cumsum(ordered) - ordered
    return float(ordered[before <= 0.1 * ordered.sum()][-1])
