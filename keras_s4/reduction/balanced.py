"""Square-root balanced truncation of diagonal systems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_s4.reduction.gramians import GramianFactors, gramian_factors
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# Singular values below this part of the largest are dropped whatever the rank: balancing divides by their square roots.
_SMALLEST_RATIO = 1e-13
# What rounding may add to the error of a reduced system, relative to the largest Hankel singular value.
_ROUNDING = 1e-11


@dataclass(frozen=True, eq=False)
class BalancedRealization:
    """The balanced realization of every channel, from which systems of every order are cut.

    A single-input single-output system has a symmetric Hankel operator, so its balanced realization is symmetric but
    for signs: ``A = diag(signs) A.T diag(signs)``, ``B = signs * C``.

    Attributes:
        system: the original system.
        spectrum: [H, 2N] Hankel singular values, non-increasing.
        signs: [H, 2N] of +1 and -1, the signs of the eigenvalues of the Hankel operator.
        A: [H, 2N, 2N] float, zero beyond the usable order.
        C: [H, 2N] float.
        usable: [H] int, the largest order whose singular values all count numerically.
    """

    system: DiagonalSystem
    spectrum: np.ndarray
    signs: np.ndarray
    A: np.ndarray
    C: np.ndarray
    usable: np.ndarray

    def truncate(self, rank: int | np.ndarray) -> Reduction:
        """Return the reduction to `rank` entries, see :func:`balanced_truncation`."""
        rank = _checked_rank(rank, self.system)
        entries = (~self.system.is_padding).sum(axis=1)
        poles = np.zeros((self.system.channels, rank.max()), dtype=np.complex128)
        residues = np.zeros_like(poles)
        orders = self._fill_truncated(np.flatnonzero(entries > rank), rank, poles, residues)
        whole = np.flatnonzero(entries <= rank)
        _fill_whole(self.system, whole, poles, residues)
        orders[whole] = self.system.orders[whole]
        bound = 2.0 * np.where(np.arange(self.spectrum.shape[1]) >= orders[:, None], self.spectrum, 0.0).sum(axis=1)
        bound[whole] = 0.0
        reduced = DiagonalSystem(poles, residues, self.system.feedthrough)
        return Reduction("balanced", self.system, reduced, self.spectrum, bound, orders)

    def _fill_truncated(
        self, channels: np.ndarray, rank: np.ndarray, poles: np.ndarray, residues: np.ndarray
    ) -> np.ndarray:
        """Write the reduced entries of `channels` into `poles` and `residues`; return the orders [H] found.

        The order starts at the largest that may fit and falls by one wherever the result needs more than `rank`
        entries (real poles take a whole one) or is not what the theory promises because of rounding: unstable, or off
        by more than its bound, as happens when the eigenvectors of A are nearly dependent.
        """
        order = np.minimum(2 * rank, self.usable)
        pending = channels
        while pending.size:
            failed = []
            for q in np.unique(order[pending]):
                group = pending[order[pending] == q]
                fits = self._fill_order(group, q, rank[group], poles, residues)
                failed.append(group[~fits])
            pending = np.concatenate(failed)
            order[pending] -= 1
        return order

    def _fill_order(
        self, group: np.ndarray, q: int, rank: np.ndarray, poles: np.ndarray, residues: np.ndarray
    ) -> np.ndarray:
        """Write the entries at order q of the channels `group`; return a mask of those for which that order will do."""
        width = poles.shape[1]
        entry_poles, entry_residues, count = self._modes(group, q)
        # Even in exact arithmetic a pole can reach the unit circle where the order splits equal singular values.
        stable = (np.abs(entry_poles) < 1.0 - 1e-15).all(axis=1) & np.isfinite(entry_residues).all(axis=1)
        fits = (count <= rank) & stable
        chosen, entries = group[fits], min(width, q)
        poles[chosen], residues[chosen] = 0.0, 0.0
        poles[chosen, :entries] = entry_poles[fits, :entries]
        residues[chosen, :entries] = entry_residues[fits, :entries]
        reduced = DiagonalSystem(poles[chosen], residues[chosen], self.system.feedthrough[chosen])
        limit = 2.0 * self.spectrum[chosen, q:].sum(axis=1) + _ROUNDING * self.spectrum[chosen, 0]
        fits[fits] = _largest_error(self.system.select(chosen), reduced) <= limit
        return fits | (q == 0)  # nothing is left to lower

    def _modes(self, group: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Diagonalise the leading q states of the channels `group`.

        The residues come from a linear system with the eigenvectors, although the symmetry of A gives them without: of
        two nearly equal poles neither residue is well determined, but the solution of the system has their sum right.

        Returns:
            Poles and residues [G, q], those of one entry for each pair and each real pole first, zeros behind, and
            the number of entries [G].
        """
        values, vectors = np.linalg.eig(self.A[group, :q, :q])
        C = self.C[group, :q]
        with np.errstate(over="ignore", invalid="ignore"):  # dependent eigenvectors; the caller looks at the result
            residues = np.einsum("gi,gij->gj", C, vectors) * _solved(vectors, self.signs[group, :q] * C)
        is_real = values.imag == 0.0
        residues = np.where(is_real, 0.5 * residues.real, residues)
        kept = values.imag >= 0.0
        first = np.argsort(~kept, axis=1, kind="stable")
        values, residues = (np.take_along_axis(np.where(kept, x, 0.0), first, axis=1) for x in (values, residues))
        return values.astype(np.complex128), residues.astype(np.complex128), kept.sum(axis=1)


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
    _checked_rank(rank, system)
    return balanced_realization(system).truncate(rank)


