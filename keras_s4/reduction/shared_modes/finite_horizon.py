"""Balanced truncation, for responses of finite length, of a system whose modes are shared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction.finite_horizon import SLOWEST, SMALLEST_RATIO, check_horizon
from keras_s4.reduction.realization import is_stable
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.balanced import balanced_truncation_of_modes
from keras_s4.reduction.shared_modes.realization import (
    ModalRealization,
    RealForm,
    balance,
    check_rank_of_modes,
    square_factor,
    stacked,
    times,
)

# What is left of a state, relative, that is nothing beside the rest.
_NOTHING = np.finfo(np.float64).eps ** 2


@dataclass(frozen=True, eq=False, repr=False)
class _FiniteHorizonRealization(ModalRealization):
    """A realization balanced over a number of steps."""

    horizon: int = 1

    def _stable_system(self, poles: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> ModalSystem | None:
        """Move unstable poles inside the unit circle, and fit all outputs to the response within the horizon again."""
        unstable, inside = ~is_stable(poles), 1.0 - 1.0 / (SLOWEST * self.horizon)
        poles = np.where(unstable, poles * (inside / np.where(unstable, np.abs(poles), 1.0)), poles)
        outputs = _fitted_outputs(self.system, poles, inputs, self.horizon)
        return self._system(poles, inputs, outputs)


def finite_horizon_truncation_of_modes(system: ModalSystem, rank: int = 8, *, horizon: int) -> ModalReduction:
    """Reduce a system by balanced truncation with Gramians over `horizon` steps instead of infinitely many.

    See :func:`keras_s4.reduction.finite_horizon_truncation`, which does this to every channel of a diagonal system. The
    feedthrough does not change, and there is no bound on the error (`error_bound` is infinite). Unstable poles of a
    reduced system move to the radius ``1 - 1 / (10 horizon)``, and all its outputs are fitted to the responses within
    the horizon by least squares; where balanced truncation has a smaller error there (sum of squares), its result is
    returned instead. `ModalReduction.stabilized` reports that.

    Orders, entries and checks are those of :func:`balanced_truncation_of_modes`.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.
        horizon: steps of the impulse responses that count, such as the length of the sequences.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N, or `horizon` is not a positive integer.

    References:
        Gawronski and Juang, Model reduction in limited time and frequency intervals, International Journal of Systems
        Science 21(2), 1990.
    """
    rank, horizon = check_rank_of_modes(rank, system), check_horizon(horizon)

    def factors_of(form: RealForm) -> tuple[np.ndarray, np.ndarray]:
        poles, two = form.system.poles, form.complex
        L = reachability_factor(form.B, poles, two, horizon)
        return L, reachability_factor(form.C.T, poles.conj(), two, horizon)

    balanced = balance("finite_horizon", system, factors_of)
    reduction = balanced.derived(_FiniteHorizonRealization, horizon=horizon).truncate(rank)
    if reduction.stabilized:
        other = balanced_truncation_of_modes(system, rank).system
        if response_energy(system - other, horizon) < response_energy(reduction.error_system, horizon):
            return replace(reduction, system=other)
    return reduction


def reachability_factor(rows: np.ndarray, poles: np.ndarray, two: np.ndarray, horizon: int) -> np.ndarray:
    """Return a factor [S, k], k being S at most, of the sum of ``A**t rows rows.T A.T**t`` over t < horizon.

    The steps double: ``[F, A**t F]`` is a factor of 2t steps if F is one of t steps. Where it is wider than high, a QR
    decomposition makes it square. Nothing is subtracted.

    Args:
        rows: [S, I], what an impulse adds to the real states.
        poles: [N] complex, that A multiplies by.
        two: [N] bool, modes of two real states, see :func:`times`.
        horizon: steps.
    """
    factor, power = rows, poles
    for digit in bin(horizon)[3:]:
        factor = np.concatenate([factor, times(power, two, factor)], axis=1)
        power = power * power
        if digit == "1":
            factor, power = np.concatenate([rows, times(poles, two, factor)], axis=1), power * poles
        if factor.shape[1] > factor.shape[0]:
            factor = square_factor(factor)
        if np.abs(power).max(initial=0.0) < _NOTHING:
            break  # the rest of the sum is nothing
    return factor


def response_energy(system: ModalSystem, horizon: int) -> float:
    """Return the sum of squares of the impulse responses within a horizon."""
    two = ~system.is_real
    first = 2.0 * (system.outputs @ system.inputs).real + system.feedthrough
    rest = 0.0
    if horizon > 1:
        factor = reachability_factor(stacked(system.inputs, two), system.poles, two, horizon - 1)
        rest = np.sum((_real_outputs(system.outputs, two) @ times(system.poles, two, factor)) ** 2)
    return float(np.sum(first**2) + rest)


def _real_outputs(outputs: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Real outputs [O, S] of real and imaginary parts of states."""
    return np.concatenate([2.0 * outputs.real, -2.0 * outputs.imag[:, two]], axis=1)


def _fitted_outputs(system: ModalSystem, poles: np.ndarray, inputs: np.ndarray, horizon: int) -> np.ndarray:
    """Return outputs [O, q] with which poles [q] and inputs [q, I] fit the responses of a system best."""
    real = (poles.imag == 0.0) & np.all(inputs.imag == 0.0, axis=1)
    two = np.concatenate([~system.is_real, ~real])
    both = np.concatenate([system.poles, poles]), np.concatenate([system.inputs, inputs])
    factor = reachability_factor(stacked(both[1], two), both[0], two, horizon)
    ours = np.arange(both[0].size) >= system.state_size
    ours = np.concatenate([ours, ours[two]])
    wanted = _real_outputs(system.outputs, ~system.is_real) @ factor[~ours]
    basis = factor[ours]
    length = np.linalg.norm(basis, axis=1, keepdims=True)
    length[length == 0.0] = 1.0
    found = np.linalg.lstsq((basis / length).T, wanted.T, rcond=SMALLEST_RATIO)[0] / length
    fitted = found[: poles.size].T / 2.0 + 0j
    fitted[:, ~real] -= 0.5j * found[poles.size :].T
    return fitted
