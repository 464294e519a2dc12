"""Continuous streams from recordings that each have one label."""

from __future__ import annotations

import numpy as np

from keras_s4.checks import whole_number
from keras_s4.recordings.recordings import Recordings


def join_groups(recordings: Recordings, seed: int = 0, background: int | None = None) -> Recordings:
    """Streams in which one recording follows another, so that nobody knows where one begins.

    The recordings of each group follow each other in a random order. Where no group has several, all are one group.
    With a background class, its recordings are spread evenly between the others.

    Recordings whose steps have labels are streams already, and stay as they are.

    Args:
        recordings: signals `[steps, features]`.
        seed: of the order, a whole number.
        background: the class that means that nothing happens, or None.

    Returns:
        One recording a group, with labels at each step.

    Raises:
        ValueError: there are no recordings.
    """
    seed = whole_number(seed, "join_groups got seed=", 0)
    if not len(recordings):
        raise ValueError("join_groups got no recordings; expected at least one.")
    if recordings.has_step_labels:
        return recordings
    random, labels = np.random.default_rng(seed), recordings.step_labels()
    streams = [_order(recordings, members, background, random) for members in _groups(recordings)]
    return Recordings(
        [np.concatenate([recordings.signals[index] for index in stream]) for stream in streams],
        [np.concatenate([labels[index] for index in stream]) for stream in streams],
        recordings.subjects[[stream[0] for stream in streams]],
    )


def _groups(recordings: Recordings) -> list[np.ndarray]:
    """The indices of the recordings of each group."""
    groups, counts = np.unique(recordings.subjects, return_counts=True)
    if counts.max() == 1:
        return [np.arange(len(recordings))]
    return [np.flatnonzero(recordings.subjects == group) for group in groups]


def _order(
    recordings: Recordings, members: np.ndarray, background: int | None, random: np.random.Generator
) -> np.ndarray:
    """Recordings of a group in a random order, those of the background evenly between the others."""
    members = random.permutation(members)
    if background is None:
        return members
    quiet = recordings.labels[members] == background
    places = np.empty(len(members))
    for part in (quiet, ~quiet):
        places[part] = (np.arange(part.sum()) + 0.5) / max(part.sum(), 1)
    return members[np.lexsort((~quiet, places))]
