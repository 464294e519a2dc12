"""Balanced truncation, for inputs of known power and cross spectra, of a system whose modes are shared."""

from __future__ import annotations

import numpy as np

from keras_s4.modal_system import ModalSystem
from keras_s4.orthonormal import one_minus_squared_radius
from keras_s4.reduction.input_weighted import SMALLEST_POWER, autocorrelation
from keras_s4.reduction.result import ModalReduction
from keras_s4.reduction.shared_modes.realization import (
    ModalRealization,
    RealForm,
    balance,
    check_rank_of_modes,
    chosen_modes,
)

# The covariance of the states has no factor in closed form: of singular values below this part of the largest, rounding
# has left nothing.
_SMALLEST_RATIO = 1e-7
# Numbers of a product that are computed together.
_BLOCK = 1 << 22


def input_weighted_truncation_of_modes(
    system: ModalSystem, rank: int = 8, *, power_spectrum: np.ndarray
) -> ModalReduction:
    """Reduce a system by balanced truncation for the inputs that it really gets, together.

    See :func:`keras_s4.reduction.input_weighted_truncation`, which does this to every channel of a diagonal system: the
    controllability Gramian is the covariance of the states. What inputs have in common counts as well, so that states
    which are excited by combinations of inputs that do not occur go first. White inputs of power 1 that have nothing in
    common give balanced truncation. The feedthrough does not change, the result is stable, and there is no bound on its
    error (`error_bound` is infinite). Singular values below 1e-7 of the largest are never kept.

    Orders, entries and checks are otherwise those of :func:`balanced_truncation_of_modes`.

    Args:
        system: the system to reduce, of N entries.
        rank: entries (complex modes) kept, from 1 to N.
        power_spectrum: [F, I, I] complex, at F equally spaced frequencies from 0 to pi inclusive the mean of
            ``x x.conj().T``, x being ``np.fft.rfft`` of the inputs; or [F], the power of every input, if they have
            nothing in common.

    Returns:
        A :class:`ModalReduction`; its system has `rank` entries.

    Raises:
        ValueError: if `rank` is not an integer between 1 and N; if `power_spectrum` has another shape, fewer than two
            frequencies, values that are not finite, or matrices that are no covariances.

    References:
        Enns, Model reduction with balanced realizations: an error bound and a frequency weighted generalization, IEEE
        Conference on Decision and Control, 1984.
    """
    check_rank_of_modes(rank, system)
    return input_weighted_realization(system, correlation_of(power_spectrum, system.input_size)).truncate(rank)


def input_weighted_realization(system: ModalSystem, correlation: np.ndarray) -> ModalRealization:
    """Balance the observability Gramian of a system with the covariance of its states.

    Args:
        system: the system to balance.
        correlation: [K, I, I] of its inputs, see :func:`correlation_of`.
    """

    def factors_of(form: RealForm) -> tuple[np.ndarray, np.ndarray]:
        covariance = _state_covariance(form, correlation)
        size = np.sqrt(np.diagonal(covariance))
        size = np.where(size > 0.0, size, 1.0)
        values, vectors = np.linalg.eigh(covariance / size[:, None] / size)
        return size[:, None] * vectors * np.sqrt(values.clip(0.0)), form.factors()[1]

    return balance("input_weighted", system, factors_of, _SMALLEST_RATIO)


def response_power(system: ModalSystem, correlation: np.ndarray) -> float:
    """Return the mean power of the outputs of a system together.

    Args:
        system: of I inputs.
        correlation: [K, I, I] of its inputs, see :func:`correlation_of`.
    """
    direct = np.einsum("oi,ij,oj->", system.feedthrough, correlation[0], system.feedthrough)
    form = RealForm.of(system)
    if not form.system.state_size:
        return float(direct)
    covariance = form.C @ _state_covariance(form, correlation)
    modes = chosen_modes(system, np.flatnonzero(~system.is_padding))
    with_inputs = 2.0 * (modes.outputs @ _transform(correlation, modes.poles, modes.inputs)).real
    return float(np.sum(covariance * form.C) + 2.0 * np.sum(with_inputs * system.feedthrough) + direct)


