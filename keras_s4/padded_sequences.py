"""Padded sequences as arrays: their real steps moved to the front, and back; padding filled with what came before."""

from __future__ import annotations

import numpy as np


def move_real_steps_first(array: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The real steps of each sequence first, and behind them the last of them again and again.

    Args:
        array: `[B, L, ...]`.
        real: bool `[B, L]`, with a real step in each sequence.
    """
    order = np.argsort(~real, axis=1, kind="stable")
    places = np.minimum(np.arange(real.shape[1]), real.sum(axis=1, keepdims=True) - 1)
    places = np.take_along_axis(order, places, axis=1)
    return np.take_along_axis(array, places.reshape(*places.shape, *[1] * (array.ndim - 2)), axis=1)


def real_values(real: np.ndarray, count: int) -> np.ndarray:
    """Which of the values of a signal belong to real steps, bool `[B, count]`.

    Behind layers that drop steps, those of which all samples are real; sequences are padded at their end there.

    Args:
        real: of the samples, bool `[B, L]`.
        count: values of the signal in L steps.
    """
    samples = real.shape[1]
    if count == samples:
        return real
    periods = (period for period in range(2, samples) if count in (samples // period, -(-samples // period)))
    lengths = real.sum(axis=1, keepdims=True)
    return np.arange(count) < np.maximum(lengths // next(periods, samples), 1)


def fill_padding(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Values `[B, L, ...]` with those at padded steps replaced by that of the real step before, or of the first."""
    places = np.maximum.accumulate(np.where(real, np.arange(real.shape[1]), -1), axis=1)
    places = np.where(places < 0, real.argmax(axis=1)[:, None], places)
    return np.take_along_axis(values, places.reshape(*places.shape, *[1] * (values.ndim - 2)), axis=1)


def hold_between(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """What `move_real_steps_first` moved, at its own places again.

    A padded step has the value of the real one before it.

    Args:
        values: `[B, T, ...]`, of the real steps in order.
        real: bool `[B, L]`.

    Returns:
        `[B, L, ...]`; zeros before the first real step.
    """
    counts = np.cumsum(real, axis=1)
    places = np.maximum(counts - 1, 0).reshape(*real.shape, *[1] * (values.ndim - 2))
    started = (counts > 0).reshape(places.shape)
    return np.where(started, np.take_along_axis(values, places, axis=1), 0).astype(values.dtype)
