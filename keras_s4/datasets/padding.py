"""Recordings of mixed lengths as windows of one: padded at the end, with steps that a model masks."""

from __future__ import annotations

import numpy as np

from keras_s4.recordings import UNLABELLED, Recordings

# The value of all features of a padded step, as `mask_value` of `keras_s4.models`; no sensor gives it.
PADDING = -1e6


def pad_recordings(recordings: Recordings, length: int, hop: int) -> Recordings:
    """Each recording as one of `length` steps, with `PADDING` behind its own; of longer ones all windows.

    A label of steps becomes the one of the last real step; where that has none, the window is left out.

    Raises:
        ValueError: no window ends where a label is known.
    """
    pieces = []
    for index, signal in enumerate(recordings.signals):
        count = max(1, (len(signal) - length) // hop + 1)
        pieces += [(index, start, min(start + length, len(signal))) for start in range(0, count * hop, hop)]
    if recordings.has_step_labels:
        found, pieces = pieces, [piece for piece in pieces if _ends_with_a_label(recordings, *piece)]
        if not pieces:
            raise ValueError(f"None of the {len(found)} windows of {length} steps ends where a label is known.")
    taken = recordings.take([index for index, *_ in pieces])
    labels = taken.labels
    if recordings.has_step_labels:
        labels = np.stack([recordings.labels[index][end - 1] for index, _, end in pieces])
    signals = [
        np.pad(recordings.signals[index][start:end], ((0, length - end + start), (0, 0)), constant_values=PADDING)
        for index, start, end in pieces
    ]
    return Recordings(signals, labels, taken.subjects, taken.sources)


def _ends_with_a_label(recordings: Recordings, index: int, start: int, end: int) -> bool:
    labels = np.asarray(recordings.labels[index][start:end])
    return len(labels) > 0 and (labels.dtype.kind == "f" or bool(np.all(labels[-1] != UNLABELLED)))
