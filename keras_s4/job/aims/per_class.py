"""Figures of each class, and what is confused with what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion_of(targets: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was taken for each other, `[C, C]`; rows are the true classes."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (targets.ravel(), found.ravel()), 1)
    return counts


def figures_of_classes(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, object]]:
    """Precision, recall and F1 of each class, and its support; None where nothing was found or nothing is there."""
    right, found, there = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return [_figures(*numbers) for numbers in zip(names, right, found, there, strict=True)]


def figures_of_labels(targets: np.ndarray, found: np.ndarray, names: Sequence[str]) -> list[dict[str, object]]:
    """The same of several labels `[..., C]`, each of which is there or not."""
    columns = zip(names, targets.reshape(-1, len(names)).T, found.reshape(-1, len(names)).T, strict=True)
    return [_figures(name, (true & said).sum(), said.sum(), true.sum()) for name, true, said in columns]


def mean_of(figures: Sequence[dict[str, object]], key: str) -> float | None:
    """The mean over the classes that are there; what was never found counts as 0."""
    values = [each[key] or 0.0 for each in figures if each["support"]]
    return float(np.mean(values)) if values else None


def _figures(name: str, right: int, found: int, there: int) -> dict[str, object]:
    precision = float(right / found) if found else None
    recall = float(right / there) if there else None
    f1 = float(2 * right / (found + there)) if found + there else None
    return {"name": name, "precision": precision, "recall": recall, "f1": f1, "support": int(there)}
