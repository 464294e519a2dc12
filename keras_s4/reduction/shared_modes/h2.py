"""H2-optimal reduction of a system whose modes are shared: poles and inputs by BFGS, the outputs by projection."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.h2 import check_options
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.balanced import balanced_truncation_of_modes
from keras_s4.reduction.shared_modes.modal import modal_truncation_of_modes
from keras_s4.reduction.shared_modes.realization import check_rank_of_modes, chosen_modes, norms

# A system whose error is below this part of its norm is left as it is: nothing but rounding is left to fit.
_ROUNDING = 1e-10
# Directions of the outputs that the response tells less of than this part of the most are left out of a fit.
_SMALLEST_RATIO = 1e-12
# How far from the real axis a real pole starts where it is tried as a pair, in distances to the unit circle.
_LIFT = 0.3
# A pair comes no closer to the real axis: where two poles meet, their outputs grow without bound.
_SMALLEST_ANGLE = 0.1
# Logarithms of decays a step between which poles move.
_FASTEST, _SLOWEST = np.log(40.0), np.log(1e-12)


def h2_optimal_of_modes(
    system: ModalSystem, rank: int = 8, iterations: int = 200, tolerance: float = 1e-6
) -> ModalReduction:
    """Reduce a system to a local optimum of the H2 error, the root of the sum of squares of the error's responses.

    Balanced truncation gives the first poles and inputs. A quasi-Newton method (BFGS of limited memory) moves them; the
    outputs follow each time by orthogonal projection (variable projection). An optimum meets the tangential
    interpolation conditions: at ``z = 1 / conj(p)`` of every reduced pole p, ``E b = 0``, ``c E = 0`` and
    ``c E' b = 0`` for the error E, the inputs b and the outputs c of its mode, conjugated.

    The poles cannot leave the unit circle. A real pole of one real state is fitted as it is and, as that takes no more
    entries, as a pair; a pair that turns real stops short of the real axis. The feedthrough does not change. The result
    is never worse than balanced or modal truncation in the measured H2 error; the latter is a second start where it is
    better than what was found. A system of no more than `rank` entries is returned as it is. Nothing is promised for
    the Hinf error.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.
        iterations: largest number of steps of the quasi-Newton method from each start.
        tolerance: done when a step lowers the squared error by less than this part of it.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries, its spectrum holds the Hankel singular values, and the
        error bound is infinite.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N; if `iterations` is not a positive integer or
            `tolerance` is negative.

    References:
        Gugercin, Antoulas and Beattie, H2 model reduction for large-scale linear dynamical systems, SIAM J. Matrix
        Anal. Appl. 30(2), 2008 (the interpolation conditions of several inputs and outputs).
        Bunse-Gerstner, Kubalinska, Vossen and Wilczek, h2-norm optimal model reduction for large scale discrete
        dynamical MIMO systems, J. Computational and Applied Mathematics 233(5), 2010.
        Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
        separate, SIAM J. Numer. Anal. 10(2), 1973.
    """
    rank = check_rank_of_modes(rank, system)
    check_options(iterations, tolerance)
    balanced, modal = balanced_truncation_of_modes(system, rank), modal_truncation_of_modes(system, rank)
    target, best, error = _active(system), balanced.system, balanced.h2_error
    if target.state_size <= rank:
        return dataclasses.replace(balanced, method="h2")
    for start in (balanced, modal):
        # What is better already than another start's optimum may lead to a better one.
        if start.h2_error > error or error <= _ROUNDING * target.h2_norm():
            continue
        for candidate in (start.system, *_found_from(target, start.system, iterations, tolerance)):
            candidate = dataclasses.replace(candidate, feedthrough=system.feedthrough).padded(rank)
            new = (system - candidate).h2_norm()
            best, error = (candidate, new) if new < error else (best, error)
    return ModalReduction("h2", system, best, balanced.spectrum, np.inf)


def _found_from(target: ModalSystem, start: ModalSystem, iterations: int, tolerance: float) -> Iterator[ModalSystem]:
    """What is found from a system, and from the same with the real poles of one state made pairs."""
    start = _active(start)
    if not start.state_size:
        return
    yield _improved(target, start, iterations, tolerance)
    if start.is_real.any():
        lifted = start.poles * np.exp(1j * _LIFT * (1.0 - np.abs(start.poles)))
        poles = np.where(start.is_real, lifted, start.poles)
        yield _improved(target, dataclasses.replace(start, poles=poles), iterations, tolerance)


def _active(system: ModalSystem) -> ModalSystem:
    """A system without padding and feedthrough, its poles in the upper half plane."""
    system = chosen_modes(system, np.flatnonzero(~system.is_padding))
    below = system.poles.imag < 0.0
    return ModalSystem(
        np.where(below, system.poles.conj(), system.poles),
        np.where(below[:, None], system.inputs.conj(), system.inputs),
        np.where(below, system.outputs.conj(), system.outputs),
        np.zeros_like(system.feedthrough),
    )


def _improved(target: ModalSystem, start: ModalSystem, iterations: int, tolerance: float) -> ModalSystem:
    """Return what the quasi-Newton method finds from a system without padding."""
    search = _Search.around(target, start)
    scale = max(target.h2_norm() ** 2, np.finfo(float).tiny)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = search.value_and_gradient(parameters)
        return value / scale, gradient / scale

    error = (target - start).h2_norm() ** 2 / scale
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": tolerance * error, "gtol": 0.0, "maxcor": 20}
    found = minimize(objective, search.first(), jac=True, method="L-BFGS-B", bounds=search.bounds(), options=options)
    return search.system(found.x)


@dataclasses.dataclass(frozen=True, eq=False)
class _Search:
    """The squared error, but for a constant, as a function of poles and inputs, with the outputs that fit best.

    Parameters are, of each mode, the logarithm of its decay, its angle in distances to the unit circle from where it
    started, and the real and imaginary parts of its inputs. What is not free of a mode of one real state stays zero.

    Attributes:
        target: the system that is approximated, without feedthrough or padding.
        poles: [R], where the search starts.
        inputs: [R, I].
        real: [R] bool, modes of one real state.
    """

    target: ModalSystem
    poles: np.ndarray
    inputs: np.ndarray
    real: np.ndarray

    @classmethod
    def around(cls, target: ModalSystem, start: ModalSystem) -> _Search:
        """The search from a system without padding."""
        inputs = start.inputs / norms(start.inputs)[:, None]
        return cls(target, start.poles, inputs, start.is_real)

    def first(self) -> np.ndarray:
        """The parameters of the start."""
        decay = np.log(-np.log(np.maximum(np.abs(self.poles), np.exp(-np.exp(_FASTEST)))))
        return np.concatenate([decay, np.zeros(decay.size), self.inputs.real.ravel(), self.inputs.imag.ravel()])

    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Of decays and angles those between which poles move; what is not free is held."""
        angle, unit, width = np.angle(self.poles), self._angle_unit, self.inputs.shape[1]
        low = np.minimum(_SMALLEST_ANGLE - angle / unit, 0.0)
        high = np.maximum((np.pi - angle) / unit - _SMALLEST_ANGLE, 0.0)
        turns = [(0.0, 0.0) if real else bounds for real, *bounds in zip(self.real, low, high, strict=True)]
        imaginary = [(0.0, 0.0) if real else (None, None) for real in np.repeat(self.real, width)]
        return [(_SLOWEST, _FASTEST)] * len(turns) + turns + [(None, None)] * len(imaginary) + imaginary

    def modes(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poles [R] and inputs [R, I]."""
        count = self.poles.size
        decay, turn, *parts = np.split(parameters, [count, 2 * count, 2 * count + self.inputs.size])
        angle = np.angle(self.poles) + turn * self._angle_unit
        real, imaginary = (part.reshape(self.inputs.shape) for part in parts)
        direction = np.where(self.real, np.where(self.poles.real < 0.0, -1.0, 1.0), np.exp(1j * angle))
        return np.exp(-np.exp(decay)) * direction, real + 1j * imaginary

    def system(self, parameters: np.ndarray) -> ModalSystem:
        """The system of the parameters."""
        poles, inputs = self.modes(parameters)
        return ModalSystem(poles, inputs, self._fit(poles, inputs)[0], np.zeros_like(self.target.feedthrough))

    def value_and_gradient(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """The squared error less the squared norm of the target, and its derivatives by the parameters."""
        poles, inputs = self.modes(parameters)
        outputs, value = self._fit(poles, inputs)
        by_pole, by_input = self._derivatives(poles, inputs, outputs)
        # A function of a complex number: d = 2 Re(slope dp); the outputs are optimal, so that they have no part in it.
        decay = parameters[: poles.size]
        by_decay = 2.0 * (by_pole * poles).real * -np.exp(decay)
        by_turn = 2.0 * (by_pole * 1j * poles).real * self._angle_unit
        by_parts = 2.0 * by_input.real, -2.0 * by_input.imag
        return value, np.concatenate([by_decay, by_turn, *(part.ravel() for part in by_parts)])

    @property
    def _angle_unit(self) -> np.ndarray:
        return 1.0 - np.abs(self.poles)

    def _fit(self, poles: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the outputs [O, R] that fit best, and the squared error less the squared norm of the target."""
        plain, conjugated = _products(poles, inputs, poles, inputs)
        gram = _as_real(plain, conjugated)
        theirs = _products(poles, inputs, self.target.poles, self.target.inputs)
        right = _as_real(*theirs) @ np.concatenate([self.target.outputs.real, -self.target.outputs.imag], axis=1).T
        free = np.concatenate([np.ones(poles.size, bool), ~self.real])
        size = np.sqrt(np.maximum(np.diagonal(gram), np.finfo(float).tiny))[free]
        values, vectors = np.linalg.eigh(gram[np.ix_(free, free)] / size[:, None] / size)
        kept = values > _SMALLEST_RATIO * values[-1]
        projected = vectors[:, kept].T @ (right[free] / size[:, None]) / np.sqrt(values[kept])[:, None]
        found = np.zeros_like(right)
        found[free] = vectors[:, kept] / np.sqrt(values[kept]) @ projected / size[:, None]
        return found[: poles.size].T - 1j * found[poles.size :].T, -float(np.sum(projected**2))

    def _derivatives(self, poles: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives by poles [R] and inputs [R, I] of the squared error at fixed outputs."""
        p = np.concatenate([self.target.poles, poles])
        v = np.concatenate([self.target.inputs, inputs])
        c = np.concatenate([-self.target.outputs, outputs], axis=1)  # of the error
        by_pole, by_input = 0.0, 0.0
        for q, w, d in ((p, v, c), (p.conj(), v.conj(), c.conj())):
            reciprocal = 1.0 / (1.0 - poles[:, None] * q)
            weights = 2.0 * (outputs.T @ d) * reciprocal
            by_input = by_input + weights @ w
            by_pole = by_pole + (weights * reciprocal * q * (inputs @ w.T)).sum(axis=1)
        return by_pole, by_input


def _products(
    poles: np.ndarray, inputs: np.ndarray, others: np.ndarray, their_inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``sum_t x[k, t] y[l, t]`` [R, N] of responses ``x[k, t] = poles[k]**t inputs[k]`` and others, and the same
    with the others conjugated."""
    plain = inputs @ their_inputs.T / (1.0 - poles[:, None] * others)
    conjugated = inputs @ their_inputs.T.conj() / (1.0 - poles[:, None] * others.conj())
    return plain, conjugated


def _as_real(plain: np.ndarray, conjugated: np.ndarray) -> np.ndarray:
    """Return the products [2R, 2N] of twice the real and twice the imaginary parts of such responses."""
    total, difference = plain + conjugated, plain - conjugated
    return 2.0 * np.block([[total.real, difference.imag], [total.imag, -difference.real]])
