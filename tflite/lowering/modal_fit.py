"""Banks of modes on a device's grid: what each state reaches, and what is read out of them, fitted to what was lost.

States here are real numbers `[2 N]`, the real parts of all modes and then the imaginary ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_s4.systems import one_minus_squared_radius

# Part of what data say that the impulse response counts for: short calibration data do not show all that may come.
TRUST_IN_RESPONSE = 0.1
# Directions of states that have less of the power than this are rounding noise.
CONDITION = 1e-11


def as_real(complex_states: np.ndarray) -> np.ndarray:
    """Complex states `[.., N]` as real ones `[.., 2 N]`."""
    return np.concatenate([complex_states.real, complex_states.imag], axis=-1)


def trajectories(poles: np.ndarray, drive: np.ndarray, inputs: np.ndarray) -> Iterator[np.ndarray]:
    """The states of all streams, step after step, from zero on.

    Args:
        poles: `[N]`.
        drive: complex `[I, N]`, what each input adds to each mode.
        inputs: `[B, L, I]`.

    Yields:
        complex `[B, N]`.
    """
    state = np.zeros((len(inputs), len(poles)), np.complex128)
    for step in range(inputs.shape[1]):
        state = poles * state + inputs[:, step] @ drive
        yield state


def state_peaks(poles: np.ndarray, drive: np.ndarray, inputs: np.ndarray, real: np.ndarray | None = None) -> np.ndarray:
    """Largest real or imaginary part that each state reaches, `[N]`.

    Args:
        poles, drive, inputs: as for `trajectories`.
        real: bool `[B, L]`, the steps that count; None for all.
    """
    peaks = np.zeros(len(poles))
    for step, state in enumerate(trajectories(poles, drive, inputs)):
        counting = state if real is None else state[real[:, step]]
        parts = np.maximum(np.abs(counting.real), np.abs(counting.imag))
        peaks = np.maximum(peaks, parts.max(axis=0, initial=0.0))
    return peaks


def fit_outputs(
    wanted: tuple[np.ndarray, np.ndarray, np.ndarray],
    given: tuple[np.ndarray, np.ndarray],
    inputs: np.ndarray,
    real: np.ndarray | None,
    length: int,
    noise: float,
) -> tuple[np.ndarray, np.ndarray]:
    """What is to be read out of the states that a device has, so that its outputs come nearest to those of a layer.

    Least squares on the data, and on the impulse response over so many steps, as far as white noise of the inputs'
    power would show it. The rounding of states counts as an error, so that modes that nearly cancel are not read with
    large weights.

    Args:
        wanted: poles `[N]`, drive `[I, N]` and real readout `[2 N, O]` of the layer.
        given: poles and drive of the device.
        inputs: `[B, L, I]`.
        real: bool `[B, L]`, the steps that count; None for all.
        length: steps.
        noise: standard deviation of a state's rounding.

    Returns:
        The readout `[2 N, O]`, and the power `[2 N, 2 N]` of the device's states, for which it was fitted.
    """
    poles, drive, readout = wanted
    counted = inputs.reshape(-1, inputs.shape[-1]) if real is None else inputs[real]
    power, product = _response_powers((poles, drive), given, np.sqrt(np.mean(counted**2, axis=0)), length)
    power, product = TRUST_IN_RESPONSE * power, TRUST_IN_RESPONSE * product
    ours, theirs = trajectories(*given, inputs), trajectories(poles, drive, inputs)
    for step, (state, target) in enumerate(zip(ours, theirs, strict=True)):
        some = slice(None) if real is None else real[:, step]
        power += as_real(state[some]).T @ as_real(state[some]) / len(counted)
        product += as_real(state[some]).T @ as_real(target[some]) / len(counted)
    again = np.abs(given[0] - 1.0) ** 2 / one_minus_squared_radius(given[0])
    power += np.diag(np.tile(noise**2 * (1.0 + again), 2))
    return _solve(power, product @ readout), power


def _response_powers(
    wanted: tuple[np.ndarray, np.ndarray], given: tuple[np.ndarray, np.ndarray], deviations: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Powers `[2 N, 2 N]` of the given states, and their products with the wanted ones, that white noise causes."""
    (poles, drive), (snapped, ours) = wanted, given
    loudest = deviations.max(initial=0.0) or 1.0
    deviations = np.maximum(deviations, 1e-3 * loudest)[:, None]
    drive, ours = drive * deviations, ours * deviations
    return (
        _covariance(snapped, ours, snapped, ours, length),
        _covariance(snapped, ours, poles, drive, length),
    )


def _covariance(a: np.ndarray, drive_a: np.ndarray, b: np.ndarray, drive_b: np.ndarray, length: int) -> np.ndarray:
    """`sum_t Re/Im(a**t drive_a) Re/Im(b**t drive_b)` over all inputs, `[2 N, 2 N]`."""
    plain, mirrored = (
        (drive_a.T @ drive) * (1.0 - (a[:, None] * pole) ** length) / (1.0 - a[:, None] * pole)
        for pole, drive in ((b, drive_b), (b.conj(), drive_b.conj()))
    )
    # With x, y complex: xy and x conj(y) hold all four products of their parts.
    return 0.5 * np.block(
        [
            [(plain + mirrored).real, (plain - mirrored).imag],
            [(plain + mirrored).imag, (mirrored - plain).real],
        ]
    )


def _solve(power: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Least squares by normal equations, with states of equal power."""
    norms = np.sqrt(np.maximum(np.diag(power), 1e-300))
    values, vectors = np.linalg.eigh(power / norms / norms[:, None])
    kept = values > CONDITION * values[-1]
    basis = vectors[:, kept]
    return (basis / values[kept]) @ (basis.T @ (product / norms[:, None])) / norms[:, None]
