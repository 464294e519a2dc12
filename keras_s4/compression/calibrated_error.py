"""How far a reduced model is off on sequences like those it was calibrated on: probable, where certain says nothing.

What each layer that was reduced makes of the signals that it gets in the model itself is known for any sequence: its
own error, a matter of the input's spectrum. What becomes of it behind the layer is measured on calibration sequences,
on which activations have the slopes that they really have and errors of many channels mostly cancel. The worst case of
both, which a certain bound must count, is thousands of times larger on trained models.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from keras_s4.brief import Brief
from keras_s4.compression.output_error import before_activation

# Sequences below which nothing is said: without the margin, a bound is exceeded once in as many.
FEWEST = 40
# By which the largest error seen may be exceeded by recordings of other people than those of the calibration: by as
# many people as are enough, by fewer or by nobody knows whom, and behind a softmax or a sigmoid, where a few sequences
# hold all that is seen. On the smartwatch, windows of two people had errors of up to 1.08 times the largest of eight
# others, and 1.84 times the largest of two; of probabilities 2.03 and 2.43 times.
MARGIN, MARGIN_OF_FEW, MARGIN_BEHIND = 1.3, 1.9, 2.5
ENOUGH_GROUPS = 8
# How far beyond the calibration an own error, or its part of the layer's output, may lie.
TOLERANCE = 1.25
# Of the largest score: of smaller ones rounding would decide.
_LEAST = 1e-3
_TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison(Brief):
    """What a model and its reduced copy make of B sequences.

    Attributes:
        errors: `[B, K]`, of every reduced layer the norm of its own error, and that of the error's mean over time.
        parts: `[B, K]`, the same as parts of the layers' outputs.
        peak: `[B]`, the largest magnitude of the inputs of the model.
        outputs: of the model, and of its copy, `[B, F]` or `[B, L, F]`.
        measured: `[B, F]`, how far they are apart, norms over time.
    """

    errors: np.ndarray
    parts: np.ndarray
    peak: np.ndarray
    outputs: tuple[np.ndarray, np.ndarray]
    measured: np.ndarray

    @classmethod
    def of(cls, own: dict[str, tuple[np.ndarray, np.ndarray]], data: np.ndarray, **others) -> Comparison:
        """From own errors `[B, 2]` and sizes of outputs `[B]` by the name of the layer."""
        none = np.zeros((len(data), 0))
        errors = [none, *(error for error, _ in own.values())]
        parts = [none, *(error / np.maximum(size, _TINY)[:, None] for error, size in own.values())]
        peak = np.abs(data).reshape(len(data), -1).max(axis=1)
        return cls(np.concatenate(errors, axis=1), np.concatenate(parts, axis=1), peak, **others)


def check_enough(calibration: np.ndarray) -> None:
    """Refuses a calibration of which the largest error says little, before any work.

    Raises:
        ValueError: fewer than 40 sequences.
    """
    if len(calibration) < FEWEST:
        raise ValueError(
            f"error_bound got {len(calibration)} calibration sequences; expected at least {FEWEST}: of fewer, the "
            "largest error is exceeded too often."
        )


def count_groups(groups: Any, calibration: np.ndarray) -> int:
    """How many people or devices a calibration is of.

    Raises:
        ValueError: not one name a sequence.
    """
    groups = np.asarray(groups)
    if groups.shape != (len(calibration),):
        raise ValueError(
            f"error_bound got groups of shape {groups.shape} for {len(calibration)} calibration sequences; expected "
            "one name or number for each: whom it was recorded of."
        )
    return len(np.unique(groups))


def norm_and_mean(own: np.ndarray) -> np.ndarray:
    """`[B, 2]` of an own error `[B, L, F]` or `[B, F]`: its norm, and that of its mean over time at every step."""
    if own.ndim == 2:
        return np.repeat(np.linalg.norm(own, axis=1)[:, None], 2, axis=1)
    mean = math.sqrt(own.shape[1]) * np.linalg.norm(own.mean(axis=1), axis=1)
    return np.stack([np.linalg.norm(own, axis=(1, 2)), mean], axis=1)


class Calibration:
    """The largest error by a score that is known without it, over calibration sequences.

    What is fitted is one factor, the largest of the calibration. Scores below the median count as the median, so that
    the largest bound does not hang on how the smallest errors came about. A sequence that is exchangeable with the n
    of the calibration, such as another draw of the same source, exceeds its bound with a probability of some
    1 / (n + 1) even without the margin (conformal prediction).

    Args:
        scores: `[n]`, at least 0.
        measured: `[n, F]`, the errors; they count relative to the sizes that each of the F has here.
        margin: what the largest of them is multiplied by.
    """

    def __init__(self, scores: np.ndarray, measured: np.ndarray, margin: float):
        self._least = max(float(np.median(scores)), _LEAST * float(scores.max())) or 1.0
        sizes = np.maximum(np.sqrt(np.mean(measured**2, axis=0)), _TINY)
        relative = (measured / sizes).max(axis=1)
        self._factors = margin * np.max(relative / np.maximum(scores, self._least)) * sizes

    def bound(self, scores: np.ndarray) -> np.ndarray:
        """`[B, F]`, what sequences of these scores are off at most."""
        return np.maximum(scores, self._least)[:, None] * self._factors


class ProbableBound:
    """What outputs are off at most on sequences like some that were compared.

    Args:
        known: sequences of the calibration.
        groups: how many people or devices they are of; None if that is not known.
        activation: the last one of the model. In front of a softmax or a sigmoid errors hang on own errors; behind it,
            on what these can make of the outputs that the model has.

    Attributes:
        margin: a factor by which errors may be above those of the calibration.
    """

    def __init__(self, known: Comparison, groups: int | None, activation: str | None):
        self._known = known
        squares = np.mean(known.errors**2, axis=0)
        self._weights = np.where(squares > 0.0, 1.0 / np.sqrt(np.maximum(squares, _TINY)), 0.0)
        self._activation = front_of(activation, known.outputs)
        front_margin = MARGIN if groups is not None and groups >= ENOUGH_GROUPS else MARGIN_OF_FEW
        self.margin = front_margin if self._activation is None else MARGIN_BEHIND
        scores = self._scores(known)
        if self._activation is None:
            self._outputs = Calibration(scores, known.measured, self.margin)
            return
        front = [before_activation(each, self._activation).reshape(len(scores), -1) for each in known.outputs]
        self._front = Calibration(scores, np.linalg.norm(front[1] - front[0], axis=1, keepdims=True), front_margin)
        self._outputs = Calibration(self._behind(known), known.measured.max(axis=1, keepdims=True), self.margin)

    def of(self, asked: Comparison) -> np.ndarray:
        """`[B, F]`, from the own errors and the outputs of the model alone."""
        scores = self._scores(asked) if self._activation is None else self._behind(asked)
        return np.broadcast_to(self._outputs.bound(scores), asked.measured.shape)

    def meets(self, asked: Comparison) -> np.ndarray:
        """`[B]` bool: sequences whose peaks and own errors are not beyond those of the calibration."""
        known = self._known
        within = asked.peak <= TOLERANCE * known.peak.max()
        for now, then in ((asked.errors, known.errors), (asked.parts, known.parts)):
            within &= (now <= TOLERANCE * then.max(axis=0)).all(axis=1)
        return within

    def _scores(self, compared: Comparison) -> np.ndarray:
        return np.linalg.norm(compared.errors * self._weights, axis=1)

    def _behind(self, compared: Comparison) -> np.ndarray:
        front = self._front.bound(self._scores(compared))[:, 0]
        return through_activation(compared.outputs[0], front, self._activation)


def through_activation(outputs: np.ndarray, error: np.ndarray, activation: str) -> np.ndarray:
    """What outputs are off at most where that in front of their activation is off by so much; certain.

    Behind a softmax the odds of all other classes together grow by the factor `exp(sqrt(2) error)` at most, and no
    output is steeper than `2 p (1 - p)` of its largest probability.

    Args:
        outputs: `[B, F]` or `[B, L, F]` of the model.
        error: `[B]`, Euclidean norm over all steps and outputs.
        activation: "softmax" or "sigmoid".

    Returns:
        `[B]`, of any output, norms over time.
    """
    if activation == "sigmoid":
        return 0.25 * error
    if outputs.ndim > 2:
        return 0.5 * error
    largest = outputs.max(axis=1)
    odds = np.maximum(1.0 - largest, 2.0**-24) / largest * np.exp(np.minimum(math.sqrt(2.0) * error, 700.0))
    rest = np.minimum(odds / (1.0 + odds), 0.5)
    return np.minimum(2.0 * rest * (1.0 - rest) * error, 1.0)


def front_of(activation: str | None, outputs: tuple[np.ndarray, ...]) -> str | None:
    """The softmax or sigmoid, if the outputs are still what it gives, such as probabilities that add up to 1."""
    values = np.concatenate([each.reshape(-1, each.shape[-1]) for each in outputs])
    usable = activation in ("softmax", "sigmoid") and values.min() >= 0.0 and values.max() <= 1.0 + 1e-5
    if activation == "softmax" and usable:
        usable = bool(np.allclose(values.sum(axis=1), 1.0, atol=1e-3))
    return activation if usable else None
