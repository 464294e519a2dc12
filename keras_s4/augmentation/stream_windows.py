"""Windows of continuous streams to train on: cut across changes, with a label at every decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_s4.augmentation.transforms import Transform
from keras_s4.augmentation.varied_windows import VariedWindows, read_signal
from keras_s4.checks import number, whole_number
from keras_s4.recordings import Recordings
from keras_s4.recordings.joining import check_background, groups_of_streams


class StreamWindows(VariedWindows):
    """Batches of windows of continuous streams, cut and varied anew in every epoch, with a label at every decision.

    A model that is never reset has to learn to forget what was before. Where each recording has one label, a window
    goes over from one recording to another one that may follow it (`keras_s4.recordings.joining.groups_of_streams`) and
    has another label, at a random place, as often as `changes` says; and where a recording is shorter than the window,
    to further ones. Where steps have labels, windows are cut as they come, with the changes that are there.

    Nothing is learned at the start of a window, in which states fill as they would from what came before (truncated
    back-propagation in time), nor right after a change, when nobody could know. The labels there are `UNLABELLED`,
    which `keras_s4.compile_classifier` leaves out; quantities have weights of 0 there.

    Equal seeds and epochs give equal windows. Each piece of a recording is warped by itself; all else varies a window
    as a whole. `Shift` does nothing, since windows begin anywhere.

    Args:
        recordings: signals `[steps, F]` with labels of recordings or of steps.
        length: L, steps of a window.
        batch_size: B.
        seed: whole number.
        every: steps from one decision to the next; a window has `J = L // every`, each at the end of so many steps.
        first: the step of the first decision, if it is an earlier one. A causal `front=` of stride s computes at the
            first of s samples, so that behind it a decision knows of `every - s` and none later.
        warm_up: steps at the start of a window at which nothing is learned.
        tolerance: steps from a change on at which nothing is learned.
        changes: of windows of recordings with one label, the share that goes over from one to another, 0 to 1.
        background: the class that means that nothing happens: its recordings lie between the others. None if something
            always does.
        windows: how many an epoch; by default as many as begin half a window apart.
        transforms: of `keras_s4.augmentation`.
        sensors: what the features are; see `AugmentedWindows`.
        classes: C; by default as many as the labels show.
        class_weights: of each class, in a sequence or a dict.

    Raises:
        TypeError: no recordings, or no transforms.
        ValueError: numbers out of range; no recording with labels of steps is as long as a window; transforms that do
            not fit the recordings.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int,
        batch_size: int = 32,
        seed: int = 0,
        *,
        every: int = 1,
        first: int | None = None,
        warm_up: int = 0,
        tolerance: int = 0,
        changes: float = 0.5,
        background: int | None = None,
        windows: int | None = None,
        transforms: Iterable[Transform] = (),
        sensors: Sequence[Any] = (),
        classes: int | None = None,
        class_weights: Sequence[float] | Mapping[int, float] | None = None,
        **kwargs,
    ):
        who = type(self).__name__
        super().__init__(
            recordings, length, batch_size, seed, transforms, sensors, classes, class_weights, every_step=True, **kwargs
        )
        whole_number(self.length, f"{who} got length=", 2)
        self.every = whole_number(every, f"{who} got every=")
        self.warm_up = whole_number(warm_up, f"{who} got warm_up=", 0)
        self.tolerance = whole_number(tolerance, f"{who} got tolerance=", 0)
        self.changes = number(changes, f"{who} got changes=", 0.0, 1.0)
        self.background = background
        check_background(recordings, background, who)
        if background is not None and background >= self._labels.classes:
            raise ValueError(f"{who} got background={background}; expected one of {self._labels.classes} classes.")
        first = self.every - 1 if first is None else whole_number(first, f"{who} got first=", 0)
        self._ends = np.arange(first, self.length, self.every)
        if first >= self.every or not (self._ends >= self.warm_up).any():
            raise ValueError(
                f"{who} got length={self.length}, every={self.every}, first={first} and warm_up={self.warm_up}; "
                "expected windows with a decision behind their warm-up, the first of all within the first `every` "
                "steps."
            )
        self._groups = None if self._labels.of_steps else groups_of_streams(recordings)
        places = self._places_of(recordings, who)
        self._probabilities = places / places.sum()
        count = max(1, 2 * sum(map(len, recordings.signals)) // self.length)
        self.windows = count if windows is None else whole_number(windows, f"{who} got windows=")

    def __len__(self) -> int:
        return -(-self.windows // self.batch_size)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, L, F]`, labels `[B, J, ...]`, and weights `[B, J]` if there are."""
        random = np.random.default_rng((self.seed, self.epoch, index))
        size = min(self.batch_size, self.windows - index * self.batch_size)
        drawn = [self._draw(random) for _ in range(size)]
        windows, labels, changes = (np.stack(parts) for parts in zip(*drawn, strict=True))
        windows, mixture = self._vary(windows, random)
        learned = self._are_learned(changes)
        return (windows.astype(np.float32), *self._finish(labels[:, self._ends], mixture, learned))

    def _draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A window `[L, F]`, its labels `[L, ...]`, and the steps with another label than the one before, `[L]`."""
        pieces = [self._cut(index, steps, random) for index, steps in self._pieces(random)]
        signal, labels = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        changed = (labels[1:] != labels[:-1]).reshape(self.length - 1, -1).any(axis=1)
        return signal, labels, np.append(False, changed & (not self._of_quantities_of_steps))

    @property
    def _of_quantities_of_steps(self) -> bool:
        """Whether labels change all the time."""
        return self._labels.of_steps and self._labels.are_quantities

    def _pieces(self, random: np.random.Generator) -> Iterator[tuple[int, int]]:
        """The recordings that follow each other in a window, and how many steps of each."""
        index = int(random.choice(len(self.recordings), p=self._probabilities))
        if self._labels.of_steps:
            yield index, self.length
            return
        most = int(random.integers(1, self.length)) if random.random() < self.changes else self.length
        left = self.length
        while left:
            steps = min(most, left, len(self.recordings.signals[index]))
            yield index, steps
            left, most = left - steps, self.length
            index = self._follower(index, random)

    def _follower(self, index: int, random: np.random.Generator) -> int:
        """A recording that may follow, of another label if there is one; the background behind anything else."""
        labels = np.asarray(self.recordings.labels)
        members = np.flatnonzero(self._groups == self._groups[index])
        others = members[(labels[members] != labels[index]).reshape(len(members), -1).any(axis=1)]
        quiet = others[labels[others] == self.background] if self.background is not None else others[:0]
        return int(random.choice(next(choice for choice in (quiet, others, members) if len(choice))))

    def _cut(self, index: int, steps: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """So many steps of a recording from a random place on, and their labels."""
        signal = self.recordings.signals[index]
        if self._warp is None:
            times = np.arange(steps) + float(random.integers(len(signal) - steps + 1))
        else:
            reach = min(self._warp.speed(random) * (steps - 1), len(signal) - 1)
            times = self._warp.times(steps, reach, random) + random.uniform(0, len(signal) - 1 - reach)
        return read_signal(signal, times), self._labels.at(index, times, steps)

    def _are_learned(self, changed: np.ndarray) -> np.ndarray:
        """Which decisions are learned from, bool `[B, J]`."""
        steps = np.arange(self.length)
        last = np.maximum.accumulate(np.where(changed, steps, -self.tolerance), axis=1)
        return ((steps - last >= self.tolerance) & (steps >= self.warm_up))[:, self._ends]

    def _places_of(self, recordings: Recordings, who: str) -> np.ndarray:
        """At how many steps of each recording a window may begin, `[R]`."""
        steps = np.array([len(signal) for signal in recordings.signals], np.float64)
        if self._labels.of_steps:
            steps = np.maximum(steps - self.length + 1, 0)
        if not steps.any():
            longest = max((len(signal) for signal in recordings.signals), default=0)
            raise ValueError(f"{who} got length={self.length}; the longest recording has {longest} steps.")
        return steps
