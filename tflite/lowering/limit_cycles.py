"""Limit cycles: what rounding keeps alive in a mode when its input has ended, and which modes need its feedback.

A mode's rounded state is multiplied by `pole - 1`, so a mode that turns fast and decays slowly can live on its own
rounding errors for ever: up to `|pole - 1| / (1 - |pole|)` units, of which modes whose angle is a simple part of a turn
reach half. There is no formula for the others, so that the modes are run, from noise of that size until it would have
decayed, and several times, since where a mode ends depends on where it began.
"""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.lowering.delta_form import snapped_poles

# Units of a layer's output that its modes may ring on together; the loudest are fed back until the others keep to it.
MOST_RINGING = 0.75
# Modes that could add less than this part of it to their channel are not run.
NEGLIGIBLE = 0.01
# Time constants after which a free mode has decayed, and steps at most: slower modes count with what is left of them.
DECAYED, MOST_STEPS, WATCHED = 8, 60_000, 300
STARTS = 4


def modes_to_feed_back(decay: np.ndarray, rotation: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The modes whose rounding errors have to be fed back, so that a layer falls silent.

    Args:
        decay: whole numbers `[H, N]`, units of 2**-15.
        rotation: the same.
        weights: units of the layer's output for each unit of a mode's rounded state, `[H, N]`.

    Returns:
        bool `[H, N]`: the fewest whose feedback leaves a channel `MOST_RINGING` units.
    """
    poles = snapped_poles(decay, rotation)
    possible = bounds(poles) * weights
    loud = (possible.sum(axis=1, keepdims=True) > MOST_RINGING) & (possible > NEGLIGIBLE * MOST_RINGING)
    ringing = np.zeros(decay.shape)
    if loud.any():
        ringing[loud] = run_free(decay[loud], rotation[loud]) * weights[loud]
    order = np.argsort(ringing, axis=1)
    kept = np.cumsum(np.take_along_axis(ringing, order, axis=1), axis=1) <= MOST_RINGING
    chosen = np.zeros(decay.shape, bool)
    np.put_along_axis(chosen, order, ~kept, axis=1)
    return chosen


def bounds(poles: np.ndarray) -> np.ndarray:
    """What rounding by half a unit in both parts can keep alive of a mode, in units of its rounded state."""
    return np.abs(poles - 1.0) * np.sqrt(0.5) / (1.0 - np.abs(poles))


def run_free(decay: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The largest rounded real part that is left of each mode `[M]` long after an input, in units of it."""
    poles = snapped_poles(decay, rotation)
    decay, rotation = decay.astype(np.int64), rotation.astype(np.int64)
    # What is watched comes behind what decays, of fast modes as well.
    steps = min(int(DECAYED / (1.0 - np.abs(poles)).min()) + WATCHED, MOST_STEPS)
    start = np.random.default_rng(0).uniform(-1.0, 1.0, (2, STARTS, *poles.shape)) * np.minimum(bounds(poles), 2.0**14)
    real, imaginary = np.rint(start * 2**15).astype(np.int64)
    largest = np.zeros(real.shape, np.int64)
    for step in range(steps):
        h_real, h_imaginary = _rounded(real), _rounded(imaginary)
        real, imaginary = (
            real + decay * h_real - rotation * h_imaginary,
            imaginary + decay * h_imaginary + rotation * h_real,
        )
        if step >= steps - WATCHED:
            largest = np.maximum(largest, np.abs(h_real))
    return largest.max(axis=0)


def _rounded(state: np.ndarray) -> np.ndarray:
    """The rounded state, as `requantize` by 2**-15 gives it."""
    high = (state >> 1) + (state & 1)
    return (high + (1 << 13) - (high < 0)) >> 14
