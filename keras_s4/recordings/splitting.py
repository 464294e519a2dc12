"""Recordings split for training, validation and test, so that the test says what new recordings would.

Validation rotates with the test: fold f tests part f of the recordings and validates another, so that over all folds
each part tests once and validates once, and no fold is another with validation and test exchanged.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from keras_s4.checks import is_whole, quote, whole_number
from keras_s4.recordings.class_balance import class_weights, labels_of_classes
from keras_s4.recordings.leaks import check_classes, check_sources, signal_hashes
from keras_s4.recordings.recordings import Recordings

__all__ = [
    "Splits",
    "check_classes",
    "check_sources",
    "class_weights",
    "hold_back",
    "hold_out",
    "split_by_group",
    "split_by_source",
    "split_in_time",
]

# Into how many samples all steps are counted where classes are spread over folds; scikit-learn counts them in Python.
SAMPLES = 20_000


class Splits(NamedTuple):
    """Recordings for three purposes, no group in two of them."""

    train: Recordings
    validation: Recordings
    test: Recordings

    # Whether parts of one recording are meant to be on several sides.
    in_time = False


class SplitsInTime(Splits):
    """Parts of the same recordings at different times."""

    in_time = True


def split_by_group(
    recordings: Recordings, fold: int = 0, folds: int = 5, stratified: bool = True, names: Sequence[str] = ()
) -> Splits:
    """No group, a person or a machine, in two of training, validation and test.

    The groups are put into as many parts as there are folds, of about as many steps each. Fold f tests part f and
    validates the part that is a fixed number behind it, the smallest with which all classes are trained in all folds.

    Args:
        recordings: whose `subjects` are the groups.
        fold: from 0 to `folds` - 1.
        folds: K of 3 or more, and at most the number of groups.
        stratified: whether labels are classes, each of which should be in all parts (scikit-learn's
            StratifiedGroupKFold, if it fills all parts, or GroupKFold); False for other labels, and for GroupKFold.
        names: of the classes, for messages.

    Raises:
        ValueError: a fold that there is not, fewer groups than folds, or a class that training would never see.
    """
    return _split_by(recordings, _numbered(recordings.subjects), fold, folds, stratified, names, "group")


def split_by_source(
    recordings: Recordings, fold: int = 0, folds: int = 5, stratified: bool = True, names: Sequence[str] = ()
) -> Splits:
    """No recording in two of training, validation and test, where nothing is known of who was recorded.

    As `split_by_group`, with the `sources` for groups. Recordings that hold equal signals are kept together.
    """
    sources = _numbered(recordings.sources)
    copies = _numbered([text or str(index) for index, text in enumerate(signal_hashes(recordings))])
    links = coo_array((np.ones(len(sources)), (sources, copies + sources.max(initial=-1) + 1)))
    size = max(links.shape)
    _, groups = connected_components(coo_array((links.data, links.coords), (size, size)), directed=False)
    return _split_by(recordings, _numbered(groups[sources]), fold, folds, stratified, names, "recording")


def hold_out(recordings: Recordings, validation: Sequence[Any], test: Sequence[Any]) -> Splits:
    """The split in which given groups validate and test, and all others train, as published splits have it.

    Args:
        recordings: whose `subjects` are the groups.
        validation: groups, some.
        test: other groups, some.

    Raises:
        ValueError: a group that there is not, a group on two sides, or a side without any.
    """
    there = set(np.asarray(recordings.subjects).tolist())
    for part, groups in (("validation", validation), ("test", test)):
        if isinstance(groups, str) or not len(groups) or set(groups) - there:
            raise ValueError(
                f"hold_out got {part}={quote(groups)}; expected some of the groups {quote(sorted(there, key=str))}."
            )
    wanted = {"validation": set(validation), "test": set(test)}
    if both := wanted["validation"] & wanted["test"]:
        raise ValueError(f"hold_out got the groups {quote(sorted(both, key=str))} for validation and test; choose one.")
    kept = there - wanted["validation"] - wanted["test"]
    if not kept:
        raise ValueError(f"hold_out got all {len(there)} groups for validation and test; none is left for training.")
    splits = Splits(*(recordings.of_subjects(list(groups)) for groups in (kept, *wanted.values())))
    check_sources(splits)
    return splits


def hold_back(
    recordings: Recordings,
    fold: int = 0,
    folds: int = 5,
    stratified: bool = True,
    names: Sequence[str] = (),
    by_steps: bool = True,
) -> tuple[Recordings, Recordings]:
    """Training and validation of what is published for training, where the test is published beside it.

    Args:
        recordings: whose `subjects` are the groups, none of them on both sides.
        fold: from 0 to `folds` - 1: which part of the groups validates.
        folds: K of 2 or more, and at most the number of groups.
        stratified: whether labels are classes, of which each part should have all.
        names: of the classes, for messages.
        by_steps: whether long recordings count more than short ones.

    Raises:
        ValueError: a fold that there is not, fewer groups than folds, or a class that training would never see.
    """
    who, groups = "hold_back", _numbered(recordings.subjects)
    _check_fold(fold, folds, who, least=2)
    _check_count(groups, folds, "group", who)
    table = _count_steps(recordings, groups, labels_of_classes(recordings) if stratified else None, by_steps)
    held = (_choose_parts(table, folds)[0] == fold)[groups]
    sides = recordings.take(np.flatnonzero(~held)), recordings.take(np.flatnonzero(held))
    if stratified:
        check_classes(sides, names, who)
    return sides


def split_in_time(
    recordings: Recordings,
    gap: int = 0,
    fold: int = 0,
    folds: int = 5,
    stratified: bool = True,
    names: Sequence[str] = (),
) -> Splits:
    """Each recording cut in time, for models that meet the same people, machines or rooms again.

    Each is cut into K stretches of equal length. Fold 0 tests the last, validates the one before and trains on what was
    before that; fold f tests the stretch that is f earlier, and trains on the later ones too. What such a test says
    holds for these groups alone.

    Args:
        recordings: cut one by one; their labels, of steps too, with them.
        gap: steps left out between two parts, best as many as a window has: what is beside a cut is much alike on both
            sides. They are taken from training; between validation and test, from validation.
        fold: from 0 to `folds` - 1.
        folds: K of 3 or more.
        stratified: whether labels are classes, of which training must see all.
        names: of the classes, for messages.

    Raises:
        ValueError: a fold that there is not; recordings that are too short; or a class that training would never see.
    """
    who = "split_in_time"
    _check_fold(fold, folds, who)
    gap = whole_number(gap, f"{who} got gap=", 0)
    tested = folds - 1 - fold
    parts = [0] * folds
    parts[tested], parts[(tested - 1) % folds] = 2, 1
    stretches = [_stretches(len(signal), parts, gap) for signal in recordings.signals]
    splits = SplitsInTime(*(_cut(recordings, [own[part] for own in stretches]) for part in range(3)))
    for part, found in zip(Splits._fields, splits, strict=True):
        if not len(found):
            longest = max((len(signal) for signal in recordings.signals), default=0)
            raise ValueError(
                f"{who} leaves nothing for {part}: the longest recording has {longest} steps, cut into {folds} with "
                f"gaps of {gap}. Record longer, or split whole recordings: by group or by recording."
            )
    if stratified:
        check_classes(splits, names, who)
    check_sources(splits)
    return splits


def _split_by(
    recordings: Recordings, groups: np.ndarray, fold: int, folds: int, stratified: bool, names: Sequence[str], what: str
) -> Splits:
    """The split of groups, numbered from 0, `[R]`."""
    who = f"split_by_{'source' if what == 'recording' else what}"
    _check_fold(fold, folds, who)
    _check_count(groups, folds, what, who)
    labels = labels_of_classes(recordings) if stratified else None
    table = _count_steps(recordings, groups, labels)
    parts, offset = _choose_parts(table, folds)
    sides = np.select([parts == fold, parts == (fold + offset) % folds], [2, 1], 0)[groups]
    splits = Splits(*(recordings.take(np.flatnonzero(sides == side)) for side in range(3)))
    if stratified:
        check_classes(splits, names, who)
    check_sources(splits)
    return splits


def _choose_parts(table: np.ndarray, folds: int) -> tuple[np.ndarray, int]:
    """The part of each group `[G]`, and how far behind the tested part the one is that validates.

    Of all ways, the first with the fewest classes that the training of some fold would not see.
    """
    ways = [_spread_evenly(table, folds)]
    if np.count_nonzero(table.any(axis=0)) > 1 and len(set(_spread_classes(table, folds))) == folds:
        ways.insert(0, _spread_classes(table, folds))
    # Half way round would make two folds that exchange validation and test.
    offsets = [offset for offset in range(1, folds) if 2 * offset != folds] or [1]

    def count_unseen(way: tuple[np.ndarray, int]) -> int:
        parts, offset = way
        there = np.stack([table[parts == part].sum(axis=0) > 0 for part in range(folds)])
        held_out = [np.isin(np.arange(folds), (fold, (fold + offset) % folds)) for fold in range(folds)]
        return sum(int((there.any(axis=0) & ~there[~held].any(axis=0)).sum()) for held in held_out)

    return min(((parts, offset) for parts in ways for offset in offsets), key=count_unseen)


def _spread_evenly(table: np.ndarray, folds: int) -> np.ndarray:
    """Parts of about as many steps each; every part has a group."""
    groups = np.repeat(np.arange(len(table)), _as_samples(table.sum(axis=1)))
    return _part_of_groups(GroupKFold(folds).split(groups, groups=groups), groups, len(table))


def _spread_classes(table: np.ndarray, folds: int) -> np.ndarray:
    """Parts of about as many steps of each class; some may be empty."""
    samples = _as_samples(table)
    group, label = (np.repeat(index.ravel(), samples.ravel()) for index in np.indices(table.shape))
    with warnings.catch_warnings():
        # That a class is in fewer groups than there are folds is for `check_classes` to judge.
        warnings.simplefilter("ignore", UserWarning)
        pairs = StratifiedGroupKFold(folds).split(label, label, group)
        return _part_of_groups(pairs, group, len(table))


def _part_of_groups(pairs: Any, groups: np.ndarray, count: int) -> np.ndarray:
    parts = np.zeros(count, int)
    for part, (_, held_out) in enumerate(pairs):
        parts[groups[held_out]] = part
    return parts


def _count_steps(
    recordings: Recordings, groups: np.ndarray, labels: list[np.ndarray] | None, by_steps: bool = True
) -> np.ndarray:
    """Steps, or recordings, of each group and class `[G, C]`; of one class if labels are none."""
    lengths = [len(signal) if by_steps else 1 for signal in recordings.signals]
    if labels is None:
        return np.bincount(groups, lengths)[:, None]
    table = np.zeros((groups.max() + 1, max((int(own.max(initial=0)) for own in labels), default=0) + 1))
    for length, group, own in zip(lengths, groups, labels, strict=True):
        # A label of the recording stands for all of its steps.
        steps = 1 if recordings.has_step_labels else length
        table[group] += steps * np.bincount(own, minlength=table.shape[1])
    return table


def _as_samples(steps: np.ndarray) -> np.ndarray:
    """Whole numbers in the proportions of the steps, 1 at least where there are any."""
    return np.ceil(steps * min(1.0, SAMPLES / max(1.0, steps.sum()))).astype(int)


def _stretches(steps: int, parts: list[int], gap: int) -> list[list[tuple[int, int]]]:
    """Start and end of what each of the three parts has of a recording."""
    edges = [round(index * steps / len(parts)) for index in range(len(parts) + 1)]
    runs = [(part, [index for index, _ in own]) for part, own in itertools.groupby(enumerate(parts), lambda p: p[1])]
    found: list[list[tuple[int, int]]] = [[], [], []]
    for index, (part, blocks) in enumerate(runs):
        # Where two parts meet the lower one gives way: training, or else validation.
        start = edges[blocks[0]] + gap * (index > 0 and part < runs[index - 1][0])
        end = edges[blocks[-1] + 1] - gap * (index + 1 < len(runs) and part < runs[index + 1][0])
        if start < end:
            found[part].append((start, end))
    return found


def _cut(recordings: Recordings, stretches: list[list[tuple[int, int]]]) -> Recordings:
    """The stretches of each recording as recordings."""
    pieces = [(index, start, end) for index, own in enumerate(stretches) for start, end in own]
    taken = recordings.take([index for index, *_ in pieces])
    signals = [recordings.signals[index][start:end] for index, start, end in pieces]
    labels = taken.labels
    if recordings.has_step_labels:
        labels = [recordings.labels[index][start:end] for index, start, end in pieces]
    return Recordings(signals, labels, taken.subjects, taken.sources)


def _numbered(values: Any) -> np.ndarray:
    """Numbers from 0 for what is equal, in sorted order, `[R]`.

    Raises:
        ValueError: None, NaN or an empty name.
    """
    entries = np.asarray(values).tolist()
    if unknown := [index for index, entry in enumerate(entries) if entry is None or entry != entry or entry == ""]:
        raise ValueError(f"Recording {unknown[0]} has no group ({entries[unknown[0]]!r}); expected one of each.")
    order = {entry: number for number, entry in enumerate(sorted(set(entries), key=lambda e: (str(type(e)), e)))}
    return np.array([order[entry] for entry in entries], int)


def _check_count(groups: np.ndarray, folds: int, what: str, who: str) -> None:
    count = int(groups.max(initial=-1)) + 1
    if count < folds:
        raise ValueError(
            f"{who} got {count} {what}{'s' * (count != 1)} for folds={folds}; expected at least as many {what}s as "
            f"folds. {f'Say folds={count}, or less' if count >= 3 else 'Record more, or split in time'}."
        )


def _check_fold(fold: int, folds: int, who: str, least: int = 3) -> None:
    if not is_whole(folds) or folds < least:
        tested = "one part to test, " if least == 3 else ""
        raise ValueError(
            f"{who} got folds={quote(folds)}; expected at least {least}: {tested}one to validate, and training."
        )
    if not is_whole(fold) or not 0 <= fold < folds:
        raise ValueError(f"{who} got fold={quote(fold)}; expected a whole number from 0 to {folds - 1}.")
