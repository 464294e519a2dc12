"""Balanced truncation of diagonal systems for inputs of a known power spectrum."""

from __future__ import annotations

import numpy as np

from keras_s4.reduction.gramians import GramianFactors, gramian_factors
from keras_s4.reduction.realization import (
    Realization,
    blocks_of,
    check_rank,
    inverse_roots,
    join,
    limited_spectrum,
)
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# Power at any frequency, relative to the largest, below which rounding would decide what the states have of it.
SMALLEST_POWER = 1e-12


def input_weighted_truncation(
    system: DiagonalSystem, rank: int | np.ndarray = 8, *, power_spectrum: np.ndarray
) -> Reduction:
    """Reduce every channel by balanced truncation for the inputs that it really gets.

    The controllability Gramian is the covariance of the states under an input of the given power spectrum, in place of
    white noise; the observability Gramian is that of the system. States that the input hardly excites go first. White
    input of power 1 gives balanced truncation. The feedthrough does not change, the result is stable, and there is no
    bound on its error (`error_bound` is infinite).

    Between its samples the spectrum is interpolated by the Fejer kernel: it stays positive, white stays white, and
    the input has an autocorrelation of finite length, so that the covariance has a closed form, however narrow the
    resonances of the system are beside the spacing of the samples. Power below 1e-12 of the largest counts as that
    much. A channel without any power is reduced as for white input.

    Orders, entries and checks are those of :func:`keras_s4.reduction.balanced_truncation`.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.
        power_spectrum: [F] or [H, F], power of the input (of every channel) at F equally spaced frequencies from 0
            to pi inclusive, such as the mean of ``abs(np.fft.rfft(inputs))**2``. Singular values scale with its root.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N or has another shape; if `power_spectrum` has another
            shape, fewer than two frequencies, or values that are negative or not finite.

    References:
        Enns, Model reduction with balanced realizations: an error bound and a frequency weighted generalization, IEEE
        Conference on Decision and Control, 1984.
    """
    rank = check_rank(rank, system)
    correlation = autocorrelation(_checked_power(power_spectrum, system))
    parts = [_weighted_realization(system.select(block), correlation[block]) for block in blocks_of(system.channels)]
    return join(system, parts).truncate(rank)


def autocorrelation(power: np.ndarray) -> np.ndarray:
    """Return the autocorrelation [H, K] at lags 0..K-1 of inputs with these power spectra [H, F], K = 2 (F - 1).

    That of a spectrum of lines is periodic. The triangular window interpolates the lines, see Fejer's kernel.
    """
    period = 2 * (power.shape[1] - 1)
    return np.fft.irfft(power, period, axis=1) * (1.0 - np.arange(period) / period)


def input_covariance(factors: GramianFactors, correlation: np.ndarray) -> np.ndarray:
    """Return the covariance [H, 2N, 2N] of the states in the coordinates of :meth:`GramianFactors.shift`.

    White noise gives the identity there, and shifting it by m steps ``S**m``: with the autocorrelation R the covariance
    is ``R[0] + sum_m R[m] (S**m + S.T**m)``.
    """
    S, _ = factors.shift()
    halved = correlation.copy()
    halved[:, 0] /= 2.0
    half = np.stack([_polynomial(S[h], halved[h]) for h in range(len(S))])
    return half + half.transpose(0, 2, 1)


def _polynomial(S: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return ``sum_m coefficients[m] S**m`` [n, n] in some 2 sqrt(K) products (Paterson and Stockmeyer)."""
    chunk = int(np.ceil(np.sqrt(coefficients.size)))
    powers = np.empty((chunk, *S.shape))
    powers[0] = np.eye(len(S))
    for m in range(1, chunk):
        powers[m] = powers[m - 1] @ S
    step = powers[-1] @ S
    padded = np.zeros(-(-coefficients.size // chunk) * chunk)
    padded[: coefficients.size] = coefficients
    terms = np.tensordot(padded.reshape(-1, chunk), powers, axes=1)
    result = terms[-1]
    for term in terms[-2::-1]:
        result = result @ step + term
    return result


def _weighted_realization(system: DiagonalSystem, correlation: np.ndarray) -> Realization:
    """Balance the observability Gramian with the covariance of the states, whose factor is ``L covariance_root``."""
    factors = gramian_factors(system)
    covariance_root = np.linalg.cholesky(input_covariance(factors, correlation))
    left, values, right = np.linalg.svd(factors.product() @ covariance_root)
    spectrum = limited_spectrum(values, system)
    roots, usable = inverse_roots(spectrum)
    left = (left * roots[:, None, :]).transpose(0, 2, 1)
    right = covariance_root @ (right * roots[:, :, None]).transpose(0, 2, 1)
    A = left @ factors.product(system.poles) @ right
    B = np.einsum("hij,hj->hi", left, factors.gain)
    C = np.einsum("hi,hij->hj", factors.gain, right)
    return Realization("input_weighted", system, spectrum, A, B, C, usable, bounded=False)


def _checked_power(power_spectrum: np.ndarray, system: DiagonalSystem) -> np.ndarray:
    """Return the power [H, F], positive, or raise a ValueError."""
    power = np.asarray(power_spectrum)
    if not (np.issubdtype(power.dtype, np.floating) or np.issubdtype(power.dtype, np.integer)):
        raise ValueError(
            f"Received power_spectrum of type {power.dtype}; expected real numbers, as abs(np.fft.rfft(x))**2."
        )
    if power.ndim not in (1, 2) or power.shape[-1] < 2 or power.shape[:-1] not in ((), (system.channels,)):
        raise ValueError(
            f"Received power_spectrum of shape {power.shape}; expected [F] or [{system.channels}, F], with at least "
            "two frequencies from 0 to pi."
        )
    if not np.isfinite(power).all() or (power < 0.0).any():
        raise ValueError("Received a power_spectrum with negative or non-finite values; power is at least 0.")
    power = np.broadcast_to(power.astype(np.float64), (system.channels, power.shape[-1]))
    largest = power.max(axis=1, keepdims=True)
    return np.where(largest > 0.0, np.maximum(power, SMALLEST_POWER * largest), 1.0)
