"""State-space realizations whose states are ordered by importance, and the stable systems that are cut from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from keras_s4.brief import Brief
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# Singular values below this part of the largest are dropped whatever the rank: balancing divides by their square roots.
SMALLEST_RATIO = 1e-13
# What rounding may add to the error of a reduced system, relative to the largest Hankel singular value.
ROUNDING = 1e-11
# How many times larger than those of the original the entries may be that cancel each other in a reduced system.
CANCELLING = 1e6
# Where determinants are looked at for real poles, the places that tell most first: slow modes become real rather than
# fast ones.
REAL_POLE_PROBES = 1.0 - 0.5 ** np.array([5, 3, 7, 1, 4, 6, 8, 10, 2, 9])
# Smaller matrices are diagonalized in little time.
_SMALLEST_PROBED = 32
# Channels handled together: as many as keep their arrays in the cache, of matrices and of frequency responses.
_BLOCK = 32
_RESPONSE_BLOCK = 8


@dataclass(frozen=True, eq=False, repr=False)
class Realization(Brief):
    """A real state-space realization of every channel with its states in the order of importance.

    Its impulse response is ``C A**t B``, plus the feedthrough at t = 0. Systems of every order are cut from it; a
    subclass may cut in another way than by leaving out states.

    A single-input single-output system has a symmetric Hankel operator. A realization balanced by it is symmetric but
    for signs, ``A = diag(signs) A.T diag(signs)`` and ``B = signs * C``, and so are the systems cut from it. A complex
    pair of such a system takes one sign of each kind, so that at least ``|sum(signs)|`` of its poles are real.

    Attributes:
        method: its name, a key of `keras_s4.reduction.METHODS`.
        system: the original system.
        spectrum: [H, S] singular values, non-increasing.
        A: [H, S, S] float, zero beyond the usable order.
        B: [H, S] float.
        C: [H, S] float.
        usable: [H] int, the largest order whose singular values all count numerically.
        signs: [H, S] of +1 and -1, or None where there is no such symmetry.
        bounded: whether twice the sum of the singular values left out bounds the Hinf norm of the error.
    """

    method: str
    system: DiagonalSystem
    spectrum: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    usable: np.ndarray
    signs: np.ndarray | None = None
    bounded: bool = True

    def derived(self, kind: type[Realization], **changes) -> Realization:
        """Return a realization of the class `kind` with the same attributes but for `changes`."""
        return kind(**{item.name: getattr(self, item.name) for item in fields(Realization)} | changes)

    def truncate(self, rank: int | np.ndarray) -> Reduction:
        """Return the reduction to `rank` entries, see :func:`keras_s4.reduction.balanced_truncation`."""
        rank = check_rank(rank, self.system)
        whole = (~self.system.is_padding).sum(axis=1) <= rank
        result = _Result(self.system, rank.max())
        self._fill_truncated(np.flatnonzero(~whole), rank, result)
        result.copy(np.flatnonzero(whole))
        bound = np.inf
        if self.bounded:
            left_out = np.arange(self.spectrum.shape[1]) >= result.orders[:, None]
            bound = 2.0 * np.where(left_out, self.spectrum, 0.0).sum(axis=1)
        return Reduction(
            self.method,
            self.system,
            DiagonalSystem(result.poles, result.residues, result.feedthrough),
            self.spectrum,
            np.where(whole, 0.0, bound),
            result.orders,
            result.stabilized,
        )

    def _fill_truncated(self, channels: np.ndarray, rank: np.ndarray, result: _Result) -> None:
        """Reduce `channels` into `result`.

        The order starts at the largest that may fit and falls wherever the result needs more than `rank` entries (real
        poles take a whole one) or is not what the theory promises: unstable, or off by more than its bound, as happens
        by rounding when the eigenvectors of A are nearly dependent.
        """
        may_fit = self._orders_that_may_fit(rank)
        order = _largest_order(may_fit, 2 * rank)
        pending = channels
        while pending.size:
            failed = []
            for q in np.unique(order[pending]):
                group = pending[order[pending] == q]
                failed.append(group[~self._fill_order(group, q, rank[group], result)])
            result.orders[pending] = order[pending]
            pending = np.concatenate(failed)
            order[pending] = _largest_order(may_fit[pending], order[pending] - 1)

    def _orders_that_may_fit(self, rank: np.ndarray) -> np.ndarray:
        """Return a mask [H, S + 1] of the orders that are usable and whose surely real poles leave entries enough."""
        order = np.arange(self.spectrum.shape[1] + 1)
        real = np.zeros((rank.size, order.size))
        if self.signs is not None:
            real[:, 1:] = np.abs(np.cumsum(self.signs, axis=1))
        return (order <= self.usable[:, None]) & (order + real <= 2 * rank[:, None])

    def _fill_order(self, group: np.ndarray, q: int, rank: np.ndarray, result: _Result) -> np.ndarray:
        """Write the entries at order q of the channels `group`; return a mask of those for which that order will do."""
        A, B, C = self._matrices(group, q)
        fits = np.ones(group.size, dtype=bool)
        if q >= _SMALLEST_PROBED:
            only_pairs = 2 * rank == q  # most such orders do not fit; of those with one more entry most do
            fits[only_pairs] = ~surely_real(A[only_pairs])
        poles = np.zeros((group.size, q), dtype=np.complex128)
        residues = np.zeros_like(poles)
        poles[fits], residues[fits], count = self._entries(A[fits], B[fits], C[fits])
        fits[fits] = count <= rank[fits]
        unstable = fits & ~is_stable(poles).all(axis=1)
        result.stabilized[group] |= unstable
        if unstable.any():
            poles[unstable], residues[unstable] = self._repaired(group[unstable], poles[unstable], residues[unstable])
        fits &= (is_stable(poles) & np.isfinite(residues)).all(axis=1)
        chosen, width = group[fits], result.poles.shape[1]
        reduced = self._with_feedthrough(chosen, poles[fits, :width], residues[fits, :width])
        result.put(chosen, reduced)
        if chosen.size:
            fits[fits] = self._is_sound(chosen, q, reduced)
        return fits | (q == 0)  # nothing is left to lower

    def _matrices(self, group: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return A [G, q, q], B and C [G, q] of the channels `group` at order q."""
        return self.A[group, :q, :q], self.B[group, :q], self.C[group, :q]

    def _entries(self, A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the poles and residues of such matrices, see :func:`diagonalized`."""
        return diagonalized(A, B, C)

    def _repaired(self, group: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return stable entries [G, q] in place of unstable ones; those that are still unstable lower the order."""
        return poles, residues

    def _with_feedthrough(self, group: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> DiagonalSystem:
        """Return the reduced system of the channels `group` that has these entries."""
        return DiagonalSystem(poles, residues, self.system.feedthrough[group])

    def _is_sound(self, group: np.ndarray, q: int, reduced: DiagonalSystem) -> np.ndarray:
        """Return a mask of the channels of `group` that no rounding has spoilt at order q.

        Where there is a bound, the error must keep it. Elsewhere the entries must not be so large that they have lost
        their sum.
        """
        original = self.system.select(group)
        if not self.bounded:
            return _gross_gain(reduced) <= CANCELLING * _gross_gain(original)
        limit = 2.0 * self.spectrum[group, q:].sum(axis=1) + ROUNDING * self.spectrum[group, 0]
        return _largest_error(original, reduced) <= limit


class _Result:
    """The reduced system while it is being filled, channel by channel: arrays to write to."""

    def __init__(self, original: DiagonalSystem, width: int):
        self.original = original
        self.poles = np.zeros((original.channels, width), dtype=np.complex128)
        self.residues = np.zeros_like(self.poles)
        self.feedthrough = original.feedthrough.copy()
        self.orders = np.zeros(original.channels, dtype=int)
        self.stabilized = np.zeros(original.channels, dtype=bool)

    def put(self, channels: np.ndarray, reduced: DiagonalSystem) -> None:
        """Write `reduced` to `channels`."""
        self.poles[channels], self.residues[channels] = 0.0, 0.0
        self.poles[channels, : reduced.state_size] = reduced.poles
        self.residues[channels, : reduced.state_size] = reduced.residues
        self.feedthrough[channels] = reduced.feedthrough

    def copy(self, channels: np.ndarray) -> None:
        """Copy `channels` from the original unchanged; where the width shrinks, without their padding."""
        original = self.original
        self.orders[channels] = original.orders[channels]
        if self.poles.shape[1] == original.state_size:
            self.poles[channels], self.residues[channels] = original.poles[channels], original.residues[channels]
            return
        for h in channels:
            active = np.flatnonzero(~original.is_padding[h])
            self.poles[h, : active.size] = original.poles[h, active]
            self.residues[h, : active.size] = original.residues[h, active]


def blocks_of(channels: int, size: int = _BLOCK) -> list[slice]:
    """Return slices of `size` channels each, at least one, to be handled one after the other."""
    return [slice(start, start + size) for start in range(0, max(channels, 1), size)]


def join(system: DiagonalSystem, parts: list[Realization]) -> Realization:
    """Return the realization of `system` from those of its blocks of channels."""
    names = [item.name for item in fields(parts[0]) if isinstance(getattr(parts[0], item.name), np.ndarray)]
    return replace(parts[0], system=system, **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def limited_spectrum(values: np.ndarray, system: DiagonalSystem) -> np.ndarray:
    """Set to zero what lies beyond the number of real states of each channel; it is rounding."""
    return np.where(np.arange(values.shape[1]) < system.orders[:, None], values, 0.0)


def inverse_roots(spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``1 / sqrt(spectrum)`` [H, S], zero for values too small to count, and how many do count [H]."""
    counts = (spectrum > 0.0) & (spectrum >= SMALLEST_RATIO * spectrum[:, :1])
    return np.where(counts, 1.0 / np.sqrt(np.where(counts, spectrum, 1.0)), 0.0), counts.sum(axis=1)


def diagonalized(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries of real systems.

    The residues come from a linear system with the eigenvectors, although the symmetry of a balanced A gives them
    without: of two nearly equal poles neither residue is well determined, but the solution of the system has their sum
    right.

    Args:
        A: [G, q, q].
        B: [G, q].
        C: [G, q].

    Returns:
        Poles and residues [G, q], those of one entry for each pair and each real pole first, zeros behind, and the
        number of entries [G]. Residues that no linear system determines are not finite.
    """
    values, vectors = np.linalg.eig(A)
    with np.errstate(over="ignore", invalid="ignore"):  # dependent eigenvectors; the caller looks at the result
        residues = np.einsum("gi,gij->gj", C, vectors) * solved(vectors, B[..., None])[..., 0]
    is_real = values.imag == 0.0
    residues = np.where(is_real, 0.5 * residues.real, residues)
    kept = values.imag >= 0.0
    first = np.argsort(~kept, axis=1, kind="stable")
    values, residues = (np.take_along_axis(np.where(kept, x, 0.0), first, axis=1) for x in (values, residues))
    return values.astype(np.complex128), residues.astype(np.complex128), kept.sum(axis=1)


def surely_real(A: np.ndarray) -> np.ndarray:
    """Return a mask [G] of real matrices [G, q, q] that surely have a real eigenvalue; others may have one, too.

    ``det(x I - A)`` is positive on the far right and changes its sign at each. A determinant takes a fraction of the
    time of all eigenvectors.
    """
    real = np.full(A.shape[0], A.shape[1] % 2 == 1)
    for place in REAL_POLE_PROBES:
        rest = np.flatnonzero(~real)
        if rest.size:
            real[rest] = np.linalg.slogdet(place * np.eye(A.shape[1]) - A[rest])[0] < 0.0
    return real


def check_rank(rank: int | np.ndarray, system: DiagonalSystem) -> np.ndarray:
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


def _largest_order(may_fit: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the largest order [H] up to `most` [H] that the mask `may_fit` [H, S + 1] has; 0 without any."""
    orders = np.arange(may_fit.shape[1])
    return np.where(may_fit & (orders <= most[:, None]), orders, 0).max(axis=1)


def is_stable(poles: np.ndarray) -> np.ndarray:
    """Return a mask. Even in exact arithmetic a pole reaches the unit circle where equal singular values split."""
    return np.abs(poles) < 1.0 - 1e-15


def solved(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve ``matrices [G, q, q] x = right [G, q, m]``; NaN where a matrix is singular."""
    try:
        return np.linalg.solve(matrices, right)
    except np.linalg.LinAlgError:
        if matrices.shape[0] == 1:
            return np.full(right.shape, np.nan)
        return np.concatenate([solved(matrices[[g]], right[[g]]) for g in range(matrices.shape[0])])


def _largest_error(original: DiagonalSystem, reduced: DiagonalSystem) -> np.ndarray:
    """Return the largest error [H] on a grid dense around the resonances of both systems, a lower bound of Hinf."""
    error = original - reduced
    grid = error.resonance_grid(uniform=65, around=5)
    blocks = blocks_of(error.channels, _RESPONSE_BLOCK)
    return np.concatenate([np.abs(error.select(b).frequency_response(grid[b])).max(axis=1) for b in blocks])


def _gross_gain(system: DiagonalSystem) -> np.ndarray:
    """Return the sum [H] of the largest gains of all entries, which their sum can reach if nothing cancels."""
    return (2.0 * np.abs(system.residues) / (1.0 - np.abs(system.poles))).sum(axis=1)
