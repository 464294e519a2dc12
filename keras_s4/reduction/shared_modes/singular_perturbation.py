"""Balanced singular perturbation approximation of a system whose modes are shared: constant inputs stay exact."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.balanced import modal_realization
from keras_s4.reduction.shared_modes.realization import ModalRealization, check_rank_of_modes


class _PerturbedRealization(ModalRealization):
    """A balanced realization of ``k[t + 1]`` whose least states are not left out but taken at their equilibrium."""

    def _matrices(self, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the matrices of the reduced ``k[t + 1]``."""
        q, (A, B, C) = order, (self.A, self.B, self.C)
        # The equilibrium of the other states, (I - A22) x2 = A21 x1 + B2 u.
        equilibrium = np.linalg.solve(np.eye(len(A) - q) - A[q:, q:], np.concatenate([A[q:, :q], B[q:]], axis=1))
        states, inputs = equilibrium[:, :q], equilibrium[:, q:]
        return A[:q, :q] + A[:q, q:] @ states, B[:q] + A[:q, q:] @ inputs, C[:, :q] + C[:, q:] @ states

    def _system(self, poles: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem | None:
        """Return the system of these entries of ``k[t + 1]``, with the feedthrough that gives it the gain at z = 1."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a pole at zero has no entry
            outputs = np.where(outputs == 0.0, 0.0, outputs / poles)
        if not np.isfinite(outputs).all():
            return None
        reduced = super()._system(poles, inputs, outputs)
        missing = (self.system - reduced).frequency_response(0.0).real[..., 0]
        return dataclasses.replace(reduced, feedthrough=self.system.feedthrough + missing)


def singular_perturbation_of_modes(system: ModalSystem, rank: int = 8) -> ModalReduction:
    """Reduce a system by balanced singular perturbation approximation: the gain for constant inputs stays exact.

    See :func:`keras_s4.reduction.singular_perturbation`, which does this to every channel of a diagonal system.
    ``G_reduced(1) = G(1)`` holds to rounding, and the error obeys
    ``||G - G_reduced||_Hinf <= 2 (sigma[q] + sigma[q + 1] + ...)`` for q real states kept, the Hankel singular values
    being those of ``k[1], k[2], ...``. The feedthrough changes, from every input to every output.

    Orders, entries and checks are those of :func:`balanced_truncation_of_modes`.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N.

    References:
        Liu and Anderson, Singular perturbation approximation of balanced systems, International Journal of Control
        50(4), 1989.
        Al-Saggaf and Franklin, Model reduction via balanced realizations: an extension and frequency weighting
        techniques, IEEE Transactions on Automatic Control 33(7), 1988 (discrete time).
    """
    check_rank_of_modes(rank, system)
    ahead = ModalSystem(system.poles, system.inputs, system.outputs * system.poles, np.zeros_like(system.feedthrough))
    balanced = modal_realization(ahead)
    changes = {"method": "singular_perturbation", "system": system}
    return balanced.derived(_PerturbedRealization, **changes).truncate(rank)
