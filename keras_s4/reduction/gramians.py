"""Closed-form Gramians of diagonal systems, factored to high relative accuracy.

The Gramians of a diagonal system are Cauchy-like, ``P[i, j] = b[i] conj(b[j]) / (1 - p[i] conj(p[j]))``, and so
ill-conditioned that an ordinary Cholesky decomposition fails. Their factors have a closed form, in which every number
is a product of differences of the stored poles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_s4.brief import Brief
from keras_s4.orthonormal import blocks, one_minus_squared_radius, orthonormal_basis, pairwise_factors
from keras_s4.systems import DiagonalSystem


@dataclass(frozen=True, eq=False, repr=False)
class GramianFactors(Brief):
    """Factors of both Gramians of the conjugate-closed system, balanced so that one array holds both.

    An entry with residue r enters with input weight ``sqrt|r|`` and output weight ``r / sqrt|r|``. Of a conjugate pair
    only the row of the stored entry is kept; the other row is its conjugate. The controllability Gramian has the factor
    `rows`, the observability Gramian ``conj(phases * rows)``: the two have the same pivots.

    The columns belong to real states, two for each complex pole eliminated, one (and a zero one) for each real pole,
    in the order of elimination.

    Attributes:
        rows: [H, N, 2N] complex.
        phases: [H, N] complex, residues divided by their moduli; a sign for real entries.
        weights: [H, N] float, the input weights.
        scale: [H, N] float, 1 for a real entry, sqrt(2) for a complex one: what a row is multiplied by in real form.
        pivots: [H, N] complex, the poles in the order of elimination.
    """

    rows: np.ndarray
    phases: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    pivots: np.ndarray

    def controllability(self) -> np.ndarray:
        """Return the real factor [H, 2N, 2N] of the controllability Gramian of :func:`real_form`."""
        return self._real(self.rows)

    def observability(self) -> np.ndarray:
        """Return the real factor [H, 2N, 2N] of the observability Gramian of :func:`real_form`."""
        return self._real((self.phases[..., None] * self.rows).conj())

    def product(self, poles: np.ndarray | float = 1.0) -> np.ndarray:
        """Return ``M.T L`` [H, 2N, 2N] of the factors L (controllability) and M, or ``M.T A L`` with `poles` [H, N].

        Both are real and symmetric. The eigenvalues of the first are the Hankel singular values with signs. Its
        elements fall off from the top left, which is what lets eigensolvers resolve the smallest ones.
        """
        left = (self.scale**2 * self.phases * poles)[..., None] * self.rows
        product = np.concatenate([left.real, -left.imag], axis=1).transpose(0, 2, 1) @ np.concatenate(
            [self.rows.real, self.rows.imag], axis=1
        )
        return 0.5 * (product + product.transpose(0, 2, 1))

    @property
    def gain(self) -> np.ndarray:
        """``C L`` [H, 2N], which is ``B.T M``, too."""
        return np.einsum("hn,hni->hi", self.scale**2 * self.weights * self.phases, self.rows).real

    def shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Return A and B in the coordinates of the columns, ``A L = L S`` and ``B = L b``.

        The columns are orthonormal functions, so that the Gramian of (S, b) is the identity. Each pair of columns is an
        all-pass section, an orthogonal matrix of three rows, and the sections are in series: each element of S is a
        product of accurate numbers. Whatever changes a Gramian is best applied here, where nothing is ill-conditioned.

        Returns:
            S [H, 2N, 2N], zero above its 2 x 2 blocks, and b [H, 2N].

        References:
            Heuberger, Van den Hof and Wahlberg (eds.), Modelling and identification with rational orthogonal basis
            functions, Springer 2005.
        """
        blocks, inputs, outputs, through = _all_pass_sections(self.pivots)
        size = 2 * self.pivots.shape[1]
        S, b = np.zeros((len(self.pivots), size, size)), np.zeros((len(self.pivots), size))
        before = np.zeros((len(self.pivots), 1, size))  # the input of a section, from the states of those before it
        passed = np.ones((len(self.pivots), 1))  # and from the input of the series
        for step in range(self.pivots.shape[1]):
            two = slice(2 * step, 2 * step + 2)
            S[:, two] = inputs[:, step, :, None] * before
            S[:, two, two] = blocks[:, step]
            b[:, two] = inputs[:, step] * passed
            before *= through[:, step, None, None]
            before[:, 0, two] = outputs[:, step]
            passed *= through[:, step, None]
        return S, b

    def _real(self, rows: np.ndarray) -> np.ndarray:
        rows = self.scale[..., None] * rows
        return np.concatenate([rows.real, rows.imag], axis=1)


