"""Balanced truncation of a system whose modes are shared by several inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, qr

from keras_s4.brief import Brief
from keras_s4.modal_system import ModalSystem
from keras_s4.orthonormal import one_minus_squared_radius, orthonormal_basis, pairwise_factors
from keras_s4.reduction.gramians import pivot_order
from keras_s4.reduction.realization import ROUNDING, SMALLEST_RATIO, is_stable
from keras_s4.reduction.result import ModalReduction

# Of LAPACK's Jacobi singular value decomposition: rows and columns may be scaled at will, and U and V are wanted.
_SCALED_ON_BOTH_SIDES, _U, _V = 2, 0, 0


@dataclass(frozen=True, eq=False, repr=False)
class ModalRealization(Brief):
    """A balanced real realization ``C A**t B`` of a system, from which systems of every order are cut.

    Attributes:
        system: the original system.
        spectrum: [2N] Hankel singular values, non-increasing; zeros behind as many as there are real states.
        A: [q, q] float, q being the largest order whose singular values all count numerically.
        B: [q, I] float.
        C: [O, q] float.
    """

    system: ModalSystem
    spectrum: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray

    def truncate(self, rank: int) -> ModalReduction:
        """Return the reduction to `rank` entries, see :func:`balanced_truncation_of_modes`."""
        rank = _check_rank(rank, self.system)
        active = np.flatnonzero(~self.system.is_padding)
        if active.size <= rank:
            return ModalReduction(self.system, _chosen(self.system, active).padded(rank), self.spectrum, 0.0)
        for order in range(min(2 * rank, len(self.A)), 0, -1):
            reduced = self._entries(order, rank)
            bound = 2.0 * float(self.spectrum[order:].sum())
            if reduced is not None and self._is_sound(reduced, bound):
                return ModalReduction(self.system, reduced.padded(rank), self.spectrum, bound)
        nothing = _chosen(self.system, active[:0]).padded(rank)
        return ModalReduction(self.system, nothing, self.spectrum, 2.0 * float(self.spectrum.sum()))

    def _entries(self, order: int, rank: int) -> ModalSystem | None:
        """Return the system of an order; None if it needs more entries than `rank`, or is not stable."""
        values, vectors = np.linalg.eig(self.A[:order, :order])
        kept = values.imag >= 0.0
        if kept.sum() > rank or not is_stable(values).all():
            return None
        try:
            inputs = np.linalg.solve(vectors, self.B[:order].astype(np.complex128))[kept]
        except np.linalg.LinAlgError:
            return None
        outputs, real = (self.C[:, :order] @ vectors)[:, kept].astype(np.complex128), values[kept].imag == 0.0
        if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
            return None
        inputs[real], outputs[:, real] = inputs[real].real, 0.5 * outputs[:, real].real
        scale = np.sqrt(_norms(outputs.T) / np.maximum(_norms(inputs), np.finfo(float).tiny))
        scale[scale == 0.0] = 1.0
        return ModalSystem(values[kept], inputs * scale[:, None], outputs / scale, self.system.feedthrough)

    def _is_sound(self, reduced: ModalSystem, bound: float) -> bool:
        """Whether the error, sampled densely around all resonances, is within its bound."""
        error = self.system - reduced
        return not error.exceeds(bound + ROUNDING * self.spectrum[0], error.resonance_grid(65, 5))


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
    _check_rank(rank, system)
    return modal_realization(system).truncate(rank)


def singular_values_of_modes(system: ModalSystem) -> np.ndarray:
    """Return the Hankel singular values [2N] of a system, non-increasing; zeros behind its real states."""
    return modal_realization(system).spectrum


def modal_realization(system: ModalSystem) -> ModalRealization:
    """Balance a system.

    A Gramian is the sum over inputs (or outputs) of Cauchy-like ones, whose factors have a closed form: the values of
    orthonormal functions at the poles (:func:`keras_s4.orthonormal.orthonormal_basis`), times what the input adds to
    each mode. Side by side they are one factor with many columns; a QR decomposition with both rows and columns in the
    order of their size makes it square, with small errors relative to each row and to each column. So do the products
    and Jacobi's method behind it, so that small singular values are not lost in the rounding of large ones.

    References:
        Cox and Higham, Stability of Householder QR factorization for weighted least squares problems, 1998.
        Drmac and Veselic, New fast and accurate Jacobi SVD algorithm, SIAM J. Matrix Anal. Appl. 29(4), 2008.
    """
    size = 2 * system.state_size
    closed = _chosen(system, np.flatnonzero(~system.is_padding))
    if not closed.state_size:
        empty = np.zeros((0, 0))
        inputs, outputs = system.input_size, system.output_size
        return ModalRealization(system, np.zeros(size), empty, np.zeros((0, inputs)), np.zeros((outputs, 0)))
    real = _RealForm.of(closed)
    L, M = (_square_factor(factor) for factor in real.factors())
    U, sigma, V = _jacobi_svd(M.T @ L)
    usable = int(((sigma > 0.0) & (sigma >= SMALLEST_RATIO * sigma[0])).sum())
    roots = 1.0 / np.sqrt(sigma[:usable])
    left, right = U[:, :usable] * roots, V[:, :usable] * roots
    A = left.T @ (M.T @ real.times_poles(L)) @ right
    B, C = (M @ left).T @ real.B, real.C @ (L @ right)
    return ModalRealization(system, np.pad(sigma, (0, size - sigma.size)), A, B, C)


@dataclass(frozen=True, eq=False)
class _RealForm:
    """The conjugate-closed system in real coordinates: real parts of the S states, and imaginary ones that are there.

    Attributes:
        system: without padding, each entry with inputs and outputs of equal norms.
        scale: [N], 1 for an entry of one real state, sqrt(2) for others.
        complex: [N] bool, entries of two real states.
        B: [S, I] float.
        C: [O, S] float.
    """

    system: ModalSystem
    scale: np.ndarray
    complex: np.ndarray
    B: np.ndarray
    C: np.ndarray

    @classmethod
    def of(cls, system: ModalSystem) -> _RealForm:
        """The real form of a system without padding."""
        two = ~system.is_real
        balance = np.sqrt(_norms(system.outputs.T) / _norms(system.inputs))
        outputs = system.outputs / balance
        outputs[:, ~two] *= 2.0  # of one real state nothing is doubled
        system = ModalSystem(system.poles, system.inputs * balance[:, None], outputs, system.feedthrough)
        scale = np.where(two, np.sqrt(2.0), 1.0)
        B, C = scale[:, None] * system.inputs, (scale * system.outputs).T.conj()
        return cls(system, scale, two, _stacked(B, two), _stacked(C, two).T)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of the Gramians of controllability [S, 2 N I] and observability [S, 2 N O]."""
        poles = self.system.poles[None]
        gap = one_minus_squared_radius(poles)
        pairwise = pairwise_factors(poles, poles, gap)
        size = self.scale * _norms(self.system.inputs)
        order = pivot_order(size[None] ** 2 / gap, pairwise.blaschke)
        values = orthonormal_basis(poles, pairwise.ordered(order))[0][0] * self.scale[:, None]
        sides = (self.system.inputs, values), (self.system.outputs.T.conj(), values.conj())
        return tuple(
            _stacked((weights[:, :, None] * basis[:, None, :]).reshape(len(weights), -1), self.complex)
            for weights, basis in sides
        )

    def times_poles(self, rows: np.ndarray) -> np.ndarray:
        """`A rows` of real rows [S, k]."""
        poles, two = self.system.poles[:, None], self.complex
        count = len(poles)
        real, imaginary = rows[:count], np.zeros((count, rows.shape[1]))
        imaginary[two] = rows[count:]
        return np.concatenate(
            [poles.real * real - poles.imag * imaginary, (poles.imag * real + poles.real * imaginary)[two]]
        )


