"""What is learned from a window: what becomes of labels when windows are cut, forecast from, padded and mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_s4.checks import is_real, quote
from keras_s4.recordings import UNLABELLED, Recordings


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """The labels of recordings, and what a window takes of them.

    Args:
        values: of each recording its label, or of each step, arrays `[steps, ...]`; None for forecasts.
        of_steps: whether each step has one.
        every_step: whether a window takes the label of every step, rather than that of its last.
        classes: C where they are classes that exclude each other, else 0.
        weights: of each class, `[C]`, or None.
    """

    values: Sequence[np.ndarray]
    of_steps: bool
    every_step: bool
    classes: int
    weights: np.ndarray | None

    @classmethod
    def of(cls, recordings: Recordings, every_step: bool, classes: int | None, class_weights: Any, who: str) -> Labels:
        """Those of recordings; see `AugmentedWindows`.

        Raises:
            ValueError: weights of something else than classes, or that are not one for each.
        """
        first = np.asarray(recordings.labels[0])
        whole = first.dtype.kind in "biu" and first.ndim == int(recordings.has_step_labels)
        labels = recordings.labels if recordings.has_step_labels else [recordings.labels]
        largest = max(int(np.max(each, initial=0)) for each in labels) + 1 if whole else 0
        count = max(largest, classes or 0) if whole else 0
        if whole and classes is not None and largest > classes:
            raise ValueError(f"{who} got classes={classes} and label {largest - 1}; expected labels below {classes}.")
        weights = None if class_weights is None else _weights(class_weights, count, who)
        values = [_signed(each) for each in labels]
        values = values if recordings.has_step_labels else values[0]
        return cls(values, recordings.has_step_labels, every_step, count, weights)

    @property
    def are_quantities(self) -> bool:
        """Whether they are measured rather than counted."""
        return np.asarray(self.values[0]).dtype.kind == "f"

    def at(self, recording: int, times: np.ndarray, length: int) -> np.ndarray:
        """What a window that is read at `times` is to give.

        Args:
            recording: its number.
            times: of the steps of the window in it; outside of it nothing is known.
            length: steps of the window with its padding, whose labels are 0.
        """
        values = np.asarray(self.values[recording])
        if not self.every_step:
            return self._read(values, times[-1:])[0] if self.of_steps else values
        found = self._read(values, times) if self.of_steps else np.repeat(values[None], len(times), axis=0)
        return np.concatenate([found, np.zeros((length - len(times), *found.shape[1:]), found.dtype)])

    def _read(self, values: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Labels of steps between which one looks: of classes the nearest, of quantities what lies between."""
        last = len(values) - 1
        if self.are_quantities:
            before = np.clip(times.astype(np.int64), 0, max(last - 1, 0))
            part = np.clip(times - before, 0.0, 1.0).reshape(-1, *[1] * (values.ndim - 1))
            return (values[before] * (1 - part) + values[np.minimum(before + 1, last)] * part).astype(values.dtype)
        nearest = np.rint(times).astype(np.int64)
        found = values[np.clip(nearest, 0, last)]
        found[(nearest < 0) | (nearest > last)] = UNLABELLED
        return found

    def weigh(self, labels: np.ndarray) -> np.ndarray | None:
        """The weight of each label, 0 where there is none; None if all weigh alike."""
        return None if self.weights is None else weigh_classes(labels, self.weights)

    def mix(self, labels: np.ndarray, partners: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Labels of which each is mixed with that of another window; classes become rows of probabilities.

        Where one of the two is unknown, so is the mixture.
        """
        if self.classes:
            known = labels != UNLABELLED
            labels = np.eye(self.classes, dtype=np.float32)[np.maximum(labels, 0)]
            labels = np.where(known[..., None], labels, np.float32(UNLABELLED))
        mixed = blend(labels, partners, shares).astype(np.float32)
        if self.are_quantities:
            return mixed
        unknown = (labels == UNLABELLED) | (labels[partners] == UNLABELLED)
        return np.where(unknown, np.float32(UNLABELLED), mixed)


def weigh_classes(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What labels count for, float32.

    Args:
        labels: classes of any shape, or shares of them `[..., C]`; `UNLABELLED` counts for nothing.
        weights: of each class, `[C]`.
    """
    if labels.dtype.kind == "f":
        return (np.maximum(labels, 0.0) @ weights).astype(np.float32)
    return np.where(labels == UNLABELLED, 0.0, weights[np.maximum(labels, 0)]).astype(np.float32)


def blend(values: np.ndarray, partners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Each of `[B, ...]` with `1 - share` of another."""
    shares = shares.reshape(-1, *[1] * (values.ndim - 1))
    return shares * values + (1.0 - shares) * values[partners]


def forecasts_of(windows: np.ndarray, length: int, every_step: bool) -> tuple[np.ndarray, np.ndarray]:
    """Windows `[B, length + horizon, F]` as what is known and what is to be forecast.

    Returns:
        `[B, length, F]` and `[B, horizon, F]`, or with `every_step` `[B, length, horizon, F]`.
    """
    horizon = windows.shape[1] - length
    if not every_step:
        return windows[:, :length], windows[:, length:]
    steps = np.arange(length)[:, None] + 1 + np.arange(horizon)
    return windows[:, :length], windows[:, steps]


def _signed(labels: np.ndarray) -> np.ndarray:
    """Labels among which -1 is -1, and not 255."""
    labels = np.asarray(labels)
    return labels.astype(np.int64) if labels.dtype.kind in "bu" else labels


def _weights(class_weights: Any, classes: int, who: str) -> np.ndarray:
    if not classes:
        raise ValueError(f"{who} got class_weights, and labels that are no classes; expected whole numbers, one each.")
    if isinstance(class_weights, Mapping):
        missing = set(range(classes)) - set(class_weights)
        class_weights = [class_weights.get(label, 1.0) for label in range(classes)] if not missing else None
    weights = None if class_weights is None else np.asarray(class_weights, np.float64)
    if weights is None or weights.shape != (classes,) or not all(is_real(w) and w >= 0 for w in weights.tolist()):
        raise ValueError(
            f"{who} got class_weights={quote(class_weights)} for {classes} classes; expected a number of at least 0 "
            "for each."
        )
    return weights
