"""Labelled recordings of sensors, and the windows that are cut from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.brief import Brief

Labelled = tuple[np.ndarray, np.ndarray]
# The class of a step that counts for nothing: it is read, but neither trained on nor scored.
UNLABELLED = -1


@dataclasses.dataclass(frozen=True, repr=False)
class Recordings(Brief):
    """Labelled signals of different lengths.

    Args:
        signals: R arrays `[steps, features]`, float32.
        labels: of each recording its class `[R]`, or quantities `[R]` or `[R, T]`; or of each step, a list of R arrays
            `[steps]` or `[steps, T]`, in which class `UNLABELLED` means that the step has none.
        subjects: the group of each recording, `[R]`: who was recorded.
        sources: the recording that each signal was cut from, `[R]`; by default each is one of its own.

    Raises:
        ValueError: other numbers of labels, subjects or sources than of signals, or of labels than of steps.
    """

    signals: list[np.ndarray]
    labels: np.ndarray | list[np.ndarray]
    subjects: np.ndarray
    sources: np.ndarray | None = None

    def __post_init__(self):
        if self.sources is None:
            object.__setattr__(self, "sources", np.arange(len(self.signals)))
        for name in ("labels", "subjects", "sources"):
            found = len(getattr(self, name))
            if found != len(self.signals):
                raise ValueError(f"Recordings got {len(self.signals)} signals and {found} {name}; expected as many.")
        if self.has_step_labels:
            for index, (signal, labels) in enumerate(zip(self.signals, self.labels, strict=True)):
                if len(signal) != len(labels):
                    raise ValueError(
                        f"Recordings got {len(labels)} labels for the {len(signal)} steps of signal {index}; expected "
                        "one a step. For one a recording give an array [R], not a list."
                    )

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def has_step_labels(self) -> bool:
        """Whether each step has a label, rather than each recording."""
        return isinstance(self.labels, list)

    def of_subjects(self, subjects) -> Recordings:
        """The recordings of these subjects."""
        return self.take(np.flatnonzero(np.isin(self.subjects, subjects)))

    def take(self, indices) -> Recordings:
        """The recordings at these indices."""
        indices = np.asarray(indices, int)
        labels = [self.labels[index] for index in indices] if self.has_step_labels else self.labels[indices]
        return Recordings(
            [self.signals[index] for index in indices], labels, self.subjects[indices], self.sources[indices]
        )

    def part(self, start: float, stop: float) -> Recordings:
        """Each recording from fraction `start` to fraction `stop` of its length, for splits in time."""

        def cut(steps: np.ndarray) -> np.ndarray:
            return steps[round(start * len(steps)) : round(stop * len(steps))]

        labels = [cut(steps) for steps in self.labels] if self.has_step_labels else self.labels
        return Recordings([cut(signal) for signal in self.signals], labels, self.subjects, self.sources)

    def step_labels(self) -> list[np.ndarray]:
        """The label of each step: R arrays `[steps, ...]`."""
        if self.has_step_labels:
            return self.labels
        return [np.repeat(label[None], len(signal), 0) for label, signal in zip(self.labels, self.signals, strict=True)]

    def windows(self, length: int = 500, hop: int = 250) -> Labelled:
        """All windows of `length` steps, `hop` steps apart, `[W, length, features]`, and their labels `[W, ...]`.

        Where each step has a label, that of a window is the one of its last step, as a decision in a stream is about
        the present; windows whose last step is `UNLABELLED` are left out.

        Raises:
            ValueError: a length or hop below 1; no recording is long enough, or no window has a label.
        """
        counts = self.window_counts(length, hop)
        starts = [range(0, count * hop, hop) for count in counts]
        pieces = [
            signal[start : start + length] for signal, own in zip(self.signals, starts, strict=True) for start in own
        ]
        x = np.stack(pieces)
        if not self.has_step_labels:
            return x, np.repeat(self.labels, counts, axis=0)
        y = np.stack([labels[s + length - 1] for labels, own in zip(self.labels, starts, strict=True) for s in own])
        labelled = np.ones(len(y), bool) if y.dtype.kind == "f" else (y != UNLABELLED).reshape(len(y), -1).all(axis=1)
        if not labelled.any():
            raise ValueError(f"None of the {len(y)} windows of {length} steps ends where a label is known.")
        return x[labelled], y[labelled]

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
