"""Windows whose targets are more than one label: of every step, or the steps that follow."""

from __future__ import annotations

import numpy as np

from keras_s4.recordings import UNLABELLED, Labelled, Recordings


def step_windows(recordings: Recordings, length: int, hop: int) -> Labelled:
    """Windows `[W, length, features]` with the labels of all their steps, `[W, length, ...]`.

    Windows without any label are left out.

    Raises:
        ValueError: see `Recordings.windows`; no window has a label.
    """
    starts = _starts(recordings, length, hop)
    labels = recordings.step_labels()
    x, y = (_cut(arrays, starts, 0, length) for arrays in (recordings.signals, labels))
    known = np.ones(len(y), bool) if y.dtype.kind == "f" else (y != UNLABELLED).reshape(len(y), -1).any(axis=1)
    if not known.any():
        raise ValueError(f"None of the {len(y)} windows of {length} steps has a label.")
    return x[known], y[known]


def forecast_windows(recordings: Recordings, length: int, hop: int, horizon: int) -> Labelled:
    """Windows `[W, length, features]` with the steps behind each, `[W, horizon, features]`.

    Raises:
        ValueError: see `Recordings.windows`, of `length + horizon` steps.
    """
    starts = _starts(recordings, length + horizon, hop)
    signals = recordings.signals
    return _cut(signals, starts, 0, length), _cut(signals, starts, length, length + horizon)


def shifted_windows(recordings: Recordings, length: int, hop: int, horizon: int) -> Labelled:
    """Windows `[W, length, features]` with what comes `horizon` steps behind each step, `[W, length, features]`.

    Raises:
        ValueError: see `forecast_windows`.
    """
    starts = _starts(recordings, length + horizon, hop)
    signals = recordings.signals
    return _cut(signals, starts, 0, length), _cut(signals, starts, horizon, length + horizon)


def _starts(recordings: Recordings, length: int, hop: int) -> list[range]:
    return [range(0, count * hop, hop) for count in recordings.window_counts(length, hop)]


def _cut(arrays: list[np.ndarray], starts: list[range], first: int, last: int) -> np.ndarray:
    """From each start the steps `first` to `last`, `[W, last - first, ...]`."""
    return np.stack(
        [array[start + first : start + last] for array, own in zip(arrays, starts, strict=True) for start in own]
    )
