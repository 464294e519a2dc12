"""H2-optimal reduction of diagonal systems: the poles by Newton's method, the residues by projection."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from keras_s4.orthonormal import blocks, one_minus_squared_radius, orthonormal_basis, pairwise_factors
from keras_s4.reduction.balanced import balanced_truncation
from keras_s4.reduction.gramians import gramian_factors
from keras_s4.reduction.modal import modal_truncation
from keras_s4.reduction.realization import solved
from keras_s4.reduction.result import Reduction
from keras_s4.systems import DiagonalSystem

# Distances of poles are meant as a pole sees them: a Moebius map of the unit disc puts it at 0 and the circle at 1.
_LONGEST_STEP = 0.5
# A pair comes no closer to the real axis: where two poles meet, their residues grow without bound, and of the two real
# poles that might follow each would need an entry.
_SMALLEST_ANGLE = 0.1
# As near to it as this a pair stays where it is, if it would rather come closer: it would creep there otherwise.
_HELD_ANGLE = 1.1 * _SMALLEST_ANGLE
# How far from the real axis a real pole starts where it is tried as a pair.
_LIFT = 0.3
# A channel whose error is below this part of its norm is left as it is: nothing but rounding is left to fit.
_ROUNDING = 1e-12
# A pole is not moved closer to the unit circle than this value of 1 - |p|**2: beyond, rounding would put it there.
_SMALLEST_GAP = 1e-14
# A channel has stalled, too, when so many steps lowered its error by less than this part and halved no misfit.
_PATIENCE, _STALLED = 10, 1e-3
# Of a step; a channel that needs more than the largest has stalled.
_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 0.1, 1e-8, 1e8

_Record = TypeVar("_Record", "_Target", "_Fit")


@dataclass(frozen=True, eq=False)
class _Target:
    """What is approximated: G channels without their feedthrough.

    Attributes:
        poles: [G, N] complex.
        residues: [G, N] complex.
        rows: [G, 2N, 2N], values of an orthonormal basis of H2 at the poles, scaled by row: their real parts and,
            below, their negated imaginary parts.
        outputs: [G, N] complex, undoes that scale: ``Re(outputs @ values)`` are the coefficients of the channel in that
            basis, and its H2 norm is theirs.
    """

    poles: np.ndarray
    residues: np.ndarray
    rows: np.ndarray
    outputs: np.ndarray

    @classmethod
    def of(cls, system: DiagonalSystem) -> _Target:
        factors = gramian_factors(system)
        rows = np.concatenate([factors.rows.real, -factors.rows.imag], axis=1)
        return cls(system.poles, system.residues, rows, factors.scale**2 * factors.weights * factors.phases)

    def norm(self, blaschke: np.ndarray | float = 1.0) -> np.ndarray:
        """Return the H2 norm [G] with every residue multiplied by `blaschke` [G, N]: a sum of squares."""
        outputs = self.outputs * blaschke
        return np.linalg.norm(np.concatenate([outputs.real, outputs.imag], axis=1)[:, None] @ self.rows, axis=(1, 2))


@dataclass(frozen=True, eq=False)
class _Fit:
    """The best approximation of a target with R given poles, and the model of its error that Newton's method needs.

    A step s moves pole p to ``(p + d s) / (1 + conj(p) d s)`` with its direction d. Real and imaginary parts of the R
    steps take turns in the axes of length 2R; of a real pole, of a pair that is held off the real axis, and of an entry
    that is not used, what is not free is zero.

    Attributes:
        poles: [G, R] complex.
        residues: [G, R] complex.
        directions: [G, R] complex of modulus 1: 1, or of a pair that is held, along the curve that it is held on.
        held: [G, R] bool, pairs that would come closer to the real axis than they may.
        error: [G] H2 norm of the error.
        misfit: [G] largest cosine between the error and what moving a pole adds, from 0 (stationary) to 1.
        gradient: [G, 2R], half of how fast the squared error falls.
        tangents: [G, 2R, 2R], columns of coefficients of what the steps add to the error.
        curvature: [G, R] complex, c in the term ``-2 Re(c step**2)`` that the error adds to the second-order model.
    """

    poles: np.ndarray
    residues: np.ndarray
    directions: np.ndarray
    held: np.ndarray
    error: np.ndarray
    misfit: np.ndarray
    gradient: np.ndarray
    tangents: np.ndarray
    curvature: np.ndarray


def h2_optimal(
    system: DiagonalSystem, rank: int | np.ndarray = 8, iterations: int = 60, tolerance: float = 1e-7
) -> Reduction:
    """Reduce every channel to a local optimum of the H2 error, the Euclidean norm of the error's impulse response.

    Balanced truncation gives the first poles. Newton's method with adaptive damping moves them; the residues follow
    each time by orthogonal projection (variable projection). With ``x = 1/z``, the error with the best residues is
    ``B(x) F(x)``: the Blaschke product of the reduced poles, and a system with the poles of the original. A channel is
    stationary where ``F(p) = 0`` at every reduced pole p: together with ``B(p) = 0`` these are the interpolation
    conditions of Meier and Luenberger, ``E(p) = E'(p) = 0``.

    The poles cannot leave the unit circle. A real pole is fitted as it is and, as that takes no more entries, as a
    pair, which often wins. A pair that turns real stops short of the real axis, because two real poles would take two
    entries. The feedthrough does not change, as in balanced truncation: freeing it lowered the error of Skew-HiPPO
    layers by 0.2% (median).

    A channel never gets worse than its balanced or its modal truncation in the measured H2 error: where the latter is
    better than what was found, its poles are a second start. A channel of no more than `rank` entries is returned as it
    is. Nothing is promised for the Hinf error.

    Args:
        system: the system to reduce, H channels of N entries.
        rank: entries (complex modes) kept for each channel, an int or [H] ints, from 1 to N.
        iterations: largest number of Newton steps, tried ones included.
        tolerance: a channel is done when the cosine of the angle between its error and what moving any of its poles
            adds is below this. Channels not done after `iterations` keep their best poles.

    Returns:
        A :class:`Reduction`; its system has ``max(rank)`` entries a channel, its spectrum holds the Hankel singular
        values, and the error bound is infinite.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N, or has another shape; if `iterations` is not a
            positive integer or `tolerance` is negative.

    References:
        Meier and Luenberger, Approximation of linear constant systems, IEEE Transactions on Automatic Control 12(5),
        1967.
        Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
        separate, SIAM J. Numer. Anal. 10(2), 1973.
        Sakamoto and Sato, Compression method for deep diagonal state space model based on H2 optimal reduction, IEEE
        Control Systems Letters, 2025 (arXiv 2507.10078).
    """
    check_options(iterations, tolerance)
    balanced = balanced_truncation(system, rank)
    fitted = balanced.h2_error > _ROUNDING * _Target.of(system).norm()
    reduced = _improved(system, balanced.system, balanced.system, fitted, iterations, tolerance)
    modal = modal_truncation(system, rank)
    behind = modal.h2_error < (system - reduced).h2_norm()
    reduced = _improved(system, reduced, modal.system, fitted & behind, iterations, tolerance)
    no_bound = np.full(system.channels, np.inf)
    return Reduction("h2", system, reduced, balanced.spectrum, no_bound, reduced.orders)


def _improved(
    system: DiagonalSystem,
    reduced: DiagonalSystem,
    start: DiagonalSystem,
    fitted: np.ndarray,
    iterations: int,
    tolerance: float,
) -> DiagonalSystem:
    """Return a reduced system, in the channels `fitted` [H] with what is found from the poles of `start` if better."""
    channels = np.flatnonzero(fitted)
    if not channels.size:
        return reduced
    original, start = system.select(channels), start.select(channels)
    fit = _best_fit(_Target.of(original), start.poles, ~start.is_padding, iterations, tolerance)
    found = DiagonalSystem(fit.poles, fit.residues, original.feedthrough)
    better = (original - found).h2_norm() < (original - reduced.select(channels)).h2_norm()
    poles, residues = reduced.poles.copy(), reduced.residues.copy()
    poles[channels[better]], residues[channels[better]] = fit.poles[better], fit.residues[better]
    return DiagonalSystem(poles, residues, system.feedthrough)


def _best_fit(target: _Target, poles: np.ndarray, used: np.ndarray, iterations: int, tolerance: float) -> _Fit:
    """Optimise from the given poles, and from the same with the real ones made pairs; return the better results."""
    fit = _optimised(target, poles, used, iterations, tolerance)
    real = used & (poles.imag == 0.0)
    some = np.flatnonzero(real.any(axis=1))
    if some.size:
        pairs = np.where(real, _moved(poles + 0j, 1j * _LIFT), poles)[some]
        other = _optimised(_selected(target, some), pairs, used[some], iterations, tolerance)
        _replace(fit, some, other, other.error < fit.error[some])
    return fit


def _optimised(target: _Target, poles: np.ndarray, used: np.ndarray, iterations: int, tolerance: float) -> _Fit:
    """Minimise the error from the given poles [G, R], of which `used` [G, R] count, by damped Newton steps."""
    fit = _projected(target, poles, used)
    damping = np.full(poles.shape[0], _FIRST_DAMPING)
    held, original = np.arange(poles.shape[0]), target
    stalled, before = np.zeros(poles.shape[0], bool), None
    for iteration in range(iterations):
        if iteration % _PATIENCE == 0:
            if before is not None:
                stalled |= (fit.error > (1.0 - _STALLED) * before[0]) & (fit.misfit > 0.5 * before[1])
            before = fit.error.copy(), fit.misfit.copy()
        pending = np.flatnonzero((fit.misfit > tolerance) & (damping < _LARGEST_DAMPING) & ~stalled)
        if not pending.size:
            break
        if pending.size < held.size:
            held, original = pending, _selected(target, pending)
        now = _selected(fit, pending)
        trial = _projected(original, _stepped(now, _newton_step(now, damping[pending])), used[pending])
        better = trial.error < now.error
        _replace(fit, pending, trial, better)
        damping[pending] = np.maximum(damping[pending] * np.where(better, 0.2, 5.0), _SMALLEST_DAMPING)
    return fit


def _projected(target: _Target, poles: np.ndarray, used: np.ndarray) -> _Fit:
    """Project the target onto all systems with the given poles [G, R], of which `used` [G, R] count."""
    gap = one_minus_squared_radius(poles)
    real = poles.imag == 0.0
    fixed = _interleaved(~used, ~used | real)
    coefficients, basis, blaschke = _coefficients(target, poles, gap, used)
    basis = np.where(real[:, None, :], basis.real, basis)
    residues = _residues(_real_columns(basis), coefficients, fixed)
    solvable = np.isfinite(residues).all(axis=1)
    residues = np.where(solvable[:, None], residues, 0.0)
    error = np.where(solvable, target.norm(blaschke), np.inf)

    value, slope = _misfit_function(target.poles, target.residues * blaschke, poles, gap)
    scale = residues * _blaschke_derivative(poles, gap, used) * gap
    value, slope, scale = (np.where(used, np.where(real, x.real, x), 0.0) for x in (value, slope, scale))
    along = _along_the_axis(poles)
    held = used & ~real & (poles.imag <= _HELD_ANGLE * gap) & ((value * scale * along).imag > 0.0)
    directions = np.where(held, along, 1.0)
    scale, slope = scale * directions, slope * directions
    fixed = fixed | _interleaved(np.zeros_like(held), held)
    change = value * scale
    angle = 2.0 * poles.imag / gap
    bend = np.where(held, angle / np.sqrt(1.0 + angle**2) * change.imag, 0.0)
    # What moving a pole adds to the error is as large as its scale, but for what `gap` takes from it.
    cosine = np.where(held, np.abs(change.real) / np.where(held, np.abs(scale), 1.0), np.abs(value)) * np.sqrt(gap)
    return _Fit(
        poles.astype(np.complex128),  # a copy
        residues,
        directions,
        held,
        error,
        cosine.max(axis=1) / np.maximum(error, np.finfo(np.float64).tiny),
        np.where(fixed, 0.0, _interleaved(2.0 * change.real, -2.0 * change.imag)),
        np.where(fixed[:, None, :], 0.0, _real_columns(basis * scale[:, None, :])),
        2.0 * (scale * gap * slope + bend),
    )


def _coefficients(
    target: _Target, poles: np.ndarray, gap: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expand the target in the orthonormal basis of the given poles.

    Returns:
        Its coefficients [G, 2R], the values [G, 2R, R] of the basis at the given poles, and the values [G, N] of the
        Blaschke product at the poles of the target.
    """
    states, rank = target.poles.shape[1], poles.shape[1]
    coefficients, basis = np.empty((len(poles), 2 * rank)), np.empty((len(poles), 2 * rank, rank), np.complex128)
    blaschke = np.empty_like(target.poles)
    for block in blocks(len(poles), (states + rank) * rank):
        points = np.concatenate([target.poles[block], poles[block]], axis=1)
        factors = pairwise_factors(points, poles[block], gap[block], used[block])
        values, passed = orthonormal_basis(points, factors)
        coefficients[block] = 2.0 * (target.residues[block, None, :] @ values[:, :states]).real[:, 0]
        basis[block], blaschke[block] = values[:, states:].transpose(0, 2, 1), passed[:, :states]
    return coefficients, basis, blaschke


