"""Finite-horizon truncation: Gramians against sums and multi-precision arithmetic, kernels within the horizon."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from random_systems import benign_system, check_promises, random_systems
from scipy.linalg import cholesky, svd

from keras_s4.reduction import balanced_truncation, finite_horizon_truncation
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.finite_horizon import finite_horizon_factors
from keras_s4.reduction.gramians import real_form
from keras_s4.systems import DiagonalSystem


def summed_gramian(A, weights, horizon):
    total, state = np.zeros_like(A), weights
    for _ in range(horizon):
        total += np.outer(state, state)
        state = A @ state
    return total


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 50, 129])
def test_factors_are_those_of_the_sums(horizon):
    system = random_systems(0, 6, 6)
    A, B, C = real_form(system)
    factors = finite_horizon_factors(system, horizon)
    for factor, matrix, weights in (
        (factors.controllability(), A, B),
        (factors.observability(), A.transpose(0, 2, 1), C),
    ):
        for h in range(6):
            expected = summed_gramian(matrix[h], weights[h], horizon)
            np.testing.assert_allclose(factor[h] @ factor[h].T, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("horizon", [200, 784])
@pytest.mark.parametrize("slow", [1e-1, 1e-3, 1e-5])
def test_singular_values_equal_those_of_50_digits(slow, horizon):
    """They are the moduli of the eigenvalues of the finite cross Gramian."""
    poles = (1.0 - slow * np.linspace(1.0, 2.0, 6)) * np.exp(0.05j * np.arange(1, 7))
    residues = np.array([1.0, -2.0j, 1.0 + 1.0j, 0.5, 2.0, -1.0])
    system = DiagonalSystem([poles], [residues], [0.0])
    values = balanced_realization(system, lambda part: finite_horizon_factors(part, horizon)).spectrum[0]
    with mpmath.workdps(50):
        p = [mpmath.mpc(x) for x in (*poles, *poles.conj())]
        r = [mpmath.mpc(x) for x in (*residues, *residues.conj())]
        cross = mpmath.matrix(
            [[b * (1 - (x * y) ** horizon) / (1 - x * y) for y in p] for x, b in zip(p, r, strict=True)]
        )
        expected = sorted((float(abs(x)) for x in mpmath.eig(cross, left=False, right=False)), reverse=True)
    # Powers of poles lose one rounding error a step; what the horizon cuts off is one of the infinite Gramian.
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-13 * expected[0])


def dense_finite_horizon(system, order, horizon):
    A, B, C = (x[0] for x in real_form(system))
    L, M = (cholesky(summed_gramian(*x, horizon), lower=True) for x in ((A, B), (A.T, C)))
    U, values, Vt = svd(M.T @ L)
    left = M @ U[:, :order] / np.sqrt(values[:order])
    right = L @ Vt[:order].T / np.sqrt(values[:order])
    A, B, C = left.T @ A @ right, left.T @ B, C @ right
    return np.array([C @ np.linalg.matrix_power(A, t) @ B for t in range(40)])


@pytest.mark.parametrize("horizon", [12, 40])
def test_reduction_equals_a_dense_one(horizon):
    system = benign_system()
    reduction = finite_horizon_truncation(system, 2, horizon=horizon)
    assert not reduction.stabilized.any()
    kernel = reduction.system.impulse_response(40)[0]
    kernel[0] -= system.feedthrough[0]
    np.testing.assert_allclose(kernel, dense_finite_horizon(system, reduction.orders[0], horizon), rtol=0, atol=1e-10)


def kernel_error(reduction, horizon):
    return np.linalg.norm(reduction.error_system.impulse_response(horizon), axis=1)


@pytest.mark.parametrize(("state_size", "horizon"), [(1, 5), (12, 50), (12, 200), (24, 784)])
def test_every_reduction_is_stable_and_fits_the_kernel_better(state_size, horizon):
    system = random_systems(2, 24, state_size)
    for rank in sorted({1, state_size // 4, state_size // 2} - {0}):
        reduction = finite_horizon_truncation(system, rank, horizon=horizon)
        check_promises(reduction, rank)
        assert np.isin(reduction.error_bound, [0.0, np.inf]).all()
        np.testing.assert_array_equal(reduction.system.feedthrough, system.feedthrough)
        ours, theirs = kernel_error(reduction, horizon), kernel_error(balanced_truncation(system, rank), horizon)
        counts = theirs > 1e-9 * np.linalg.norm(system.impulse_response(horizon), axis=1)
        if counts.any():
            assert (ours <= theirs)[counts].mean() > 0.7
            assert np.median((ours / theirs)[counts]) < 1.0


def test_destabilised_channels_are_repaired():
    system, rank, horizon = random_systems(2, 24, 12), 3, 50
    reduction = finite_horizon_truncation(system, rank, horizon=horizon)
    realization = replace(
        balanced_realization(system, lambda part: finite_horizon_factors(part, horizon)), bounded=False
    )
    repaired = np.flatnonzero(reduction.stabilized)
    assert 3 <= repaired.size < 24
    for h in repaired:
        radii = [np.abs(np.linalg.eigvals(realization.A[h, :q, :q])).max() for q in range(1, 2 * rank + 1)]
        assert max(radii) > 1.0
    moved = np.isclose(np.abs(reduction.system.poles), 1.0 - 1.0 / (10 * horizon), rtol=0, atol=1e-12).any(axis=1)
    assert moved[repaired].mean() > 0.5 and not moved[~reduction.stabilized].any()
    theirs = kernel_error(balanced_truncation(system, rank), horizon)[repaired]
    assert (kernel_error(reduction, horizon)[repaired] <= theirs * (1.0 + 1e-6)).all()
    lower = kernel_error(realization.truncate(rank), horizon)[repaired]
    assert (kernel_error(reduction, horizon)[repaired] <= lower).mean() > 0.6


def test_long_horizons_give_balanced_truncation():
    system = random_systems(4, 12, 8)
    reduction, expected = finite_horizon_truncation(system, 3, horizon=2**20), balanced_truncation(system, 3)
    np.testing.assert_array_equal(reduction.orders, expected.orders)
    assert not reduction.stabilized.any()
    size = expected.spectrum[:, :1]
    assert (np.abs(reduction.spectrum - expected.spectrum) <= 1e-10 * size).all()
    difference = reduction.system.impulse_response(300) - expected.system.impulse_response(300)
    assert (np.abs(difference) <= 1e-8 * size).all()
    errors = [kernel_error(finite_horizon_truncation(system, 3, horizon=2**k), 2**k) for k in (6, 16)]
    assert (errors[0] < kernel_error(expected, 64)).mean() > 0.7
    np.testing.assert_allclose(errors[1], kernel_error(expected, 2**16), rtol=1e-4)


@pytest.mark.parametrize("horizon", [0, -1, 3.0, True, "784"])
def test_refusals_name_the_horizon(horizon):
    with pytest.raises(ValueError, match=f"horizon={horizon!r}; expected the number of steps that count"):
        finite_horizon_truncation(benign_system(), 2, horizon=horizon)
