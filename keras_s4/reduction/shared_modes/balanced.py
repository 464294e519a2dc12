"""Balanced truncation of a system whose modes are shared by several inputs and outputs."""

from __future__ import annotations

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.realization import (
    ModalRealization,
    RealForm,
    balance,
    check_rank_of_modes,
)


def balanced_truncation_of_modes(system: ModalSystem, rank: int = 8) -> ModalReduction:
    """Reduce a system of several inputs and outputs as a whole by square-root balanced truncation.

    With Gramian factors ``P = L L.T``, ``Q = M M.T`` of the conjugate-closed real form and
    ``M.T L = U diag(sigma) V.T``, the states kept are those of the largest Hankel singular values sigma, and the error
    obeys ``||G - G_reduced||_Hinf <= 2 (sigma[q] + sigma[q + 1] + ...)`` for q real states kept, Hinf being the largest
    singular value over all frequencies. The feedthrough does not change.

    A reduced system of real order q with k real poles takes (q + k)/2 entries. The largest order whose entries fit is
    kept; the rest is padding. Singular values below 1e-13 of the largest are never kept. A system of no more than
    `rank` entries is returned as it is. The result is checked: it is stable, and its error, sampled densely around all
    resonances, is within its bound; otherwise the order is lowered until it is.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N.

    References:
        Moore, Principal component analysis in linear systems, IEEE Transactions on Automatic Control 26(1), 1981.
        Laub, Heath, Paige and Ward, Computation of system balancing transformations, IEEE Transactions on Automatic
        Control 32(2), 1987 (square-root method).
    """
    check_rank_of_modes(rank, system)
    return modal_realization(system).truncate(rank)


def singular_values_of_modes(system: ModalSystem) -> np.ndarray:
    """Return the Hankel singular values [2N] of a system, non-increasing; zeros behind its real states."""
    return modal_realization(system).spectrum


def modal_realization(system: ModalSystem) -> ModalRealization:
    """Balance a system by its Gramians."""
    return balance("balanced", system, RealForm.factors, bounded=True)
