"""Recordings with gaps in time, missing values and steps that are not even: cut, interpolated, resampled or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import scipy.signal

from keras_s4.recordings.layout import CUT, INTERPOLATE, REFUSE, Source
from keras_s4.recordings.times import GAP_STEPS, JITTER, RATE_TOLERANCE, period_of, unevenness
from keras_s4.recordings.track import Track

# Uneven steps are interpolated at the rate that is wanted if theirs differs by less than this factor.
NEAR_RATE = 1.25


def cut_at_gaps(track: Track, source: Source) -> list[Track]:
    """A track cut where its times go back, or forward by more than a gap."""
    if track.times is None or len(track) < 2:
        return [track]
    track = _without_repeated_steps(track)
    period = period_of(track.times)
    gap = source.gap or (GAP_STEPS * period if np.isfinite(period) else np.inf)
    distances = np.diff(track.times)
    return track.pieces(np.flatnonzero((distances < 0) | (distances > gap)) + 1)


def mend_missing(track: Track, columns: Sequence[str], source: Source) -> list[Track]:
    """A track without missing values: filled along time, cut, or refused, as the source says.

    Raises:
        ValueError: values are missing and are to be refused; says where.
    """
    missing = np.isnan(track.values)
    if not missing.any():
        return [track]
    if source.missing == REFUSE:
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"{track.name} has {int(missing.sum()):,} missing values, the first in column {columns[column]!r}, line "
            f'{track.first + row}. Say what to do about them: [recordings] missing = "interpolate" or "cut".'
        )
    values = track.values
    if source.missing == INTERPOLATE:
        values = np.stack([_interpolate(column, source.missing_steps) for column in values.T], axis=1)
    assert source.missing in (INTERPOLATE, CUT)
    return dataclasses.replace(track, values=values).stretches(~np.isnan(values).any(axis=1))


def bring_to_rate(track: Track, rate: float, source: Source) -> Track:
    """A track of even steps at a rate.

    Raises:
        ValueError: its steps are not even, or their rate is another, and that is to be refused; says where.
    """
    own = track.rate
    if track.times is not None and own is not None and len(track) > 2:
        off, place = unevenness(track.times)
        if off > JITTER:
            if source.irregular == REFUSE:
                raise ValueError(
                    f"{track.name} has uneven steps: line {track.first + place} is {off:.1f} steps from where it were "
                    f'at an even {own:.4g} a second. Say [recordings] irregular = "resample", or leave out the column '
                    "of times and give a rate."
                )
            if 1.0 / NEAR_RATE < own / rate < NEAR_RATE:
                return _make_even(track, rate)
            track = _make_even(track, own)
    if own is None or abs(own / rate - 1.0) <= RATE_TOLERANCE or len(track) < 2:
        return track
    if source.rates == REFUSE:
        raise ValueError(
            f"{track.name} has {own:.6g} steps a second, others or [recordings] rate say {rate:.6g}. Say [recordings] "
            'rates = "resample" to bring all to one rate.'
        )
    return _resample(track, rate / own)


def _without_repeated_steps(track: Track) -> Track:
    """Without lines that are there twice, as loggers write them when they start again."""
    same = (np.diff(track.times) == 0) & (
        (np.diff(track.values, axis=0) == 0) | np.isnan(track.values[1:]) & np.isnan(track.values[:-1])
    ).all(axis=1)
    if not same.any():
        return track
    kept = np.concatenate([[True], ~same])
    labels = None if track.labels is None else track.labels[kept]
    return dataclasses.replace(track, values=track.values[kept], times=track.times[kept], labels=labels)


def _interpolate(values: np.ndarray, longest: int) -> np.ndarray:
    """Values with stretches of NaN of at most so many steps filled along a line; not at the ends."""
    missing = np.isnan(values)
    if not missing.any() or missing.all():
        return values
    steps = np.arange(len(values))
    filled = np.interp(steps, steps[~missing], values[~missing])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if start == 0 or stop == len(values) or stop - start > longest:
            filled[start:stop] = np.nan
    return filled


def _make_even(track: Track, rate: float) -> Track:
    """The track at even steps, interpolated along lines; each step has the label of the nearest one."""
    count = max(1, int((track.times[-1] - track.times[0]) * rate + 1e-6) + 1)
    times = track.times[0] + np.arange(count) / rate
    values = np.stack([np.interp(times, track.times, column) for column in track.values.T], axis=1)
    return dataclasses.replace(track, values=values, times=times, labels=_nearest(track.labels, track.times, times))


def _resample(track: Track, ratio: float) -> Track:
    """The track at `ratio` times as many steps a second, without what a lower rate cannot hold."""
    fraction = Fraction(ratio).limit_denominator(1000)
    up, down = fraction.numerator, fraction.denominator
    values = scipy.signal.resample_poly(track.values, up, down, axis=0, padtype="line") if up else track.values[:1]
    before, after = np.arange(len(track)), np.arange(len(values)) / ratio
    times = None if track.times is None else np.interp(after, before, track.times)
    labels = _nearest(track.labels, before, after)
    own = None if track.rate is None else track.rate * ratio
    return dataclasses.replace(track, values=values, times=times, labels=labels, rate=own)


def _nearest(labels: np.ndarray | None, before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """The labels of the steps that are nearest in time."""
    if labels is None:
        return None
    right = np.clip(np.searchsorted(before, after), 1, max(1, len(before) - 1))
    left = right - 1
    right = np.minimum(right, len(before) - 1)
    return labels[np.where(after - before[left] <= before[right] - after, left, right)]
