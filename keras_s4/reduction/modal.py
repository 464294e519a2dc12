"""Modal truncation: keeps the entries that matter most, as they are."""

from __future__ import annotations

import numpy as np

from keras_s4.reduction.realization import check_rank
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# What rounding may take off a score, relative: the largest gain is evaluated at a frequency that is itself rounded.
ROUNDING = 1e-9


def modal_truncation(system: DiagonalSystem, rank: int | np.ndarray = 8) -> Reduction:
    """Keep the entries of every channel with the largest scores (:func:`modal_scores`) and drop the others.

    Poles and residues stay as they are, and so does the feedthrough. By the triangle inequality the error obeys
    ``||G - G_reduced||_Hinf <=`` the sum of the scores dropped.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel, in the order they had, and its spectrum
        [H, N] holds the scores, non-increasing.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N, or has another shape.

    References:
        Gwak, Moon, Ko and Park, Layer-adaptive state pruning for deep state space models, NeurIPS 2024
        (arXiv 2411.02824), which compares such scores across layers.
    """
    rank = check_rank(rank, system)
    scores = modal_scores(system)
    width = rank.max(initial=1)
    best_first = np.argsort(-scores, axis=1, kind="stable")
    spectrum = np.take_along_axis(scores, best_first, axis=1)
    kept = np.sort(np.where(np.arange(width) < rank[:, None], best_first[:, :width], system.state_size), axis=1)
    poles, residues = (_taken(values, kept) for values in (system.poles, system.residues))
    dropped = np.where(np.arange(system.state_size) >= rank[:, None], spectrum, 0.0).sum(axis=1)
    reduced = DiagonalSystem(poles, residues, system.feedthrough)
    return Reduction("modal", system, reduced, spectrum, (1.0 + ROUNDING) * dropped, reduced.orders)


def modal_scores(system: DiagonalSystem) -> np.ndarray:
    """Return the Hinf norm [H, N] of what every entry contributes to its channel, a pair together with its conjugate.

    For a complex mode alone the norm is ``|r| / (1 - |p|)``, the score of LAST. A pair has up to twice as much where
    its two resonances overlap, near the real axis, so the norm of the pair is what bounds the error. It has a closed
    form: with ``c = cos(omega)`` the squared gain is ``(alpha - beta c) / (d0 + d1 c + d2 c**2)``, whose derivative has
    one zero at most in [-1, 1]. Padding scores 0.
    """
    p, r = system.poles, np.where(system.is_padding, 0.0, system.residues)
    # Numerator n0 - n1 / z, denominator 1 - s / z + q / z**2.
    n0, n1, s, q = 2.0 * r.real, 2.0 * (r * p.conj()).real, 2.0 * p.real, np.abs(p) ** 2
    alpha, beta = n0**2 + n1**2, 2.0 * n0 * n1
    d0, d1, d2 = (1.0 - q) ** 2 + s**2, -2.0 * s * (1.0 + q), 4.0 * q
    mixed = beta * d0 + alpha * d1
    divisor = alpha * d2 + np.sqrt(np.maximum(d2 * (alpha**2 * d2 + beta * mixed), 0.0))
    cosine = np.where(divisor > 0.0, -mixed / np.where(divisor > 0.0, divisor, 1.0), 1.0)
    # The angle of the pole, too: beside the unit circle the peak is there, and the cosine is less accurate.
    ends = np.zeros_like(cosine), np.full_like(cosine, np.pi)
    omega = np.stack([np.arccos(np.clip(cosine, -1.0, 1.0)), np.angle(p), *ends], axis=2)
    entries = DiagonalSystem(p.reshape(-1, 1), r.reshape(-1, 1), np.zeros(p.size))
    gains = np.abs(entries.frequency_response(omega.reshape(p.size, 4)))
    return gains.max(axis=1).reshape(p.shape)


def _taken(values: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Return the given entries [H, R] of `values` [H, N]; zero for the entry N."""
    padded = np.concatenate([values, np.zeros((values.shape[0], 1))], axis=1)
    return np.take_along_axis(padded, entries, axis=1)
