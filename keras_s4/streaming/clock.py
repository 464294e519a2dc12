"""Counting the steps of streams, where layers drop some of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from keras_s4.streaming.plan import EVERY_STEP, Timing

Tensor = Any
State = Any
# Clocks pass through loops in single precision, which counts no further.
LONGEST_CYCLE = 2**24


class Clock:
    """Counts the steps of each stream, `[B]`, and tells at which of them a signal is due.

    The count goes round without end: it jumps back by a common multiple of all periods, to a step that is past all
    phases, so that no signal can tell.
    """

    def __init__(self, timings: Iterable[Timing]):
        timings = list(timings)
        self._start = max(timing.phase for timing in timings)
        self._cycle = math.lcm(*(timing.period for timing in timings))
        if self._start + self._cycle > LONGEST_CYCLE:
            raise ValueError(
                f"The layers drop so many steps that their pattern repeats after {self._start + self._cycle} steps; "
                f"expected at most {LONGEST_CYCLE}. Use smaller strides."
            )

    def initial_state(self, batch: int) -> Tensor:
        """The count before the first step."""
        return ops.zeros((batch,), dtype="int32")

    def next(self, count: Tensor) -> Tensor:
        """The count of the next step."""
        return ops.where(count + 1 >= self._start + self._cycle, count + 1 - self._cycle, count + 1)

    def due(self, count: Tensor) -> Callable[[Timing], Tensor | None]:
        """Tells in which streams, bool `[B]`, a timing is due at this step; None stands for all of them."""
        known = {EVERY_STEP: None}

        def due(timing):
            if timing not in known:
                since = count - timing.phase
                known[timing] = ops.logical_and(since >= 0, since % timing.period == 0)
            return known[timing]

        return due


def always(timing: Timing) -> None:
    """What `Clock.due` gives where nothing ever waits."""


def updated(due: Tensor | None, new: State, old: State) -> State:
    """The new state in the streams where it is due, the old one elsewhere."""
    if due is None:
        return new
    kept = [
        ops.where(ops.reshape(due, (-1, *(1 for _ in value.shape[1:]))), ops.cast(value, before.dtype), before)
        for value, before in zip(keras.tree.flatten(new), keras.tree.flatten(old), strict=True)
    ]
    return keras.tree.pack_sequence_as(old, kept)
