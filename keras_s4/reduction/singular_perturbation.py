"""Balanced singular perturbation approximation of diagonal systems, which keeps the gain for constant inputs."""

from __future__ import annotations

import numpy as np

from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.realization import Realization, check_rank, diagonalized, solved
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem


class _PerturbedRealization(Realization):
    """A balanced realization of ``k[t + 1]`` whose least states are not left out but taken at their equilibrium."""

    def _matrices(self, group: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        A, B, C = self.A[group], self.B[group], self.C[group]
        # The equilibrium of the other states, (I - A22) x2 = A21 x1 + B2 u.
        right = np.concatenate([A[:, q:, :q], B[:, q:, None]], axis=2)
        equilibrium = solved(np.eye(A.shape[1] - q) - A[:, q:, q:], right)
        states, inputs = equilibrium[..., :q], equilibrium[..., q:]
        return (
            A[:, :q, :q] + A[:, :q, q:] @ states,
            B[:, :q] + (A[:, :q, q:] @ inputs)[..., 0],
            C[:, :q] + (C[:, None, q:] @ states)[:, 0],
        )

    def _entries(self, A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the poles and residues [G, q] of the reduced ``k[t]``, for which those of ``k[t + 1]`` are divided."""
        poles, residues, count = diagonalized(A, B, C)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a pole at zero has no entry
            residues = np.where(residues == 0.0, 0.0, residues / poles)
        return poles, residues, count

    def _with_feedthrough(self, group: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> DiagonalSystem:
        """Return the reduced system with the feedthrough that gives it the gain of the original at z = 1."""
        without = DiagonalSystem(poles, residues, np.zeros(len(group)))
        missing = (self.system.select(group) - without).frequency_response(0.0).real
        return DiagonalSystem(poles, residues, missing[:, 0])


def singular_perturbation(system: DiagonalSystem, rank: int | np.ndarray = 8) -> Reduction:
    """Reduce every channel by balanced singular perturbation approximation: the gain for constant inputs stays exact.

    Balanced truncation is exact at infinite frequency and worst for slow signals. Here the states of the smallest
    Hankel singular values are not left out; they are taken at their equilibrium, ``x2 = A21 x1 + A22 x2 + B2 u``.
    ``G_reduced(1) = G(1)`` holds to rounding, and the error obeys the bound of balanced truncation,
    ``||G - G_reduced||_Hinf <= 2 (sigma[q] + sigma[q + 1] + ...)`` for q real states kept. The feedthrough changes.

    The method needs the system in the form ``x[t + 1] = A x[t] + B u[t], y[t] = C A x[t] + k[0] u[t]``, so that the
    singular values are those of ``k[1], k[2], ...`` here: a little smaller than the ones of balanced truncation. A
    reduced pole near zero takes a large residue, which the feedthrough cancels; where that costs accuracy, the order is
    lowered, as for all that :func:`keras_s4.reduction.balanced_truncation` says about orders, entries and checks.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N, or has another shape.

    References:
        Liu and Anderson, Singular perturbation approximation of balanced systems, International Journal of Control
        50(4), 1989.
        Al-Saggaf and Franklin, Model reduction via balanced realizations: an extension and frequency weighting
        techniques, IEEE Transactions on Automatic Control 33(7), 1988 (discrete time).
    """
    rank = check_rank(rank, system)
    ahead = DiagonalSystem(system.poles, system.residues * system.poles, np.zeros(system.channels))
    balanced = balanced_realization(ahead)
    return balanced.derived(_PerturbedRealization, method="singular_perturbation", system=system).truncate(rank)
