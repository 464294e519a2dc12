"""Signals that share a stretch of steps, number by number: windows of one recording that overlap, whoever cut them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_s4.recordings.recordings import Recordings

# A stretch has that many numbers at least, and that many steps; and a quarter of the shortest signal.
NUMBERS, STEPS, SHARE = 32, 8, 4
# Of many recordings some are looked at, of so many steps on each side; and of what is found some is compared.
LOOKED_AT, COMPARED = 4_000_000, 1_000
# Odd numbers of 64 bits, without further meaning.
BASE, MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9


class _Stretches(NamedTuple):
    """Hashes of stretches, and where they are: in which signal, from which step on."""

    hashes: np.ndarray
    owners: np.ndarray
    starts: np.ndarray


def find_overlaps(one: Recordings, other: Recordings) -> list[tuple[int, int]]:
    """Pairs of signals, the first of `one` and the second of `other`, that share a stretch; each of `other` once.

    Stretches in which less than half of the steps are different say nothing, such as rest, or a clock. Of more than
    some million steps a part is looked at.
    """
    lengths = [len(signal) for part in (one, other) for signal in part.signals]
    if not one.signals or not other.signals:
        return []
    features = max(1, int(np.prod(np.shape(one.signals[0])[1:])))
    steps = max(STEPS, -(-NUMBERS // features), min(lengths) // SHARE)
    first, second = (_hash_stretches(part, steps) for part in (one, other))
    _, here, there = np.intersect1d(first.hashes, second.hashes, return_indices=True)
    # One stretch of each signal is enough.
    _, order = np.unique(second.owners[there], return_index=True)
    found = []
    for i, j in zip(here[order][:COMPARED], there[order][:COMPARED], strict=True):
        stretch = _stretch(one, first, i, steps)
        if np.array_equal(stretch, _stretch(other, second, j, steps)) and 2 * len(np.unique(stretch, axis=0)) >= steps:
            found.append((int(first.owners[i]), int(second.owners[j])))
    return found


def _stretch(recordings: Recordings, stretches: _Stretches, index: int, steps: int) -> np.ndarray:
    start = stretches.starts[index]
    return np.asarray(recordings.signals[stretches.owners[index]], np.float32)[start : start + steps]


def _hash_stretches(recordings: Recordings, steps: int) -> _Stretches:
    """All stretches of so many steps in which most steps differ from the one before."""
    lengths = np.array([len(signal) for signal in recordings.signals])
    chosen = np.flatnonzero(lengths >= steps)
    share = LOOKED_AT / max(1, lengths[chosen].sum())
    if share < 1:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[: max(1, int(share * len(chosen)))])
    parts = [_hash_signal(np.asarray(recordings.signals[index], np.float32), steps) for index in chosen]
    counts = [len(hashes) for hashes, _ in parts]
    none = [np.zeros(0, np.uint64)], [np.zeros(0, int)]
    hashes, starts = (np.concatenate(arrays or empty) for arrays, empty in zip(_unzip(parts), none, strict=True))
    return _Stretches(hashes, np.repeat(chosen, counts), starts)


def _unzip(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def _hash_signal(signal: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of stretches (Rabin and Karp's, modulo 2^64) and where these begin."""
    # Plus 0 makes -0 a 0.
    rows = (np.ascontiguousarray(signal).reshape(len(signal), -1) + np.float32(0)).view(np.uint32).astype(np.uint64)
    multipliers = _powers(BASE, rows.shape[1] + 1)[1:]
    values = (rows * multipliers).sum(axis=1, dtype=np.uint64)
    values = (values ^ (values >> np.uint64(31))) * np.uint64(MIX)
    values ^= values >> np.uint64(29)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _powers(MIX, len(values)), dtype=np.uint64)])
    hashes = (sums[steps:] - sums[:-steps]) * _powers(pow(MIX, -1, 2**64), len(sums) - steps)
    changes = np.concatenate([np.zeros(1, int), np.cumsum(values[1:] != values[:-1])])
    kept = np.flatnonzero(2 * (changes[steps - 1 :] - changes[: len(changes) - steps + 1]) >= steps)
    return hashes[kept], kept


def _powers(base: int, count: int) -> np.ndarray:
    """1, base, base^2, ... modulo 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