def _misfit_function(
    poles: np.ndarray, residues: np.ndarray, points: np.ndarray, gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate ``F(x) = sum residues / (1 - poles x)``, closed under conjugation, and F' at `points` [G, R]."""
    value = slope = 0.0
    for p, r in ((poles, residues), (poles.conj(), residues.conj())):
        p, r, x = p[:, :, None], r[:, :, None], points[:, None, :]
        # 1 - p x; its terms cannot cancel, see orthonormal_step.
        reciprocal = 1.0 / (gap[:, None, :] - (p - x.conj()) * x)
        value = value + (r * reciprocal).sum(axis=1)
        slope = slope + (r * p * reciprocal**2).sum(axis=1)
    return value, slope


def _blaschke_derivative(poles: np.ndarray, gap: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return the derivative [G, R] of the Blaschke product at each of its zeros."""
    x, p, gap_p = poles[:, :, None], poles[:, None, :], gap[:, None, :]
    near = (x - p) / (gap_p - (x - p) * p.conj())
    far = (x - p.conj()) / (gap_p - (x - p.conj()) * p)
    factors = np.where(used[:, None, :], near * np.where(p.imag == 0.0, 1.0, far), 1.0)
    own = np.where(poles.imag == 0.0, 1.0, (poles - poles.conj()) / (1.0 - poles**2)) / gap
    j = np.arange(poles.shape[1])
    factors[:, j, j] = own
    return factors.prod(axis=2)


def _newton_step(fit: _Fit, damping: np.ndarray) -> np.ndarray:
    """Return the damped Newton step [G, R], complex.

    The second derivatives leave out what is proportional to the gradient, so they are exact at an optimum. Where they
    are not positive the step descends all the same: their eigenvalues are taken by modulus.
    """
    size = np.linalg.norm(fit.tangents, axis=1)
    unit = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
    tangents = fit.tangents * unit[:, None, :]
    hessian = tangents.transpose(0, 2, 1) @ tangents
    real = np.arange(0, size.shape[1], 2)
    imaginary = real + 1
    curvature = 2.0 * fit.curvature
    hessian[:, real, real] -= curvature.real * unit[:, real] ** 2
    hessian[:, imaginary, imaginary] += curvature.real * unit[:, imaginary] ** 2
    for i, j in ((real, imaginary), (imaginary, real)):
        hessian[:, i, j] += curvature.imag * unit[:, i] * unit[:, j]
    values, vectors = np.linalg.eigh(hessian)
    along = np.einsum("gij,gi->gj", vectors, fit.gradient * unit) / (np.abs(values) + damping[:, None])
    step = np.einsum("gij,gj->gi", vectors, along) * unit
    step = step[:, real] + 1j * step[:, imaginary]
    longest = np.abs(step).max(axis=1, keepdims=True)
    return step * (_LONGEST_STEP / np.maximum(longest, _LONGEST_STEP))


def _stepped(fit: _Fit, step: np.ndarray) -> np.ndarray:
    """Return the poles [G, R] after a step, real ones still real and pairs held where they are."""
    free = _off_the_axis(_moved(fit.poles, fit.directions * step), fit.poles)
    # Along the real axis, which changes no distance from it.
    shift = step.real * one_minus_squared_radius(fit.poles) / np.abs(1.0 - fit.poles**2)
    held = _off_the_axis((fit.poles + shift) / (1.0 + fit.poles * shift), fit.poles)
    moved = np.where(fit.held, held, free)
    return np.where(fit.poles.imag == 0.0, moved.real, moved)


def _along_the_axis(poles: np.ndarray) -> np.ndarray:
    """Return the direction [G, R], as the poles see it, in which their distance from the real axis does not change."""
    direction = 1.0 - poles**2
    return direction / np.abs(direction)


def _moved(poles: np.ndarray, step: np.ndarray | complex) -> np.ndarray:
    """Move poles inside the unit circle by steps shorter than 1: the Moebius map that takes 0 to the pole."""
    moved = (poles + step) / (1.0 + poles.conj() * step)
    return np.where(one_minus_squared_radius(moved) > _SMALLEST_GAP, moved, poles)


def _off_the_axis(poles: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Keep pairs off the real axis, and on their side of it, unless they were closer `before`."""
    angle = np.minimum(np.abs(before.imag) / one_minus_squared_radius(before), _SMALLEST_ANGLE)
    smallest = angle * one_minus_squared_radius(poles)
    return poles.real + 1j * np.maximum(poles.imag, smallest)


def _residues(synthesis: np.ndarray, coefficients: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the residues [G, R] that have these coefficients [G, 2R]; NaN where two poles coincide.

    The matrix is triangular but for 2 x 2 blocks: solving with it loses no more than residues of close poles must.
    """
    diagonal = np.arange(fixed.shape[1])
    synthesis[:, diagonal, diagonal] += fixed
    parts = solved(synthesis, coefficients[..., None])[..., 0]
    return parts[:, ::2] + 1j * parts[:, 1::2]


def _real_columns(values: np.ndarray) -> np.ndarray:
    """Turn columns [G, K, R] that multiply complex numbers, the real part counting twice, into real ones [G, K, 2R]."""
    return np.stack([2.0 * values.real, -2.0 * values.imag], axis=3).reshape(*values.shape[:2], -1)


def _interleaved(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=2).reshape(first.shape[0], -1)


def _selected(record: _Record, channels: np.ndarray) -> _Record:
    """Return a record of arrays, of some channels only."""
    return type(record)(*(getattr(record, field.name)[channels] for field in fields(record)))


def _replace(fit: _Fit, channels: np.ndarray, other: _Fit, better: np.ndarray) -> None:
    """Write the channels of `other` that are `better` over those of `fit`, in place."""
    for field in fields(fit):
        getattr(fit, field.name)[channels[better]] = getattr(other, field.name)[better]


def check_options(iterations: int, tolerance: float) -> None:
    """Refuse options that are out of range."""
    if isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer)) or iterations < 1:
        raise ValueError(f"Received iterations={iterations!r}; expected a positive integer.")
    if not tolerance >= 0.0:
        raise ValueError(f"Received tolerance={tolerance!r}; expected a cosine, 0 or larger, such as 1e-7.")
