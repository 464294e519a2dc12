"""What is suspicious about recordings: equal content, sensors at the end of their range, channels that say nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from keras_s4.recordings.frame import join_names
from keras_s4.recordings.layout import DROP, KEEP, REFUSE, Source
from keras_s4.recordings.leaks import LEAST_CHANGES, is_lively
from keras_s4.recordings.track import Track

# A sensor is clipped if its extreme value comes so many times in a row, in so much of the recording,
# and that many times as often as the values near it, in so much of the range.
CLIPPED_RUN, CLIPPED_SHARE, CLIPPED_EXCESS, NEAR = 3, 0.002, 4.0, 0.02
# Fewer values than these are those of a switch, not of a range.
FEWEST_VALUES = 16
# Steps that are equal in two recordings, all of them, are copied. Some must differ from those before.
COPIED_STEPS = 64
# A sensor has fewer levels than these, in its standard deviation, where float32 cannot tell it from its offset.
FEWEST_LEVELS = 64
# Steps that are compared at most.
COMPARED = 10_000_000


def find_duplicates(tracks: Sequence[Track]) -> list[list[int]]:
    """The indices of tracks of equal content, several each; where hardly anything changes they are equal by chance."""
    found: dict[bytes, list[int]] = {}
    for index, track in enumerate(tracks):
        if not is_lively(track.values):
            continue
        content = np.ascontiguousarray(track.values)
        digest = hashlib.sha256(str(content.shape).encode() + content.tobytes()).digest()
        found.setdefault(digest, []).append(index)
    return [same for same in found.values() if len(same) > 1]


def settle_duplicates(tracks: list[Track], source: Source, notes: list[str]) -> list[Track]:
    """Tracks without those of equal content, or a refusal, as the source says.

    Raises:
        ValueError: there are some and they are to be refused, or equal ones have different labels.
    """
    twins = find_duplicates(tracks)
    if not twins or source.duplicates == KEEP:
        return tracks
    for same in twins:
        labels = [tracks[index].labels for index in same]
        if any(not np.array_equal(label, labels[0]) for label in labels if label is not None):
            raise ValueError(
                f"{join_names(tracks[index].name for index in same)} have equal content and different labels; only "
                "one can be right. Remove the others."
            )
    extra = [index for same in twins for index in same[1:]]
    names = join_names(f"{tracks[same[0]].name} = {tracks[same[1]].name}" for same in twins)
    if source.duplicates == REFUSE:
        raise ValueError(
            f"{len(extra)} recordings are copies of others: {names}. A model would be tested on what it was trained "
            'on. Remove them, or say [recordings] duplicates = "drop".'
        )
    assert source.duplicates == DROP
    notes.append(f"{len(extra)} recordings are left out, as they are copies of others: {names}.")
    return [track for index, track in enumerate(tracks) if index not in set(extra)]


def find_copied_stretches(tracks: Sequence[Track], steps: int = COPIED_STEPS) -> list[tuple[int, int, int, int]]:
    """Stretches of equal steps in two tracks, one of each pair: the two indices and the steps where they begin.

    Stretches of `steps` steps are compared at all places, by a polynomial in the hashes of their steps.
    """
    usable = [index for index, track in enumerate(tracks) if len(track) >= steps]
    if not usable or sum(len(tracks[index]) for index in usable) > COMPARED:
        return []
    hashes = [_rolling_hashes(tracks[index].values, steps) for index in usable]
    owner = np.repeat(usable, [len(found) for found, _ in hashes])
    place = np.concatenate([places for _, places in hashes])
    values = np.concatenate([found for found, _ in hashes])
    order = np.argsort(values, kind="stable")
    owner, place, values = owner[order], place[order], values[order]
    same = np.flatnonzero((values[1:] == values[:-1]) & (owner[1:] != owner[:-1]))
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for index in same:
        one, other = (int(owner[index]), int(place[index])), (int(owner[index + 1]), int(place[index + 1]))
        first, second = min(one, other), max(one, other)
        key = (first[0], second[0])
        pairs[key] = min(pairs.get(key, (first[1], second[1])), (first[1], second[1]))
    return [(*pair, *places) for pair, places in sorted(pairs.items())]


def _rolling_hashes(values: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all stretches of so many steps in which enough changes, and where they begin."""
    random = np.random.default_rng(0)
    weights = random.integers(1, 2**63, values.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    base = np.uint64(0x9E3779B97F4A7C15)  # odd, so that its powers have inverses
    inverse = np.uint64(pow(int(base), -1, 2**64))
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    rows = (bits * weights).sum(axis=1, dtype=np.uint64)
    rows ^= rows >> np.uint64(32)
    powers = np.full(len(rows), base)
    powers[0] = 1
    sums = np.concatenate([[np.uint64(0)], np.cumsum(rows * np.cumprod(powers), dtype=np.uint64)])
    back = np.full(len(rows), inverse)
    back[0] = 1
    found = (sums[steps:] - sums[:-steps]) * np.cumprod(back)[: len(rows) - steps + 1]
    changes = np.concatenate([[0], np.cumsum(np.any(np.diff(values, axis=0) != 0, axis=1))])
    lively = changes[steps - 1 :] - changes[: len(rows) - steps + 1] >= min(LEAST_CHANGES, steps - 1)
    return found[lively], np.flatnonzero(lively)


def check_copies(tracks: Sequence[Track], source: Source) -> list[str]:
    """What is suspicious about tracks of different groups: stretches that they have in common, in a sentence."""
    if source.duplicates == KEEP:
        return []
    shared = [copy for copy in find_copied_stretches(tracks) if tracks[copy[0]].group != tracks[copy[1]].group]
    if not shared:
        return []
    one, other, start, same = shared[0]
    return [
        f"{len(shared)} pairs of recordings of different groups share stretches of {COPIED_STEPS} steps or more, such "
        f"as {tracks[one].name}, line {tracks[one].first + start}, and {tracks[other].name}, line "
        f"{tracks[other].first + same}: a model may be tested on what it was trained on."
    ]


def clipped_at(values: np.ndarray) -> dict[float, int]:
    """The ends of the range at which values of a sensor `[steps]` are clipped, and the first step of each."""
    values = values[~np.isnan(values)]
    if len(values) < FEWEST_VALUES or len(np.unique(values[:100_000])) < FEWEST_VALUES:
        return {}
    width, found = float(np.ptp(values)), {}
    for end in (float(values.min()), float(values.max())):
        at_end = values == end
        edges = np.flatnonzero(np.diff(np.concatenate([[False], at_end, [False]]).astype(np.int8)))
        runs = edges[1::2] - edges[::2]
        near = np.count_nonzero((np.abs(values - end) <= NEAR * width) & ~at_end)
        count = np.count_nonzero(at_end)
        if runs.max() >= CLIPPED_RUN and count >= CLIPPED_SHARE * len(values) and count > CLIPPED_EXCESS * near:
            found[end] = int(edges[::2][runs >= CLIPPED_RUN][0])
    return found


def check_sensors(tracks: Sequence[Track], columns: Sequence[str], source: Source) -> list[str]:
    """What is suspicious about the sensors, a sentence each.

    Raises:
        ValueError: sensors are clipped, and that is to be refused; says where.
    """
    notes = []
    for index, name in enumerate(columns):
        clipped = []
        for track in tracks if source.clipped != KEEP else ():
            clipped += [(track, end, step) for end, step in clipped_at(track.values[:, index]).items()]
        if clipped:
            track, end, step = clipped[0]
            files = len({id(track) for track, *_ in clipped})
            text = (
                f"Sensor {name!r} is clipped in {files} of {len(tracks)} recordings, at {end:.6g} in {track.name} from "
                f"line {track.first + step} on: its range was too small."
            )
            if source.clipped == REFUSE:
                raise ValueError(f'{text} Leave these out, or say [recordings] clipped = "warn".')
            notes.append(text)
        notes += _doubts_about(name, [track.values[:, index] for track in tracks])
        flat = [track for track in tracks if len(track) > 1 and np.ptp(track.values[:, index]) == 0.0]
        if len(flat) == len(tracks) and len({float(track.values[0, index]) for track in tracks}) == 1:
            notes.append(f"Sensor {name!r} is {tracks[0].values[0, index]:.6g} always, so that it tells nothing.")
        elif flat and any(track.values.shape[1] > 1 for track in flat):
            names = join_names((track.name for track in flat), 3)
            notes.append(f"Sensor {name!r} does not change in {len(flat)} of {len(tracks)} recordings: {names}.")
    return notes


def _doubts_about(name: str, signals: Sequence[np.ndarray]) -> list[str]:
    """What is strange about a sensor in all recordings, signals `[steps]` without NaN, a sentence each."""
    notes = []
    long = [signal for signal in signals if len(signal) >= LEAST_CHANGES]
    if long and all((np.diff(signal) > 0).all() for signal in long):
        notes.append(
            f"Sensor {name!r} rises at every step, as a clock or the number of a row does: a model would learn where "
            "in a recording it is. Name the sensors in [[sensors]], without it; or name it in [recordings] time."
        )
        return notes
    largest = np.float32(max(np.abs(signal).max() for signal in signals))
    deviation = max(float(signal.std()) for signal in signals)
    if 0.0 < deviation < FEWEST_LEVELS * np.spacing(largest):
        notes.append(
            f"Sensor {name!r} varies by {deviation:.3g} around {largest:.6g}, which is too little for float32 to tell. "
            "Write it without this offset."
        )
    return notes