def _stacked(values: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Real rows [S, k] of complex ones [N, k]: the real parts, and below them the imaginary ones of some."""
    return np.concatenate([values.real, values.imag[two]])


def _square_factor(factor: np.ndarray) -> np.ndarray:
    """Return X [S, min(S, k)] with ``X X.T = factor factor.T``, rows and columns each accurate for their size."""
    largest_first = np.argsort(-np.abs(factor).max(axis=0), kind="stable")
    R, pivots = qr(factor[:, largest_first].T, mode="r", pivoting=True)
    square = np.empty((factor.shape[0], min(factor.shape)))
    square[pivots] = R[: square.shape[1]].T
    return square


def _jacobi_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return U, sigma and V of a matrix whose rows and columns are of very different size."""
    wide = matrix.shape[0] < matrix.shape[1]  # the method wants no more columns than rows
    values, U, V, work, _, info = lapack.dgejsv(
        matrix.T if wide else matrix, joba=_SCALED_ON_BOTH_SIDES, jobu=_U, jobv=_V
    )
    if info != 0:
        U, values, Vt = np.linalg.svd(matrix.T if wide else matrix, full_matrices=False)
        V = Vt.T
    else:
        values = values * (work[0] / work[1])
    order = np.argsort(-values, kind="stable")
    U, V = U[:, order], V[:, order]
    return (V, values[order], U) if wide else (U, values[order], V)


def _chosen(system: ModalSystem, entries: np.ndarray) -> ModalSystem:
    return ModalSystem(system.poles[entries], system.inputs[entries], system.outputs[:, entries], system.feedthrough)


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1)


def _check_rank(rank: int, system: ModalSystem) -> int:
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 1 <= rank <= system.state_size:
        raise ValueError(
            f"Received rank={rank!r}; expected an integer from 1 to {system.state_size}, the state size of the system."
        )
    return int(rank)
