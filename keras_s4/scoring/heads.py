"""What an output of a model means: classes, yes or no, several labels, or quantities. And which targets fit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

CLASSES, BINARY, MULTI_LABEL, REGRESSION = TASKS = ("classes", "binary", "multi_label", "regression")


@dataclasses.dataclass(frozen=True)
class Head:
    """What an output of a model means.

    Args:
        task: "classes" (the largest of C numbers is the class), "binary" (one number, yes or no), "multi_label" (each
            of C numbers yes or no) or "regression" (quantities).
        threshold: of "binary" and "multi_label", above which a number means yes: 0.5 for probabilities, 0 for logits.

    Raises:
        ValueError: another task.
    """

    task: str
    threshold: float = 0.5

    def __post_init__(self):
        if self.task not in TASKS:
            raise ValueError(f"Received task={self.task!r}; expected one of {', '.join(map(repr, TASKS))}, or a Head.")

    @property
    def has_labels(self) -> bool:
        """Whether it decides, rather than measures."""
        return self.task != REGRESSION

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Labels from outputs `[B, ..., C]`: int, `[B, ...]` of classes and yes or no, `[B, ..., C]` of several labels.

        Quantities are returned as they are.
        """
        if self.task == REGRESSION:
            return outputs
        if self.task == CLASSES:
            return outputs.argmax(axis=-1)
        found = (outputs > self.threshold).astype(int)
        return found[..., 0] if self.task == BINARY and found.shape[-1:] == (1,) and found.ndim > 1 else found

    def targets(self, y: Any, shape: Sequence[int], who: str) -> np.ndarray:
        """Targets in the form that `decide` gives; what does not fit is refused.

        Args:
            y: for outputs `[B, ..., C]` classes or truth values `[B, ...]` or `[B, ..., 1]`; classes also as rows of
                zeros and a one, or of probabilities, `[B, ..., C]`; several labels and quantities `[B, ..., C]`.
            shape: of the outputs.
            who: asks and of which output, for the message.

        Raises:
            TypeError: targets that are no real numbers.
            ValueError: another shape; NaN; classes that are not whole or that the model does not have.
        """
        labels, shape = _numbers(y, who), tuple(shape)
        inner = shape[:-1] if len(shape) > 1 else shape
        columns = shape[-1] if len(shape) > 1 else 1
        forms = {inner, (*inner, 1)}
        if self.task == MULTI_LABEL or (self.task == REGRESSION and columns > 1):
            forms = {shape}
        elif self.task == CLASSES:
            forms.add(shape)
        if labels.shape not in forms:
            expected = " or ".join(str(list(form)) for form in sorted(forms, key=lambda form: (len(form), form)))
            raise ValueError(
                f"{who} got targets of shape {list(labels.shape)} for outputs of shape {list(shape)} ({self.task}); "
                f"expected {expected}.{self._hint}"
            )
        if self.task == REGRESSION:
            return labels.astype(np.float64).reshape(shape)
        if self.task == CLASSES:
            if labels.shape == shape and columns > 1:
                return _of_rows(labels, who)
            return _whole(labels, columns, f"{who} got classes", self._hint).reshape(inner)
        return _whole(labels, 2, f"{who} got labels", self._hint).reshape(shape if self.task == MULTI_LABEL else inner)

    @property
    def _hint(self) -> str:
        return " If the output means something else, say so: task= one of " + ", ".join(map(repr, TASKS)) + "."


def are_whole(labels: np.ndarray) -> bool:
    """Whether targets are whole numbers, whatever their type."""
    return labels.dtype.kind in "biu" or bool(np.all(np.isfinite(labels)) and np.all(labels == np.rint(labels)))


def _numbers(y: Any, who: str) -> np.ndarray:
    try:
        labels = np.asarray(y)
    except ValueError as error:
        raise ValueError(f"{who} got targets in rows of different lengths ({error}); expected an array.") from error
    if labels.dtype.kind not in "biuf":
        example = labels.ravel()[0] if labels.size else None
        raise TypeError(
            f"{who} got targets of type {labels.dtype}, such as {example!r}; expected numbers. Number the classes from "
            "0: np.unique(y, return_inverse=True)[1]."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(
            f"{who} got targets with {np.count_nonzero(~np.isfinite(labels)):,} NaN or infinite values; remove these "
            "sequences."
        )
    return labels


def _whole(labels: np.ndarray, classes: int, what: str, hint: str) -> np.ndarray:
    if not are_whole(labels):
        odd = labels.ravel()[int(np.argmax(labels.ravel() != np.rint(labels.ravel())))]
        raise ValueError(f"{what} that are no whole numbers, such as {odd:g}; expected 0 to {classes - 1}.{hint}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"{what} from {labels.min():g} to {labels.max():g}; the model knows {classes}, from 0 to {classes - 1}. "
            f"Number them from 0.{hint}"
        )
    return labels.astype(int)


def _of_rows(labels: np.ndarray, who: str) -> np.ndarray:
    """Classes from rows of a one and zeros, or of probabilities."""
    sums = labels.sum(axis=-1)
    if labels.min() < 0 or not np.allclose(sums, 1.0, atol=1e-3):
        raise ValueError(
            f"{who} got rows of classes that hold {labels.min():g} to {labels.max():g} and sum to {sums.min():g} to "
            f"{sums.max():g}; expected a one and zeros, or probabilities."
        )
    return labels.argmax(axis=-1)
