"""What makes a test say too much: one recording on two sides, or two copies of it; and what makes it say nothing."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_s4.recordings.class_balance import labels_of_classes
from keras_s4.recordings.overlaps import find_overlaps
from keras_s4.recordings.recordings import Recordings

SIDES = ("training", "validation", "test")
# Signals of which fewer numbers change than these are equal by chance, as those of rest are.
LEAST_CHANGES = 16
# Of what is found that many are named.
SHOWN = 5


def check_sources(splits: Sequence[Recordings]) -> list[str]:
    """Warns where windows of one recording, or equal signals, are in two of training, validation and test.

    Windows that somebody cut before are known by stretches that they share, number by number.

    Args:
        splits: training, validation and test, as the functions of `keras_s4.recordings.splitting` return them. In
            splits in time one recording is on all sides on purpose.

    Returns:
        What was warned of.
    """
    found = []
    hashes = [dict(zip(signal_hashes(part), part.sources, strict=True)) for part in splits]
    for one, other in itertools.combinations(range(len(splits)), 2):
        sides = f"in both {SIDES[one]} and {SIDES[other]}"
        shared = set() if getattr(splits, "in_time", False) else _shared_sources(splits[one], splits[other])
        if shared:
            found.append(
                f"Windows of {_count(len(shared), 'recording')} ({_some(shared)}) are {sides}: the score will be "
                "better than that of new recordings. Split by group or by recording."
            )
        equal = (hashes[one].keys() & hashes[other].keys()) - {None}
        copies = [(hashes[one][key], hashes[other][key]) for key in equal]
        if copies:
            found.append(
                f"{_count(len(copies), 'signal')} {'is' if len(copies) == 1 else 'are'} {sides}, number by number "
                f"(recordings {_some(f'{a} and {b}' for a, b in copies)}): copies of a file? Remove them, or give them "
                "one group."
            )
        pairs = [pair for pair in find_overlaps(splits[one], splits[other]) if _differ(splits, one, other, pair)]
        pairs = [(splits[one].sources[a], splits[other].sources[b]) for a, b in pairs]
        if not shared and pairs:
            found.append(
                f"{_count(len(pairs), 'signal')} or more in {SIDES[other]} hold steps that are in {SIDES[one]} too, "
                f"number by number (recordings {_some(f'{a} and {b}' for a, b in pairs)}): windows that overlap? Give "
                "those of one recording one group, or bring recordings as they are."
            )
    for message in found:
        warnings.warn(message, UserWarning, stacklevel=1)
    return found


def check_classes(splits: Sequence[Recordings], names: Sequence[str] = (), who: str = "The split") -> list[str]:
    """Refuses a class that is validated or tested and never trained; warns of one that is never tested.

    Args:
        splits: training, validation and test, or the first two; labels other than classes or rows of zeros and
            ones are not looked at.
        names: of the classes.
        who: asks, for the message.

    Returns:
        What was warned of.

    Raises:
        ValueError: training does not have a class that another part has.
    """
    there = [_classes_of(part) for part in splits]
    if any(classes is None for classes in there):
        return []

    def name(classes: set[int]) -> str:
        return _some(names[index] if index < len(names) else index for index in sorted(classes))

    for side, part, classes in zip(SIDES[1:], splits[1:], there[1:], strict=False):
        if unseen := classes - there[0]:
            groups = _groups_with(part, unseen)
            raise ValueError(
                f"{who}: class {name(unseen)} is in {side} only{f' (group {_some(groups)})' if groups else ''}; no "
                "model can know what it was never shown. Record it with more groups, take another fold or fewer "
                "folds, or leave the class out."
            )
    nowhere = set(range(len(names))) - set.union(*there) if len(splits) == len(SIDES) else set()
    found = [f"Class {name(nowhere)} is in no recording; no model can learn it."] if nowhere else []
    found += [
        f"Class {name(there[0] - classes)} is not in {side}: its score there says nothing about it."
        for side, classes in zip(SIDES[1:], there[1:], strict=False)
        if there[0] - classes
    ]
    for message in found:
        warnings.warn(message, UserWarning, stacklevel=1)
    return found


def _differ(splits: Sequence[Recordings], one: int, other: int, pair: tuple[int, int]) -> bool:
    """Whether two signals are not copies as a whole."""
    return not np.array_equal(splits[one].signals[pair[0]], splits[other].signals[pair[1]])


def is_lively(signal: np.ndarray) -> bool:
    """Whether so many numbers of a signal `[steps, ...]` change that an equal one must be its copy."""
    return np.count_nonzero(np.nan_to_num(np.diff(signal, axis=0))) >= LEAST_CHANGES


def signal_hashes(recordings: Recordings) -> list[str | None]:
    """A text for each signal `[R]` that two have in common if one is a copy of the other; None for those at rest."""
    signals = [np.asarray(signal, np.float32) for signal in recordings.signals]
    return [_hash(signal) if is_lively(signal) else None for signal in signals]


def _hash(signal: np.ndarray) -> str:
    return f"{signal.shape} {hashlib.sha256(np.ascontiguousarray(signal).tobytes()).hexdigest()}"


def _shared_sources(one: Recordings, other: Recordings) -> set[Any]:
    """The sources that both have; none where both are numbered by default, each from 0, and so know nothing."""
    if all(np.array_equal(part.sources, np.arange(len(part))) for part in (one, other)):
        return set()
    return set(np.asarray(one.sources).tolist()) & set(np.asarray(other.sources).tolist())


def _classes_of(recordings: Recordings) -> set[int] | None:
    """The classes that are there; of rows of zeros and ones the columns with a one; None of quantities."""
    parts = labels_of_classes(recordings)
    if parts is not None:
        return set(np.unique(np.concatenate(parts)).tolist()) if parts else set()
    labels = np.concatenate(recordings.labels) if recordings.has_step_labels else np.asarray(recordings.labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        return None
    return set(np.flatnonzero(labels.any(axis=0)).tolist())


def _groups_with(recordings: Recordings, classes: set[int]) -> set[Any]:
    """The groups that have one of the classes; none where labels are rows."""
    labels = labels_of_classes(recordings)
    if labels is None:
        return set()
    subjects = np.asarray(recordings.subjects).tolist()
    return {group for group, own in zip(subjects, labels, strict=True) if classes & set(own.tolist())}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _some(values: Any) -> str:
    """The first few, and how many there are."""
    values = sorted(values, key=str)
    return ", ".join(map(str, values[:SHOWN])) + (f", ... {len(values)} in all" if len(values) > SHOWN else "")
