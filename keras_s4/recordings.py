"""Labelled recordings of sensors, and the windows that are cut from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.brief import Brief

Labelled = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, repr=False)
class Recordings(Brief):
    """Labelled signals of different lengths.

    Args:
        signals: R arrays `[steps, features]`, float32.
        labels: class of each recording, `[R]`; or quantities, `[R]` or `[R, T]`.
        subjects: who was recorded, `[R]`.
    """

    signals: list[np.ndarray]
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.signals)

    def of_subjects(self, subjects) -> Recordings:
        """The recordings of these subjects."""
        return self.take(np.flatnonzero(np.isin(self.subjects, subjects)))

    def take(self, indices) -> Recordings:
        """The recordings at these indices."""
        return Recordings([self.signals[index] for index in indices], self.labels[indices], self.subjects[indices])

    def part(self, start: float, stop: float) -> Recordings:
        """Each recording from fraction `start` to fraction `stop` of its length, for splits in time."""
        signals = [signal[round(start * len(signal)) : round(stop * len(signal))] for signal in self.signals]
        return Recordings(signals, self.labels, self.subjects)

    def windows(self, length: int = 500, hop: int = 250) -> Labelled:
        """All windows of `length` steps, `hop` steps apart, `[W, length, features]`, and their labels `[W, ...]`."""
        counts = self.window_counts(length, hop)
        pieces = [
            signal[start : start + length]
            for signal, count in zip(self.signals, counts, strict=True)
            for start in range(0, count * hop, hop)
        ]
        return np.stack(pieces), np.repeat(self.labels, counts, axis=0)

    def window_counts(self, length: int, hop: int) -> list[int]:
        """How many windows each recording holds, `[R]`.

        Raises:
            ValueError: a length or hop below 1, or no recording is long enough.
        """
        if length < 1 or hop < 1:
            raise ValueError(f"windows got length={length}, hop={hop}; expected whole numbers of at least 1.")
        counts = [max(0, (len(signal) - length) // hop + 1) for signal in self.signals]
        if not any(counts):
            longest = max((len(signal) for signal in self.signals), default=0)
            raise ValueError(f"No recording holds a window of {length} steps; the longest has {longest}.")
        return counts
