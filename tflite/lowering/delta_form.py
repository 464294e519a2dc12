"""The delta form of a DSS layer: poles on the device's grid, and coefficients refitted to what the grid allows.

In exact arithmetic `x[t] = pole x[t-1] + gain u[t]`, read out as `y[t] = feedthrough u[t] + sum_n Re x_n[t-1]`: all of
a mode's residue is in its gain, which a device holds in 32 bits, and none in the readout, which it holds in 8.
"""

from __future__ import annotations

import numpy as np

from keras_s4.systems import DiagonalSystem

POLE_SCALE = 2.0**-15
# Singular values of the refit below this part of the largest would only fit rounding noise with huge residues.
REFIT_CONDITION = 1e-7
# Impulse responses are summed until they have fallen to this part, or for this many steps; the rest is bounded.
SUMMED = 1e-5
MAX_SUMMED_STEPS = 1 << 14
CHUNK = 256
# A channel with this part of its response left is left alone. The search for better poles, of channels of so many modes
# at most, looks at so many steps, and ends when a round over all modes leaves more than a part of the error.
GOOD_FIT = 10 ** (-50 / 20)
MOST_SEARCHED, MOST_COMPARED = 16, 200
LEAST_GAIN = 0.9
# The error of a rounded state that is read out, for a state of unit standard deviation: its peak, some four deviations,
# has 2**12 units.
ROUNDING = 4.0 / 2**12 / np.sqrt(12.0)


