"""What all data sets of windows that are varied anew in every epoch have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.augmentation.aims import Labels, blend
from keras_s4.augmentation.transforms import Features, Mix, Shift, Transform, Warp
from keras_s4.augmentation.vectors import vectors_of
from keras_s4.checks import quote, whole_number
from keras_s4.recordings import UNLABELLED, Recordings

Mixture = tuple[np.ndarray, np.ndarray]


class VariedWindows(keras.utils.PyDataset):
    """Windows of recordings, varied by transforms; a subclass says which a batch has.

    Args:
        recordings: signals `[steps, F]` with labels of recordings or of steps.
        length: L, steps of a window.
        batch_size: B.
        seed: whole number.
        transforms: of `keras_s4.augmentation`, of each kind that cuts or mixes one at most.
        sensors: what the features are.
        classes: C; None for as many as the labels show.
        class_weights: of each class; None for 1.
        every_step: whether a window has the labels of all of its steps.
        horizon: steps to forecast, in place of labels.

    Attributes:
        epoch: chooses the windows and their variations.
    """

    def __init__(
        self,
        recordings: Recordings,
        length: int,
        batch_size: int,
        seed: int,
        transforms: Iterable[Transform],
        sensors: Sequence[Any],
        classes: int | None,
        class_weights: Sequence[float] | Mapping[int, float] | None,
        every_step: bool,
        horizon: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        who = type(self).__name__
        if not isinstance(recordings, Recordings):
            raise TypeError(
                f"{who} got recordings={quote(recordings)}; expected keras_s4.datasets.Recordings(signals, labels, "
                "subjects)."
            )
        self.recordings = recordings
        self.length = whole_number(length, f"{who} got length=")
        self.batch_size = whole_number(batch_size, f"{who} got batch_size=")
        self.seed = whole_number(seed, f"{who} got seed=", 0)
        self.transforms = tuple(transforms)
        self.epoch = 0
        self._features = features_of(recordings, sensors, who)
        self._labels = None if horizon else Labels.of(recordings, every_step, classes, class_weights, who)
        check_transforms(self.transforms, self._features, not horizon and self._labels.are_quantities, who)
        self._warp, self._shift, self._mix = (self._only(kind) for kind in (Warp, Shift, Mix))

    def on_epoch_end(self):
        """Makes the next epoch draw other windows."""
        self.epoch += 1

    def _vary(
        self, windows: np.ndarray, random: np.random.Generator, inputs_only: bool | None = None
    ) -> tuple[np.ndarray, Mixture | None]:
        """Windows varied, in the order given, and how they were mixed, if they were.

        Args:
            windows: `[B, T, F]`, float64; may be changed.
            random: what is drawn from.
            inputs_only: whether by the transforms that are for inputs alone, or by the others; None for all.
        """
        mixture = None
        for transform in self.transforms:
            if isinstance(transform, (Warp, Shift)) or inputs_only not in (None, transform.inputs_only):
                continue
            if isinstance(transform, Mix):
                mixture = transform.shares(len(windows), random)
                windows = blend(windows, *mixture)
            else:
                windows = transform.apply(windows, random, self._features)
        return windows, mixture

    def _finish(
        self, labels: np.ndarray, mixture: Mixture | None, learned: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Labels as they are learned from, and their weights if there are some.

        Which of the two a batch has depends on the data set alone, as Keras wants all batches alike.

        Args:
            labels: `[B, ...]`, or of several steps `[B, J, ...]`.
            mixture: how windows were mixed.
            learned: which steps are learned from, bool `[B, J]`; None for all.
        """
        if learned is not None and not self._labels.are_quantities:
            labels = np.where(learned.reshape(*learned.shape, *[1] * (labels.ndim - 2)), labels, UNLABELLED)
        if mixture is not None:
            labels = self._labels.mix(labels, *mixture)
        if learned is None or not self._labels.are_quantities:
            weights = self._labels.weigh(labels)
        else:
            weights = (learned if mixture is None else learned & learned[mixture[0]]).astype(np.float32)
        return (labels,) if weights is None else (labels, weights)

    def _only(self, kind: type) -> Any:
        found = [transform for transform in self.transforms if isinstance(transform, kind)]
        if len(found) > 1:
            raise ValueError(
                f"{type(self).__name__} got {len(found)} transforms {kind.__name__}; expected at most one."
            )
        return found[0] if found else None


def check_transforms(transforms: Iterable[Transform], features: Features, quantities: bool, who: str) -> None:
    """Refuses what is no transform, or does not fit the features or the targets, which may be quantities."""
    for transform in transforms:
        name = type(transform).__name__
        if not isinstance(transform, Transform):
            raise TypeError(
                f"{who} got {quote(transform)} among its transforms; expected those of keras_s4.augmentation, such as "
                "Jitter(0.05)."
            )
        if transform.needs_vectors and not features.vectors:
            raise ValueError(
                f"{who} got {name}, and no sensor whose three axes are a vector; say so of the sensor: "
                "Sensor(..., vector='polar') for accelerations, 'axial' for angular velocities."
            )
        if transform.may_change_targets and quantities and not getattr(transform, "keeps_targets", False):
            raise ValueError(
                f"{who} got {name} for quantities, which it may change without changing the targets; leave it out, or "
                f"say that they are independent of it: {name}(..., keeps_targets=True)."
            )


def features_of(recordings: Recordings, sensors: Sequence[Any], who: str) -> Features:
    """What transforms are told of the features; sensors, if given, have to describe each of them."""
    counts = {signal.shape[1] if signal.ndim == 2 else None for signal in recordings.signals}
    if len(counts) != 1 or None in counts:
        raise ValueError(
            f"{who} got signals of shapes {sorted({s.shape[1:] for s in recordings.signals})}; expected "
            "[steps, features], with equally many features."
        )
    axes = [len(sensor.axes) for sensor in sensors]
    (found,) = counts
    if axes and sum(axes) != found:
        raise ValueError(f"{who} got sensors of {sum(axes)} axes and recordings of {found} features; expected as many.")
    return Features.of(recordings.signals, axes or None, vectors_of(sensors))


def read_signal(signal: np.ndarray, times: np.ndarray) -> np.ndarray:
    """A signal between its steps, `[T, F]`; beyond its ends it stays as it is there."""
    if len(signal) == 1:
        return np.repeat(signal.astype(np.float64), len(times), axis=0)
    times = np.clip(times, 0.0, len(signal) - 1.0)
    before = np.minimum(times.astype(np.int64), len(signal) - 2)
    fraction = (times - before)[:, None]
    return signal[before] * (1 - fraction) + signal[before + 1] * fraction
