"""A stretch of a recording on its way from a file to `Recordings`: values, times and labels of its steps."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from keras_s4.brief import Brief


@dataclasses.dataclass(frozen=True, repr=False)
class Track(Brief):
    """Steps that follow each other.

    Args:
        name: of the file, for messages.
        first: the line or row of its first step in the file.
        values: float64 `[steps, features]` in the units of the sensors; NaN where they are missing.
        times: of the steps in seconds, float64 `[steps]`; None if nobody knows.
        rate: steps a second; None if nobody knows.
        labels: of each step: a class as a whole number, -1 for none, int32 `[steps]`; or quantities, float32
            `[steps, T]`; None if there are none.
        group: who or what was recorded.
        split: "train", "validation" or "test", if the recordings say so; "" if not.
        source: the recording that it was cut from, numbered.
    """

    name: str
    first: int
    values: np.ndarray
    times: np.ndarray | None = None
    rate: float | None = None
    labels: np.ndarray | None = None
    group: str = ""
    split: str = ""
    source: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: slice) -> Track:
        """Some of its steps."""
        changes = {"values": self.values[rows], "first": self.first + (rows.start or 0)}
        for name in ("times", "labels"):
            if getattr(self, name) is not None:
                changes[name] = getattr(self, name)[rows]
        return dataclasses.replace(self, **changes)

    def pieces(self, starts: np.ndarray) -> list[Track]:
        """The track, cut before each of these steps."""
        bounds = [0, *(int(start) for start in starts), len(self)]
        return [self.take(slice(a, b)) for a, b in itertools.pairwise(bounds) if b > a]

    def stretches(self, good: np.ndarray) -> list[Track]:
        """Its longest stretches of steps that are all good, `good` `[steps]` of truth values."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
        return [self.take(slice(int(a), int(b))) for a, b in zip(edges[::2], edges[1::2], strict=True)]
