"""Square-root balanced truncation of diagonal systems."""

from __future__ import annotations

from collections.abc import Callable

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


def balanced_truncation(system: DiagonalSystem, rank: int | np.ndarray = 8) -> Reduction:
    """Reduce every channel by balanced truncation of its conjugate-closed, real form.

    With Gramian factors ``P = L L.T``, ``Q = M M.T`` and ``M.T L = U diag(sigma) V.T``, the states kept are those of
    the largest Hankel singular values sigma, and the error obeys
    ``||G - G_reduced||_Hinf <= 2 (sigma[q] + sigma[q + 1] + ...)`` for q real states kept. The feedthrough does not
    change.

    A reduced system of real order q with k real poles takes (q + k)/2 entries. Each channel keeps the largest order,
    at most ``2 * rank``, whose entries fit; the rest is padding. Singular values below 1e-13 of the largest are never
    kept. A channel that has no more than `rank` entries is returned as it is. Every reduced channel is checked: it
    is stable, and its error, sampled densely around all resonances, is within its bound; otherwise its order is
    lowered until it is.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N, or has another shape.

    References:
        Moore, Principal component analysis in linear systems, IEEE Transactions on Automatic Control 26(1), 1981.
        Ezoe and Sato, Model compression method for S4 with diagonal state space layers using balanced truncation, 2024
        (arXiv 2402.15993).
        Demmel 1999, Haut and Beylkin 2012: see :func:`keras_s4.reduction.gramians.gramian_factors`.
    """
    check_rank(rank, system)
    return balanced_realization(system).truncate(rank)


def hankel_singular_values(system: DiagonalSystem) -> np.ndarray:
    """Return the Hankel singular values [H, 2N] of every channel, non-increasing.

    A channel has as many as real states (``system.orders``); zeros follow. Values down to 1e-13 of the largest are
    accurate relative to themselves.
    """
    parts = [system.select(block) for block in blocks_of(system.channels)]
    values = np.concatenate([np.linalg.eigvalsh(gramian_factors(part).product()) for part in parts])
    return limited_spectrum(-np.sort(-np.abs(values), axis=1), system)


def balanced_realization(
    system: DiagonalSystem, factors_of: Callable[[DiagonalSystem], GramianFactors] = gramian_factors
) -> Realization:
    """Balance every channel of a system; see :func:`balanced_truncation` for the equations.

    Args:
        system: the system to balance.
        factors_of: returns the factors of the Gramians to balance, of a system of some of the channels.
    """
    parts = [system.select(block) for block in blocks_of(system.channels)]
    return join(system, [_balanced(part, factors_of(part)) for part in parts])


def _balanced(system: DiagonalSystem, factors: GramianFactors) -> Realization:
    values, vectors = np.linalg.eigh(factors.product(), UPLO="L")
    largest_first = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, largest_first, axis=1)
    vectors = np.take_along_axis(vectors, largest_first[:, None, :], axis=2)
    spectrum = limited_spectrum(np.abs(values), system)
    signs = np.where(values < 0.0, -1.0, 1.0)
    roots, usable = inverse_roots(spectrum)
    vectors *= roots[:, None, :]
    A = signs[..., None] * (vectors.transpose(0, 2, 1) @ factors.product(system.poles) @ vectors)
    C = np.einsum("hi,hij->hj", factors.gain, vectors)
    return Realization("balanced", system, spectrum, A, signs * C, C, usable, signs)