def snap_poles(poles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`pole - 1` on a grid of 2**-15, never on or outside the unit circle.

    Args:
        poles: `[..]` complex, stable.

    Returns:
        decay and rotation, whole numbers: real and imaginary part of `(pole - 1) * 2**15`.
    """
    decay = np.rint((poles.real - 1.0) / POLE_SCALE)
    rotation = np.rint(poles.imag / POLE_SCALE)
    # The nearest grid point of a very slow pole may lie on or outside the circle; a point or two inwards do not.
    for _ in range(3):
        snapped = snapped_poles(decay, rotation)
        outside, level = np.abs(snapped) >= 1.0, np.abs(snapped.real) >= np.abs(snapped.imag)
        decay = decay - (outside & level) * np.sign(snapped.real)
        rotation = rotation - (outside & ~level) * np.sign(snapped.imag)
    return decay, rotation


def snapped_poles(decay: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The poles that a device realises."""
    return 1.0 + (decay + 1j * rotation) * POLE_SCALE


def choose_poles(system: DiagonalSystem, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Poles on the grid, as `snap_poles` gives them; of channels that this costs much, those with which gains fit best.

    For a slow mode the next points of the grid are other memories, and which of them serve a channel best is for all of
    its modes to say. One mode after the other goes to the neighbour with which refitted gains lose least, as long as
    that gains anything.

    Args:
        system: `[H, N]`.
        length: steps that gains are fitted over.

    Returns:
        decay and rotation, whole numbers `[H, N]`.
    """
    decay, rotation = snap_poles(system.poles)
    target = system.impulse_response(max(length, 2))[:, 1:]
    # Evenly at first, where fast modes are, and then ever wider apart.
    steps = np.unique(np.geomspace(1, target.shape[1], MOST_COMPARED).astype(int)) - 1
    weights = np.sqrt(np.gradient(steps.astype(float))) if steps.size > 1 else np.ones(1)
    for channel, response in enumerate(target[:, steps] * weights):
        used = np.flatnonzero(system.residues[channel])
        if 0 < used.size <= MOST_SEARCHED:
            place = np.stack([decay[channel, used], rotation[channel, used]])
            turning = system.poles[channel, used].imag != 0.0
            decay[channel, used], rotation[channel, used] = _descend(place, turning, response, steps, weights)
    return decay, rotation


def _descend(
    place: np.ndarray, turning: np.ndarray, response: np.ndarray, steps: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The best neighbours of a channel's poles, whole numbers `[2, N]`; real poles stay real."""

    def loss(place: np.ndarray) -> float:
        poles = snapped_poles(*place)
        return np.inf if np.any(np.abs(poles) >= 1.0) else _fit_gains(poles, response, steps, weights)[1]

    best, enough = loss(place), GOOD_FIT * np.linalg.norm(response)
    while best > enough:
        before = best
        for mode in range(place.shape[1]):
            around = [(down, turn) for down in (-1, 0, 1) for turn in ((-1, 0, 1) if turning[mode] else (0,))]
            for move in around:
                moved = place.copy()
                moved[:, mode] += move
                if (found := loss(moved)) < best:
                    best, place = found, moved
        if best > LEAST_GAIN * before:
            break
    return place


def refit_gains(system: DiagonalSystem, poles: np.ndarray, length: int) -> np.ndarray:
    """Gains with which the given poles come nearest to a system's impulse response over `length` steps.

    Least squares per channel on `k[t] = Re sum_n gains[h, n] poles[h, n]**(t - 1)` for t = 1 .. length - 1; the
    response at t = 0 is the device's feedthrough and exact. All steps count alike: weighting by the spectrum of the
    calibration data gained 2 to 7 dB on four trained models, but where 63 to 97 dB are reached anyway and the rounding
    of 8-bit kernels leaves 43 to 46 dB, nothing of it showed at the logits.

    Args:
        system: `[H, N]`.
        poles: `[H, N]`, near the system's.
        length: steps to fit.

    Returns:
        complex `[H, N]`; 0 for entries that the system leaves unused.
    """
    target = system.impulse_response(max(length, 2))[:, 1:]
    steps = np.arange(target.shape[1])
    gains = np.zeros(poles.shape, np.complex128)
    for channel in range(len(poles)):
        used = np.flatnonzero(system.residues[channel])
        if used.size:
            gains[channel, used] = _fit_gains(poles[channel, used], target[channel], steps, np.ones(steps.size))[0]
    return gains


def _fit_gains(
    poles: np.ndarray, response: np.ndarray, steps: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """The gains that serve some poles best, and what they leave of a response, the rounding of states included.

    Modes that nearly cancel fit anything, and then their rounded states are read out with large weights. Where that
    costs more than `GOOD_FIT`, gains are those of the least error in all.

    Args:
        poles: `[N]`.
        response: at these steps, times their weights.
        steps: whole numbers `[T]`, 0 the first one behind the feedthrough.
        weights: `[T]`.
    """
    powers = poles ** steps[:, None] * weights[:, None]
    # Columns of equal length, so that slow and fast modes are judged alike.
    norms = np.linalg.norm(powers, axis=0)
    basis = np.concatenate([powers.real / norms, -powers.imag / norms], axis=1)
    noise = np.tile(ROUNDING / np.sqrt(1.0 - np.abs(poles) ** 2) / norms, 2)
    solution = np.linalg.lstsq(basis, response, rcond=REFIT_CONDITION)[0]
    if np.linalg.norm(noise * solution) > GOOD_FIT * np.linalg.norm(response):
        basis = np.concatenate([basis, np.diag(noise)])
        response = np.concatenate([response, np.zeros(noise.size)])
        solution = np.linalg.lstsq(basis, response, rcond=REFIT_CONDITION)[0]
        error = np.linalg.norm(basis @ solution - response)
    else:
        error = np.hypot(np.linalg.norm(basis @ solution - response), np.linalg.norm(noise * solution))
    return (solution[: poles.size] + 1j * solution[poles.size :]) / norms, float(error)


def state_trajectory_peaks(
    inputs: np.ndarray, poles: np.ndarray, gains: np.ndarray, real: np.ndarray | None = None
) -> np.ndarray:
    """Largest real or imaginary part that each state reaches.

    Args:
        inputs: `[B, L, H]`; each stream starts with zero state and carries it to its end.
        poles: `[H, N]`.
        gains: `[H, N]`.
        real: bool `[B, L]`, the steps that count; None for all.

    Returns:
        `[H, N]`.
    """
    state = np.zeros((inputs.shape[0], *poles.shape), np.complex128)
    peaks = np.zeros(poles.shape)
    for step in range(inputs.shape[1]):
        state = poles * state + gains * inputs[:, step, :, None]
        counting = state if real is None else state[real[:, step]]
        parts = np.maximum(np.abs(counting.real), np.abs(counting.imag))
        peaks = np.maximum(peaks, parts.max(axis=0, initial=0.0))
    return peaks


def l1_norms(poles: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """`sum_t |Re(gain pole**t)|`, or of the imaginary part where that is larger: an upper bound, `[H, N]`.

    What is not summed of a very slow mode is bounded by its magnitude; that makes the bound too large by at most pi/2.
    """
    count = int(decay_steps(poles, MAX_SUMMED_STEPS, SUMMED).max())
    powers = poles[..., None] ** np.arange(CHUNK)
    state, totals = gains, np.zeros((2, *poles.shape))
    for _ in range(-(-count // CHUNK)):
        response = state[..., None] * powers
        totals += np.abs(response.real).sum(axis=-1), np.abs(response.imag).sum(axis=-1)
        state = state * poles**CHUNK
    rest = np.stack([state.real, state.imag])
    # A real pole keeps the two parts apart.
    rest = np.where(poles.imag == 0.0, np.abs(rest), np.abs(state))
    return (totals + rest / (1.0 - np.abs(poles))).max(axis=0)


def decay_steps(poles: np.ndarray, at_most: int, part: float) -> np.ndarray:
    """Steps `[H, N]` after which a mode has fallen to a part of its start, at most so many."""
    if part <= 0.0:
        return np.full(poles.shape, at_most)
    with np.errstate(divide="ignore"):
        return np.clip(np.ceil(np.log(part) / np.log(np.abs(poles))), 1, at_most).astype(np.int64)
