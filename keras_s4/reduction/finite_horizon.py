"""Balanced truncation of diagonal systems for kernels of finite length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_s4.reduction.balanced import balanced_realization, balanced_truncation
from keras_s4.reduction.gramians import GramianFactors, gramian_factors
from keras_s4.reduction.realization import Realization, check_rank, is_stable
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# Time constant, in horizons, of the poles that are moved inside the unit circle: hardly a decay within one horizon.
SLOWEST = 10.0
# Singular values of a least-squares problem below this part of the largest are left out.
SMALLEST_RATIO = 1e-10


@dataclass(frozen=True, eq=False)
class _FiniteHorizonRealization(Realization):
    """A realization balanced over a number of steps."""

    horizon: int = 1

    def _repaired(self, group: np.ndarray, poles: np.ndarray, residues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move unstable poles inside the unit circle, and fit all residues to the kernel within the horizon again."""
        inside = 1.0 - 1.0 / (SLOWEST * self.horizon)
        unstable = ~is_stable(poles)
        poles = np.where(unstable, poles * (inside / np.where(unstable, np.abs(poles), 1.0)), poles)
        residues = residues.copy()
        for g, h in enumerate(group):
            original = self.system.select([h])
            kernel = original.impulse_response(self.horizon)[0]
            kernel[0] -= original.feedthrough[0]
            residues[g] = _fitted_residues(kernel, poles[g], residues[g] != 0.0)
        return poles, residues


def finite_horizon_truncation(system: DiagonalSystem, rank: int | np.ndarray = 8, *, horizon: int) -> Reduction:
    """Reduce every channel by balanced truncation with Gramians over `horizon` steps instead of infinitely many.

    The states kept are those that matter to the first steps of the impulse response, so that a kernel of that length is
    approximated better than by balanced truncation, to which the method converges as the horizon grows. The
    feedthrough does not change, and there is no bound on the error (`error_bound` is infinite).

    Unlike balanced truncation, the method can give unstable poles. Such a channel is repaired, and reported in
    `Reduction.stabilized`: its unstable poles move to the radius ``1 - 1 / (10 horizon)`` and all residues of the
    channel are fitted to the kernel within the horizon by least squares; where balanced truncation has a smaller error
    there (sum of squares), its result is returned instead.

    Orders, entries and checks are those of :func:`keras_s4.reduction.balanced_truncation`.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.
        horizon: steps of the impulse response that count, such as the length of the sequences.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N or has another shape, or `horizon` is not a positive
            integer.

    References:
        Gawronski and Juang, Model reduction in limited time and frequency intervals, International Journal of Systems
        Science 21(2), 1990.
    """
    rank, horizon = check_rank(rank, system), check_horizon(horizon)
    balanced = balanced_realization(system, lambda part: finite_horizon_factors(part, horizon))
    realization = balanced.derived(_FiniteHorizonRealization, method="finite_horizon", bounded=False, horizon=horizon)
    reduction = realization.truncate(rank)
    repaired = np.flatnonzero(reduction.stabilized)
    return _better_within(reduction, repaired, rank, horizon) if repaired.size else reduction


def finite_horizon_factors(system: DiagonalSystem, horizon: int) -> GramianFactors:
    """Return factors of the Gramians that sum `horizon` steps, ``P = sum_t A**t B B.T A.T**t`` for t < horizon.

    In the coordinates of :meth:`GramianFactors.shift` the infinite sum is the identity. The finite one has a lower
    triangular factor, so that the columns still fall off and small singular values stay accurate.
    """
    factors = gramian_factors(system)
    return replace(factors, rows=factors.rows @ _reachability_factor(*factors.shift(), horizon))


def _reachability_factor(S: np.ndarray, b: np.ndarray, horizon: int) -> np.ndarray:
    """Return the lower triangular factor [H, K, K] of the sum of ``S**t b b.T S.T**t`` over t < horizon.

    The steps double: ``[F, S**t F]`` is a factor of 2t steps if F is one of t steps. Where it is wider than high, a QR
    decomposition makes it square. Nothing is subtracted.
    """
    size = S.shape[1]
    factor, power = b[..., None], S
    for digit in bin(horizon)[3:]:
        factor = np.concatenate([factor, power @ factor], axis=2)
        power = power @ power
        if digit == "1":
            factor, power = np.concatenate([b[..., None], S @ factor], axis=2), S @ power
        if factor.shape[2] > size:
            factor = np.linalg.qr(factor.transpose(0, 2, 1), mode="r").transpose(0, 2, 1)
        if np.abs(power).max() < np.finfo(np.float64).eps ** 2:
            break  # the rest of the sum is nothing
    return np.pad(factor, ((0, 0), (0, 0), (0, size - factor.shape[2])))


def _fitted_residues(kernel: np.ndarray, poles: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return the residues [q] with which the active poles [q] fit a kernel [T] best, in least squares; others are 0."""
    powers = 2.0 * poles[active, None] ** np.arange(kernel.size)
    real = poles[active].imag == 0.0
    basis = np.concatenate([powers.real, -powers.imag[~real]]).T
    length = np.linalg.norm(basis, axis=0)
    solution = np.linalg.lstsq(basis / length, kernel, rcond=SMALLEST_RATIO)[0] / length
    fitted = solution[: real.size].astype(np.complex128)
    fitted[~real] += 1j * solution[real.size :]
    residues = np.zeros(poles.shape, dtype=np.complex128)
    residues[active] = fitted
    return residues


def _better_within(reduction: Reduction, channels: np.ndarray, rank: np.ndarray, horizon: int) -> Reduction:
    """Replace those of `channels` that balanced truncation approximates better within the horizon."""
    original = reduction.original.select(channels)
    other = balanced_truncation(original, rank[channels])
    ours = _kernel_error(original, reduction.system.select(channels), horizon)
    better = _kernel_error(original, other.system, horizon) < ours
    poles, residues = reduction.system.poles.copy(), reduction.system.residues.copy()
    orders, width = reduction.orders.copy(), other.system.state_size
    chosen = channels[better]
    poles[chosen], residues[chosen] = 0.0, 0.0
    poles[chosen, :width], residues[chosen, :width] = other.system.poles[better], other.system.residues[better]
    orders[chosen] = other.orders[better]
    return replace(reduction, system=DiagonalSystem(poles, residues, reduction.system.feedthrough), orders=orders)


def _kernel_error(original: DiagonalSystem, reduced: DiagonalSystem, horizon: int) -> np.ndarray:
    """Return the Euclidean norm [H] of the error of the impulse response within the horizon."""
    return np.linalg.norm((original - reduced).impulse_response(horizon), axis=1)


def check_horizon(horizon: int) -> int:
    """Return the number of steps, or raise a ValueError."""
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise ValueError(f"Received horizon={horizon!r}; expected the number of steps that count, a positive integer.")
    return int(horizon)
