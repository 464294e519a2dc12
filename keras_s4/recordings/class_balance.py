"""How often each class is there, and what its samples weigh in a training where all classes count alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_s4.recordings.recordings import UNLABELLED, Recordings


def class_weights(labels: Any, classes: int | None = None) -> np.ndarray:
    """Weights with which each class that is there has an equal share in a loss, `[C]` float32.

    A class weighs n / (c n_k), with n labels in all, n_k of class k, and c classes that are there; 0 if it is not. The
    mean over the labels is 1.

    Args:
        labels: whole numbers of any shape, or a list of such arrays; `UNLABELLED` counts for nothing.
        classes: C; by default up to the largest label.

    Raises:
        TypeError: labels that are no whole numbers: several labels at a time, or quantities.
        ValueError: no label, or a class that there is not.
    """
    parts = labels if isinstance(labels, (list, tuple)) else [labels]
    joined = np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0, int)
    if joined.dtype.kind not in "iub":
        raise TypeError(f"class_weights got labels of type {joined.dtype}; expected whole numbers, one class a label.")
    known = joined[joined != UNLABELLED].astype(int)
    if not known.size:
        raise ValueError("class_weights got no label; expected some.")
    most = classes if classes is not None else int(known.max()) + 1
    if known.min() < 0 or known.max() >= most:
        wrong = known.min() if known.min() < 0 else known.max()
        raise ValueError(f"class_weights got class {wrong}; expected classes from 0 to {most - 1}.")
    counts = np.bincount(known, minlength=most)
    shares = len(known) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 0.0).astype(np.float32)


def labels_of_classes(recordings: Recordings) -> list[np.ndarray] | None:
    """The classes of each recording, `[1]` or of its steps `[steps]`, without `UNLABELLED`; None if labels are others.

    Labels are classes where they are whole numbers, one a recording or step.
    """
    parts = recordings.labels if recordings.has_step_labels else list(np.asarray(recordings.labels)[:, None])
    parts = [np.asarray(part) for part in parts]
    if any(part.ndim != 1 or part.dtype.kind not in "iub" for part in parts):
        return None
    return [part[part != UNLABELLED].astype(int) for part in parts]