def correlation_of(power_spectrum: np.ndarray, inputs: int) -> np.ndarray:
    """Return the correlation of inputs [K, I, I] at lags 0 .. K - 1, K = 2 (F - 1): ``E u[t] u[t - lag].T``.

    Args:
        power_spectrum: see :func:`input_weighted_truncation_of_modes`. What is between its samples
            :func:`keras_s4.reduction.input_weighted_truncation` says.
        inputs: I.

    Raises:
        ValueError: see there.
    """
    power = _checked_spectrum(power_spectrum, inputs)
    return autocorrelation(power.reshape(len(power), -1).T).T.reshape(-1, inputs, inputs)


def _checked_spectrum(power_spectrum: np.ndarray, inputs: int) -> np.ndarray:
    """Return the cross spectra [F, I, I], positive definite, or raise a ValueError."""
    power = np.asarray(power_spectrum)
    if not np.issubdtype(power.dtype, np.number):
        raise ValueError(f"Received power_spectrum of type {power.dtype}; expected numbers.")
    if power.ndim not in (1, 3) or power.shape[0] < 2 or power.shape[1:] not in ((), (inputs, inputs)):
        raise ValueError(
            f"Received power_spectrum of shape {power.shape}; expected [F] or [F, {inputs}, {inputs}], with at least "
            "two frequencies from 0 to pi."
        )
    if not np.isfinite(power).all():
        raise ValueError("Received a power_spectrum with values that are not finite.")
    power = power[:, None, None] * np.eye(inputs) if power.ndim == 1 else power
    values = np.linalg.eigvalsh(power)
    largest = values.max()
    if not np.allclose(power, power.conj().transpose(0, 2, 1), 0.0, 1e-9 * abs(largest)) or (
        values.min() < -1e-9 * abs(largest)
    ):
        raise ValueError(
            "Received a power_spectrum whose matrices are not Hermitian with eigenvalues of at least 0, as means of "
            "x x.conj().T are."
        )
    if not largest > 0.0:
        return np.broadcast_to(np.eye(inputs), power.shape)
    return power + SMALLEST_POWER * largest * np.eye(inputs)


def _state_covariance(form: RealForm, correlation: np.ndarray) -> np.ndarray:
    """Return the covariance [S, S] of the real states of a system, for inputs of a correlation [K, I, I].

    With ``h[m] = sum_d R[d] conj(v[m]) conj(p[m])**d``, the first term halved, the complex states of poles p and inputs
    v have ``E x[n] conj(x[m]) = (v[n] h[m] + conj(h[n]) conj(v[m])) / (1 - p[n] conj(p[m]))``, and ``E x[n] x[m]`` is
    the same with p[m], v[m] and h[m] conjugated.
    """
    poles, inputs = form.system.poles, form.system.inputs
    half = correlation.copy()
    half[0] /= 2.0
    h = _transform(half, poles, inputs).conj()
    gap = one_minus_squared_radius(poles)
    p, q = poles[:, None], poles[None]
    with_conjugate = (inputs @ h.T + (inputs @ h.T).conj().T) / (gap - (p - q) * q.conj())
    without = (inputs @ h.conj().T + h.conj() @ inputs.T) / (gap - (p - q.conj()) * q)
    reals, imaginaries = 0.5 * (with_conjugate + without).real, 0.5 * (with_conjugate - without).real
    mixed = 0.5 * (without - with_conjugate).imag
    two, scale = form.complex, form.scale
    covariance = np.block([[reals, mixed[:, two]], [mixed[:, two].T, imaginaries[np.ix_(two, two)]]])
    scale = np.concatenate([scale, scale[two]])
    return scale[:, None] * 0.5 * (covariance + covariance.T) * scale


def _transform(correlation: np.ndarray, poles: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return ``sum_d R[d] v[n] p[n]**d`` [N, I]."""
    total = np.zeros(inputs.shape, dtype=np.complex128)
    size = max(_BLOCK // max(inputs.size, 1), 1)
    for start in range(0, len(correlation), size):
        some = correlation[start : start + size]
        decay = poles[:, None] ** np.arange(start, start + len(some))
        total += np.einsum("nd,din->ni", decay, some @ inputs.T)
    return total
