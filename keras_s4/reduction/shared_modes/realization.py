"""Real realizations of systems whose modes are shared, and the stable systems that are cut from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from scipy.linalg import lapack, qr

from keras_s4.brief import Brief
from keras_s4.modal_system import ModalSystem
from keras_s4.orthonormal import one_minus_squared_radius, orthonormal_basis, pairwise_factors
from keras_s4.reduction.gramians import pivot_order
from keras_s4.reduction.realization import CANCELLING, ROUNDING, SMALLEST_RATIO, is_stable
from keras_s4.reduction.result import ModalReduction

# Of LAPACK's Jacobi singular value decomposition: rows and columns may be scaled at will, and U and V are wanted.
_SCALED_ON_BOTH_SIDES, _U, _V = 2, 0, 0


@dataclass(frozen=True, eq=False, repr=False)
class ModalRealization(Brief):
    """A real realization ``C A**t B`` of a system with its states in the order of importance.

    Systems of every order are cut from it; a subclass may cut in another way than by leaving out states.

    Attributes:
        method: its name, a key of `keras_s4.reduction.METHODS`.
        system: the original system.
        spectrum: [2N] singular values, non-increasing; zeros behind as many as there are real states.
        A: [q, q] float, q being the largest order whose singular values all count numerically.
        B: [q, I] float.
        C: [O, q] float.
        bounded: whether twice the sum of the singular values left out bounds the Hinf norm of the error.
    """

    method: str
    system: ModalSystem
    spectrum: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    bounded: bool = True

    def derived(self, kind: type[ModalRealization], **changes) -> ModalRealization:
        """Return a realization of the class `kind` with the same attributes but for `changes`."""
        return kind(**{item.name: getattr(self, item.name) for item in fields(ModalRealization)} | changes)

    def truncate(self, rank: int) -> ModalReduction:
        """Return the reduction to `rank` entries, see :func:`balanced_truncation_of_modes`."""
        rank = check_rank_of_modes(rank, self.system)
        active = np.flatnonzero(~self.system.is_padding)
        if active.size <= rank:
            return self._reduction(chosen_modes(self.system, active).padded(rank), 0.0)
        stabilized = False
        for order in range(min(2 * rank, len(self.A)), 0, -1):
            entries = self._entries(order, rank)
            if entries is None:
                continue
            unstable = not is_stable(entries[0]).all()
            stabilized |= unstable
            reduced = self._stable_system(*entries) if unstable else self._system(*entries)
            if reduced is not None and self._is_sound(reduced, order):
                return self._reduction(reduced.padded(rank), self._bound(order), stabilized)
        return self._reduction(chosen_modes(self.system, active[:0]).padded(rank), self._bound(0), stabilized)

    def _reduction(self, reduced: ModalSystem, bound: float, stabilized: bool = False) -> ModalReduction:
        return ModalReduction(self.method, self.system, reduced, self.spectrum, bound, stabilized)

    def _bound(self, order: int) -> float:
        return 2.0 * float(self.spectrum[order:].sum()) if self.bounded else np.inf

    def _matrices(self, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the matrices of the system of an order."""
        return self.A[:order, :order], self.B[:order], self.C[:, :order]

    def _entries(self, order: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return poles, inputs and outputs of the system of an order; None if it needs more entries than `rank`."""
        A, B, C = self._matrices(order)
        values, vectors = np.linalg.eig(A)
        kept = values.imag >= 0.0
        if kept.sum() > rank:
            return None
        try:
            inputs = np.linalg.solve(vectors, B.astype(np.complex128))[kept]
        except np.linalg.LinAlgError:
            return None
        outputs, real = (C @ vectors)[:, kept].astype(np.complex128), values[kept].imag == 0.0
        if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
            return None
        inputs[real], outputs[:, real] = inputs[real].real, 0.5 * outputs[:, real].real
        return values[kept].astype(np.complex128), inputs, outputs

    def _system(self, poles: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem | None:
        """Return the system of these entries."""
        scale = np.sqrt(norms(outputs.T) / np.maximum(norms(inputs), np.finfo(float).tiny))
        scale[scale == 0.0] = 1.0
        return ModalSystem(poles, inputs * scale[:, None], outputs / scale, self.system.feedthrough)

    def _stable_system(self, poles: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem | None:
        """Return a stable system in place of one that is not; None lowers the order."""
        return None

    def _is_sound(self, reduced: ModalSystem, order: int) -> bool:
        """Whether no rounding has spoilt the system of an order.

        Where there is a bound, the error, sampled densely around all resonances, must keep it. Elsewhere the entries
        must not be so large that they have lost their sum.
        """
        if not self.bounded:
            return gross_gain(reduced) <= CANCELLING * gross_gain(self.system)
        error = self.system - reduced
        return not error.exceeds(self._bound(order) + ROUNDING * self.spectrum[0], error.resonance_grid(65, 5))


def balance(
    method: str,
    system: ModalSystem,
    factors_of: Callable[[RealForm], tuple[np.ndarray, np.ndarray]],
    smallest_ratio: float = SMALLEST_RATIO,
    bounded: bool = False,
) -> ModalRealization:
    """Balance a system by two Gramians.

    Args:
        method: its name.
        system: the original system.
        factors_of: returns factors L [S, j] and M [S, k] of the Gramians ``L L.T`` and ``M M.T`` of a real form of S
            states.
        smallest_ratio: singular values below this part of the largest are never kept.
        bounded: see :class:`ModalRealization`.
    """
    form, size = RealForm.of(system), 2 * system.state_size
    if not form.system.state_size:
        empty = np.zeros((0, 0)), np.zeros((0, system.input_size)), np.zeros((system.output_size, 0))
        return ModalRealization(method, system, np.zeros(size), *empty, bounded)
    L, M = factors_of(form)
    U, sigma, V = _jacobi_svd(M.T @ L)
    usable = int(((sigma > 0.0) & (sigma >= smallest_ratio * sigma[0])).sum())
    roots = 1.0 / np.sqrt(sigma[:usable])
    left, right = U[:, :usable] * roots, V[:, :usable] * roots
    A = left.T @ (M.T @ times(form.system.poles, form.complex, L)) @ right
    B, C = (M @ left).T @ form.B, form.C @ (L @ right)
    return ModalRealization(method, system, np.pad(sigma, (0, size - sigma.size)), A, B, C, bounded)


@dataclass(frozen=True, eq=False)
class RealForm:
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
    def of(cls, system: ModalSystem) -> RealForm:
        """The real form of a system, of which padding is left out."""
        system = chosen_modes(system, np.flatnonzero(~system.is_padding))
        two = ~system.is_real
        balance = np.sqrt(norms(system.outputs.T) / norms(system.inputs))
        outputs = system.outputs / balance
        outputs[:, ~two] *= 2.0  # of one real state nothing is doubled
        system = ModalSystem(system.poles, system.inputs * balance[:, None], outputs, system.feedthrough)
        scale = np.where(two, np.sqrt(2.0), 1.0)
        B, C = scale[:, None] * system.inputs, (scale * system.outputs).T.conj()
        return cls(system, scale, two, stacked(B, two), stacked(C, two).T)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Square factors [S, S] of the Gramians of controllability and observability.

        A Gramian is the sum over inputs (or outputs) of Cauchy-like ones, whose factors have a closed form: the values
        of orthonormal functions at the poles (:func:`keras_s4.orthonormal.orthonormal_basis`), times what the input
        adds to each mode. Side by side they are one factor with many columns; a QR decomposition with both rows and
        columns in the order of their size makes it square, with small errors relative to each row and to each column.
        So do the products and Jacobi's method behind it, so that small singular values are not lost in the rounding of
        large ones.

        References:
            Cox and Higham, Stability of Householder QR factorization for weighted least squares problems, 1998.
            Drmac and Veselic, New fast and accurate Jacobi SVD algorithm, SIAM J. Matrix Anal. Appl. 29(4), 2008.
        """
        poles = self.system.poles[None]
        gap = one_minus_squared_radius(poles)
        pairwise = pairwise_factors(poles, poles, gap)
        size = self.scale * norms(self.system.inputs)
        order = pivot_order(size[None] ** 2 / gap, pairwise.blaschke)
        values = orthonormal_basis(poles, pairwise.ordered(order))[0][0] * self.scale[:, None]
        sides = (self.system.inputs, values), (self.system.outputs.T.conj(), values.conj())
        return tuple(
            square_factor(stacked((weights[:, :, None] * basis[:, None, :]).reshape(len(weights), -1), self.complex))
            for weights, basis in sides
        )


def stacked(values: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Real rows [S, k] of complex ones [N, k]: the real parts, and below them the imaginary ones of some."""
    return np.concatenate([values.real, values.imag[two]])


def times(factors: np.ndarray, two: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows [S, k] of states with those of each mode times a complex number [N].

    For the poles that is ``A rows``, for their conjugates ``A.T rows``.
    """
    factors, count = factors[:, None], len(factors)
    real, imaginary = rows[:count], np.zeros((count, rows.shape[1]))
    imaginary[two] = rows[count:]
    return np.concatenate(
        [factors.real * real - factors.imag * imaginary, (factors.imag * real + factors.real * imaginary)[two]]
    )


def square_factor(factor: np.ndarray) -> np.ndarray:
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


def chosen_modes(system: ModalSystem, entries: np.ndarray) -> ModalSystem:
    """Return the system of some of the entries."""
    return ModalSystem(system.poles[entries], system.inputs[entries], system.outputs[:, entries], system.feedthrough)


def norms(rows: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of every row."""
    return np.linalg.norm(rows, axis=1)


def check_rank_of_modes(rank: int, system: ModalSystem) -> int:
    """Return the rank, or raise a ValueError."""
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 1 <= rank <= system.state_size:
        raise ValueError(
            f"Received rank={rank!r}; expected an integer from 1 to {system.state_size}, the state size of the system."
        )
    return int(rank)


def gross_gain(system: ModalSystem) -> float:
    """Return the sum of the largest gains of all entries, which their sum can reach if nothing cancels."""
    return float((2.0 * norms(system.inputs) * norms(system.outputs.T) / (1.0 - np.abs(system.poles))).sum())