def hankel_singular_values(system: DiagonalSystem) -> np.ndarray:
    """Return the Hankel singular values [H, 2N] of every channel, non-increasing.

    A channel has as many as real states (``system.orders``); zeros follow. Values down to 1e-13 of the largest are
    accurate relative to themselves.
    """
    factors = gramian_factors(system)
    values = np.linalg.eigvalsh(_hankel_matrix(factors, np.ones_like(system.poles)))
    return _spectrum(-np.sort(-np.abs(values), axis=1), system)


def balanced_realization(system: DiagonalSystem) -> BalancedRealization:
    """Balance every channel of a system; see :func:`balanced_truncation` for the equations."""
    factors = gramian_factors(system)
    # Graded from the top left, which is what lets the eigensolver (lower triangle) resolve the smallest ones.
    values, vectors = np.linalg.eigh(_hankel_matrix(factors, np.ones_like(system.poles)), UPLO="L")
    largest_first = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, largest_first, axis=1)
    vectors = np.take_along_axis(vectors, largest_first[:, None, :], axis=2)
    spectrum = _spectrum(np.abs(values), system)
    counts = (spectrum > 0.0) & (spectrum >= _SMALLEST_RATIO * spectrum[:, :1])
    signs = np.where(values < 0.0, -1.0, 1.0)
    vectors *= np.where(counts, 1.0 / np.sqrt(np.where(counts, spectrum, 1.0)), 0.0)[:, None, :]
    A = signs[..., None] * (vectors.transpose(0, 2, 1) @ _hankel_matrix(factors, system.poles) @ vectors)
    output = np.einsum("hn,hni->hi", factors.scale**2 * factors.weights * factors.phases, factors.rows).real
    C = np.einsum("hi,hij->hj", output, vectors)
    return BalancedRealization(system, spectrum, signs, A, C, counts.sum(axis=1))


def _hankel_matrix(factors: GramianFactors, middle: np.ndarray) -> np.ndarray:
    """Return ``M.T diag(middle) L`` [H, 2N, 2N], real and symmetric, for the Gramian factors L and M.

    With `middle` 1 its eigenvalues are the Hankel singular values with signs; with the poles it is A before balancing.
    """
    left = (factors.scale**2 * factors.phases * middle)[..., None] * factors.rows
    product = left.real.transpose(0, 2, 1) @ factors.rows.real - left.imag.transpose(0, 2, 1) @ factors.rows.imag
    return 0.5 * (product + product.transpose(0, 2, 1))


def _solved(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve ``matrices [G, q, q] x = right [G, q]``; NaN where a matrix is singular, as eigenvectors can be."""
    try:
        return np.linalg.solve(matrices, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if matrices.shape[0] == 1:
            return np.full(right.shape, np.nan)
        return np.concatenate([_solved(matrices[[g]], right[[g]]) for g in range(matrices.shape[0])])


def _spectrum(values: np.ndarray, system: DiagonalSystem) -> np.ndarray:
    """Set to zero what lies beyond the number of real states of each channel; it is rounding."""
    return np.where(np.arange(values.shape[1]) < system.orders[:, None], values, 0.0)


def _largest_error(original: DiagonalSystem, reduced: DiagonalSystem) -> np.ndarray:
    """Return the largest error [H] on a grid dense around the resonances of both systems, a lower bound of Hinf."""
    error = original - reduced
    return np.abs(error.frequency_response(error.resonance_grid(uniform=65, around=5))).max(axis=1)


def _fill_whole(system: DiagonalSystem, channels: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> None:
    """Copy the entries of `channels` unchanged; where the width shrinks, without the padding."""
    if poles.shape[1] == system.state_size:
        poles[channels], residues[channels] = system.poles[channels], system.residues[channels]
        return
    for h in channels:
        active = np.flatnonzero(~system.is_padding[h])
        poles[h, : active.size] = system.poles[h, active]
        residues[h, : active.size] = system.residues[h, active]


def _checked_rank(rank: int | np.ndarray, system: DiagonalSystem) -> np.ndarray:
    """Return the rank of every channel [H], or raise a ValueError."""
    allowed = f"expected integers from 1 to {system.state_size}, the state size of the system"
    array = np.asarray(rank)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"Received rank={rank!r} of type {array.dtype}; {allowed}.")
    if array.shape not in ((), (system.channels,)):
        raise ValueError(f"Received rank of shape {array.shape}; expected one integer or ({system.channels},) of them.")
    if array.size and (array.min() < 1 or array.max() > system.state_size):
        wrong = array.min() if array.min() < 1 else array.max()
        raise ValueError(f"Received rank={wrong}; {allowed}.")
    return np.broadcast_to(array, (system.channels,)).astype(int)
