"""At which steps of a stream a value is due, where layers drop steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Timing:
    """Value j of a sequence is due at step `phase + j * period` of the stream.

    A program for a device takes blocks of `period` steps and gives a row for each; `first_row` and `rows` count those.
    """

    period: int = 1
    phase: int = 0

    def after(self, stride: int, delay: int) -> Timing:
        """The timing behind a layer that gives output j at its input `delay + j * stride`."""
        return Timing(self.period * stride, self.phase + delay * self.period)

    def count(self, steps: int) -> int:
        """How many values are due in the first steps of a stream."""
        return max(0, (steps - 1 - self.phase) // self.period + 1)

    @property
    def first_row(self) -> int:
        """The row, counted from 0, in which value 0 is due; the rows before it mean nothing."""
        return self.phase // self.period

    def rows(self, steps: int) -> int:
        """How many whole rows there are in the first steps of a stream."""
        return steps // self.period


EVERY_STEP = Timing()


def whenever_one_is_new(timings: Iterable[Timing]) -> Timing:
    """The timing of what is computed from the latest of several values, which may come at different steps."""
    timings = list(timings)
    last = max(timings, key=lambda timing: timing.phase)
    spans = [span for timing in timings for span in (timing.period, last.phase - timing.phase)]
    return Timing(math.gcd(*spans), last.phase)