def real_form(system: DiagonalSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the real state-space matrices whose Gramians :func:`gramian_factors` factors.

    The conjugate-closed system is rotated by ``[[I, I], [-iI, iI]] / sqrt(2)``: states 0..N-1 are the real parts,
    states N..2N-1 the imaginary parts (identically zero for real poles). ``C A**t B`` is the impulse response without
    the feedthrough.

    Returns:
        A [H, 2N, 2N], B [H, 2N] and C [H, 2N].
    """
    phases, weights, scale = _balanced_weights(system)
    n = np.arange(system.state_size)
    m = n + system.state_size
    A = np.zeros((system.channels, 2 * system.state_size, 2 * system.state_size))
    A[:, n, n] = A[:, m, m] = system.poles.real
    A[:, m, n], A[:, n, m] = system.poles.imag, -system.poles.imag
    B = np.concatenate([scale * weights, np.zeros_like(weights)], axis=1)
    output = (scale * weights * phases).conj()
    return A, B, np.concatenate([output.real, output.imag], axis=1)


def gramian_factors(system: DiagonalSystem) -> GramianFactors:
    """Factor the Gramians of the conjugate-closed system by pivoted Cholesky of their Cauchy structure.

    Eliminating pole k turns the generator into ``g[i] (p[i] - p[k]) / (1 - p[i] conj(p[k]))``; column k is the
    generator times an orthonormal rational function (:func:`keras_s4.orthonormal.orthonormal_basis`). A pole and its
    conjugate are eliminated together, which keeps the columns real states. Differences of stored numbers are exact to
    rounding, so that all factors keep their relative accuracy, however close the poles are (no logarithms of poles
    are needed); the generator of an exactly repeated pole becomes exactly zero. The cost is O(N**2) a channel.

    References:
        Demmel, Accurate singular value decompositions of structured matrices, SIAM J. Matrix Anal. Appl. 21(2), 1999.
        Haut and Beylkin, Fast and accurate con-eigenvalue algorithm for optimal rational approximations, SIAM J. Matrix
        Anal. Appl. 33(4), 2012 (arXiv 1012.3196).
    """
    phases, weights, scale = _balanced_weights(system)
    gap = one_minus_squared_radius(system.poles)
    rows = np.empty((*system.poles.shape, 2 * system.state_size), dtype=np.complex128)
    pivots = np.empty_like(system.poles)
    for block in blocks(system.channels, system.state_size**2):
        factors = pairwise_factors(system.poles[block], system.poles[block], gap[block])
        factors = factors.ordered(pivot_order((scale * weights)[block] ** 2 / gap[block], factors.blaschke))
        rows[block], pivots[block] = orthonormal_basis(system.poles[block], factors)[0], factors.pivots
    rows *= weights[..., None]
    return GramianFactors(rows, phases, weights, scale, pivots)


def pivot_order(traces: np.ndarray, blaschke: np.ndarray) -> np.ndarray:
    """Return the order [H, N] in which entries are eliminated: each time the one with the largest pivot block.

    Args:
        traces: [H, N], of the complex 2 x 2 pivot blocks, or the diagonal elements of real poles.
        blaschke: [H, N, N] complex, what eliminating the last index multiplies the generators by.
    """
    channel, order = np.arange(len(traces)), np.empty(traces.shape, dtype=int)
    squares = np.ascontiguousarray((blaschke.real**2 + blaschke.imag**2).transpose(2, 0, 1))
    for step in range(traces.shape[1]):
        order[:, step] = k = traces.argmax(axis=1)
        traces = traces * squares[k, channel]
    return order


def _all_pass_sections(pivots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the state-space matrices of the all-pass sections with these poles [H, N] and their conjugates.

    Their states are the functions of :func:`keras_s4.orthonormal.orthonormal_basis`; a real pole has one, and a zero.

    Returns:
        A [H, N, 2, 2], B [H, N, 2], C [H, N, 2] and D [H, N].
    """
    gap = one_minus_squared_radius(pivots)
    real, minus, plus = pivots.imag == 0.0, np.abs(1.0 - pivots), np.abs(1.0 + pivots)
    zero, root = np.zeros_like(gap), np.sqrt(gap / 2.0)
    A = np.stack([1.0 - minus**2 / 2.0, minus * plus / 2.0, -minus * plus / 2.0, plus**2 / 2.0 - 1.0], axis=-1)
    A = np.where(real[..., None], np.stack([pivots.real, zero, zero, zero], axis=-1), A)
    first = np.where(real, np.sqrt(gap), root * minus)
    second = np.where(real, 0.0, root * plus)
    D = np.where(real, -pivots.real, np.abs(pivots) ** 2)
    return A.reshape(*pivots.shape, 2, 2), np.stack([first, second], -1), np.stack([first, -second], -1), D


def _balanced_weights(system: DiagonalSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return phases [H, N] of the residues, input weights [H, N] and real-form scales [H, N]."""
    residues = np.where(system.is_real, 2.0 * system.residues.real, system.residues)
    modulus = np.abs(residues)
    phases = np.where(modulus > 0.0, residues / np.where(modulus > 0.0, modulus, 1.0), 1.0)
    return phases, np.sqrt(modulus), np.where(system.is_real, 1.0, np.sqrt(2.0))
