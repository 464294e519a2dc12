"""Continuous streams from recordings that each have one label."""

from __future__ import annotations

import numpy as np

from keras_s4.checks import whole_number
from keras_s4.recordings.class_balance import labels_of_classes
from keras_s4.recordings.recordings import Recordings


def join_groups(recordings: Recordings, seed: int = 0, background: int | None = None) -> Recordings:
    """Streams in which one recording follows another, so that nobody knows where one begins.

    The recordings of each group (`groups_of_streams`) follow each other in a random order. With a background class, its
    recordings are spread evenly between the others.

    Recordings whose steps have labels are streams already, and stay as they are.

    Args:
        recordings: signals `[steps, features]`.
        seed: of the order, a whole number.
        background: the class that means that nothing happens, or None.

    Returns:
        One recording a group, with labels at each step.

    Raises:
        ValueError: there are no recordings, or the background is no class.
    """
    seed = whole_number(seed, "join_groups got seed=", 0)
    check_background(recordings, background, "join_groups")
    if not len(recordings):
        raise ValueError("join_groups got no recordings; expected at least one.")
    if recordings.has_step_labels:
        return recordings
    random, labels = np.random.default_rng(seed), recordings.step_labels()
    groups = groups_of_streams(recordings)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    streams = [_order(recordings, each, background, random) for each in members]
    return Recordings(
        [np.concatenate([recordings.signals[index] for index in stream]) for stream in streams],
        [np.concatenate([labels[index] for index in stream]) for stream in streams],
        recordings.subjects[[stream[0] for stream in streams]],
    )


def groups_of_streams(recordings: Recordings) -> np.ndarray:
    """Which recordings with one label each may follow each other in a stream, by a number, `[R]`.

    Those of one subject; or all, if no subject has two different labels, since nothing would ever change then.
    """
    _, groups = np.unique(recordings.subjects, return_inverse=True)
    _, kinds = np.unique(np.reshape(recordings.labels, (len(recordings), -1)), axis=0, return_inverse=True)
    pairs = np.unique(np.stack([groups.ravel(), kinds.ravel()], axis=1), axis=0)
    return groups if len(pairs) > len(np.unique(groups)) else np.zeros_like(groups)


def check_background(recordings: Recordings, background: int | None, who: str) -> None:
    """Refuses what is no class of recordings as the one that means that nothing happens.

    Raises:
        ValueError: no whole number, or labels that are no classes.
    """
    if background is None:
        return
    whole_number(background, f"{who} got background=", 0)
    if labels_of_classes(recordings) is None:
        raise ValueError(f"{who} got background={background} and labels that are no classes; expected None.")


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
