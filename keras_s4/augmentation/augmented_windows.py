"""Batches of windows that are cut and varied anew in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_s4.augmentation.aims import forecasts_of
from keras_s4.augmentation.transforms import Transform
from keras_s4.augmentation.varied_windows import VariedWindows, read_signal
from keras_s4.checks import number, truth_value, whole_number
from keras_s4.recordings import UNLABELLED, Recordings


class Place(NamedTuple):
    """Where a window begins, before it is varied."""

    recording: int
    start: int


class AugmentedWindows(VariedWindows):
    """Batches of windows cut from recordings and varied anew in every epoch. Equal seeds and epochs give equal windows.

    An epoch has each window once, `hop` steps apart, in a new order, moved by up to half a hop; transforms vary them.
    Time is varied first (`Warp`, `Shift`), and what else there is in the order given. Labels follow: those of steps are
    read where the window is read, forecasts are cut from the varied signal, and mixed windows have mixed labels.

    A batch is `(x, y)`, with `class_weights` `(x, y, weights)`. `keras_s4.compile_classifier` and its siblings take all
    of it: labels of -1 (`keras_s4.recordings.UNLABELLED`), rows of probabilities, weights of windows or steps.

    Args:
        recordings: signals `[steps, F]` with labels of recordings or of steps.
        length: L, steps of a window.
        batch_size: B.
        seed: whole number.
        hop: steps from one window to the next; by default half a window.
        transforms: of `keras_s4.augmentation`.
        sensors: what the features are, such as those of a Task: objects with `axes`, and with `vector` "polar" or
            "axial" where three axes are a vector.
        every_step: whether labels are those of every step, `[B, L]`, rather than that of the last step or of the
            recording; of forecasts, whether there is one from every step.
        horizon: if the next steps are to be forecast, how many; the recordings need no labels then.
        classes: C; by default as many as the labels show. Only mixing needs it.
        class_weights: of each class, in a sequence or a dict.
        mask_value: if given, recordings shorter than a window are windows of their own, with this value behind them in
            all features, as `keras_s4.models.classifier(..., mask_value=)` reads it. Otherwise they are left out.
        buckets: into how many groups of like length windows go where they have lengths of their own; each batch is as
            long as its group needs. For models of inputs of any length; 1 pads all to L.

    Raises:
        TypeError: no recordings, or no transforms.
        ValueError: no window; numbers out of range; transforms that do not fit the recordings or what is learned.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int,
        batch_size: int = 32,
        seed: int = 0,
        *,
        hop: int | None = None,
        transforms: Iterable[Transform] = (),
        sensors: Sequence[Any] = (),
        every_step: bool = False,
        horizon: int = 0,
        classes: int | None = None,
        class_weights: Sequence[float] | Mapping[int, float] | None = None,
        mask_value: float | None = None,
        buckets: int = 1,
        **kwargs,
    ):
        who = type(self).__name__
        self.every_step = truth_value(every_step, f"{who} got every_step=")
        self.horizon = whole_number(horizon, f"{who} got horizon=", 0)
        super().__init__(
            recordings,
            length,
            batch_size,
            seed,
            transforms,
            sensors,
            classes,
            class_weights,
            self.every_step,
            self.horizon,
            **kwargs,
        )
        self.hop = whole_number(max(1, self.length // 2) if hop is None else hop, f"{who} got hop=")
        self.mask_value = None if mask_value is None else number(mask_value, f"{who} got mask_value=")
        self.buckets = whole_number(buckets, f"{who} got buckets=")
        self._check(who, class_weights)
        self._places = self._find_places()
        self._groups = self._group_places()
        self._order: tuple[int | None, list] = (None, [])

    def __len__(self) -> int:
        return sum(-(-len(group) // self.batch_size) for group, _ in self._groups)

    def __getitem__(self, index: int):
        """Batch `index` of this epoch: windows `[B, L, F]`, labels, and weights if there are some."""
        places, length = self._batch(index)
        random = np.random.default_rng((self.seed, self.epoch, index))
        return self._make(places, length, random)

    def _make(self, places: Sequence[Place], length: int, random: np.random.Generator):
        cuts = [self._cut(place, length, random) for place in places]
        span = length + self.horizon
        windows = np.stack([_pad(read_signal(self.recordings.signals[r], times), span) for r, times in cuts])
        if self.horizon:
            windows, _ = self._vary(windows, random, inputs_only=False)
            x, y = forecasts_of(windows, length, self.every_step)
            x, _ = self._vary(x.copy(), random, inputs_only=True)
            return x.astype(np.float32), y.astype(np.float32)
        x, mixture = self._vary(windows, random)
        for row, (_, times) in zip(x, cuts, strict=True):
            row[len(times) :] = self.mask_value
        labels = np.stack([self._labels.at(recording, times, length) for recording, times in cuts])
        learned = None
        if self.every_step and self.mask_value is not None:
            learned = np.arange(length) < np.array([[len(times)] for _, times in cuts])
        return (x.astype(np.float32), *self._finish(labels, mixture, learned))

    def _cut(self, place: Place, length: int, random: np.random.Generator) -> tuple[int, np.ndarray]:
        """A recording, and the times in it that a window is read at, the last of them where a label is known."""
        for _ in range(8):
            times = self._times(place, length, random)
            if not self._needs_label() or self._is_known(place.recording, times):
                return place.recording, times
        return place.recording, place.start + np.arange(length, dtype=np.float64)

    def _times(self, place: Place, length: int, random: np.random.Generator) -> np.ndarray:
        steps = len(self.recordings.signals[place.recording])
        span = length + self.horizon
        speed = self._warp.speed(random) if self._warp else 1.0
        if self.mask_value is not None and steps <= self.length:
            span = min(max(round((steps - 1) / speed) + 1, min(steps, 2)), length)
            reach = steps - 1
        else:
            reach = min(speed * (span - 1), steps - 1)
        times = self._warp.times(span, reach, random) if self._warp else np.arange(span, dtype=np.float64)
        start = self._start(place, steps - 1 - times[-1], random)
        shift = self._shift.steps(span, random) if self._shift else 0
        return times + start + shift

    def _start(self, place: Place, slack: float, random: np.random.Generator) -> float:
        """Where a window begins, at most `slack`: near its place, on a whole step where nothing is warped."""
        start = min(max(place.start + random.uniform(-0.5, 0.5) * self.hop, 0.0), slack)
        return start if self._warp else float(np.floor(start))

    def _needs_label(self) -> bool:
        return self._labels is not None and self._labels.of_steps and not self.every_step and self._shift is None

    def _is_known(self, recording: int, times: np.ndarray) -> bool:
        label = self._labels.at(recording, times, len(times))
        return self._labels.are_quantities or bool(np.all(label != UNLABELLED))

    def _batch(self, index: int) -> tuple[list[Place], int]:
        """The places of a batch, and how many steps its windows have."""
        if self._order[0] != self.epoch:
            self._order = self.epoch, self._draw_order(self.epoch)
        return self._order[1][index]

    def _draw_order(self, epoch: int) -> list[tuple[list[Place], int]]:
        """The batches of an epoch."""
        random = np.random.default_rng((self.seed, epoch))
        batches = []
        for group, length in self._groups:
            order = random.permutation(len(group))
            for first in range(0, len(group), self.batch_size):
                batches.append(([group[number] for number in order[first : first + self.batch_size]], length))
        if len(self._groups) > 1:
            batches = [batches[number] for number in random.permutation(len(batches))]
        return batches

    def _find_places(self) -> list[Place]:
        span = self.length + self.horizon
        found = []
        for recording, signal in enumerate(self.recordings.signals):
            if self.mask_value is not None and 0 < len(signal) < span:
                found.append(Place(recording, 0))
            found += [Place(recording, start) for start in range(0, len(signal) - span + 1, self.hop)]
        if not found:
            longest = max((len(signal) for signal in self.recordings.signals), default=0)
            raise ValueError(f"No recording holds a window of {span} steps; the longest has {longest}.")
        if self._labels is None or not self._labels.of_steps:
            return found
        known = [place for place in found if self._is_labelled(place)]
        if not known:
            raise ValueError(f"None of the {len(found)} windows of {span} steps ends where a label is known.")
        return known

    def _is_labelled(self, place: Place) -> bool:
        """Whether the last step of a window has a label, or of windows with labels of every step any step."""
        steps = min(self.length, len(self.recordings.signals[place.recording]))
        labels = self._labels.at(place.recording, place.start + np.arange(steps, dtype=np.float64), steps)
        return self._labels.are_quantities or bool(np.any(labels != UNLABELLED))

    def _group_places(self) -> list[tuple[list[Place], int]]:
        """Windows of like length, and the steps that each group needs."""
        if self.buckets == 1:
            return [(self._places, self.length)]
        signals = self.recordings.signals
        lengths = np.array([min(len(signals[place.recording]), self.length) for place in self._places])
        order = np.argsort(lengths, kind="stable")
        groups = [group for group in np.array_split(order, self.buckets) if len(group)]
        return [([self._places[i] for i in group], int(lengths[group].max())) for group in groups]

    def _check(self, who: str, class_weights: Any) -> None:
        """Refuses arguments that do not fit each other."""
        if self.horizon and (self._shift or class_weights is not None or self.mask_value is not None):
            raise ValueError(
                f"{who} got horizon={self.horizon} and Shift, class_weights or mask_value; a forecast has neither "
                "classes nor padding, and nothing behind the end of its recording."
            )
        if self.mask_value is not None:
            self._check_padding(who)
        elif self.buckets > 1:
            raise ValueError(
                f"{who} got buckets={self.buckets} and no mask_value; all windows have equal lengths then."
            )

    def _check_padding(self, who: str) -> None:
        if self._mix:
            raise ValueError(
                f"{who} got Mix and mask_value={self.mask_value}; windows of unlike lengths cannot be mixed."
            )
        padded = sum(int(np.all(signal == self.mask_value, axis=1).sum()) for signal in self.recordings.signals)
        if padded:
            raise ValueError(
                f"{who} got mask_value={self.mask_value}, which {padded} steps of the recordings have in all features; "
                "they would be taken for padding. Choose a value that does not occur, such as -1000."
            )


def _pad(window: np.ndarray, steps: int) -> np.ndarray:
    """A window with its last step again and again behind it, for transforms to see nothing odd."""
    return np.concatenate([window, np.repeat(window[-1:], steps - len(window), axis=0)])
