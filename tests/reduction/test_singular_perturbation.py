"""Singular perturbation: the gain at z = 1, the bound of balanced truncation, and a dense method."""

import numpy as np
import pytest
from random_systems import ROUNDING, benign_system, check_promises, random_systems
from scipy.linalg import cholesky, solve_discrete_lyapunov, svd

from keras_s4.reduction import balanced_truncation, hankel_singular_values, singular_perturbation
from keras_s4.reduction.gramians import real_form
from keras_s4.systems import DiagonalSystem


@pytest.mark.parametrize("state_size", [1, 2, 5, 12, 20])
def test_every_reduction_is_stable_exact_for_constants_and_within_its_bound(state_size):
    system = random_systems(state_size, 12, state_size)
    for rank in sorted({1, state_size // 4, state_size // 2, state_size - 1, state_size} - {0}):
        reduction = singular_perturbation(system, rank)
        check_promises(reduction, rank)
        excess = reduction.hinf_error - reduction.error_bound
        assert (excess <= ROUNDING * reduction.spectrum[:, 0]).all()
        gains = [x.frequency_response(0.0)[:, 0].real for x in (system, reduction.system)]
        # Both are sums of entries that cancel; each is as exact as its largest entry.
        largest = [(np.abs(x.residues) / np.abs(1.0 - x.poles)).max(axis=1) for x in (system, reduction.system)]
        assert (np.abs(gains[0] - gains[1]) <= 1e-14 * (np.maximum(*largest) + np.abs(gains[0]))).all()


def dense_singular_perturbation(system, order):
    """Impulse response by textbook matrices of ``x[t + 1] = A x[t] + B u[t], y[t] = C A x[t] + k[0] u[t]``."""
    A, B, C = (x[0] for x in real_form(system))
    A, B, C, D = A, B, C @ A, C @ B + system.feedthrough[0]
    L = cholesky(solve_discrete_lyapunov(A, np.outer(B, B)), lower=True)
    M = cholesky(solve_discrete_lyapunov(A.T, np.outer(C, C)), lower=True)
    U, values, Vt = svd(M.T @ L)
    left, right = M @ U / np.sqrt(values), L @ Vt.T / np.sqrt(values)
    A, B, C = left.T @ A @ right, left.T @ B, C @ right
    inverse = np.linalg.inv(np.eye(len(A) - order) - A[order:, order:])
    D = D + C[order:] @ inverse @ B[order:]
    B, C = B[:order] + A[:order, order:] @ inverse @ B[order:], C[:order] + C[order:] @ inverse @ A[order:, :order]
    A = A[:order, :order] + A[:order, order:] @ inverse @ A[order:, :order]
    return np.array([D] + [C @ np.linalg.matrix_power(A, t) @ B for t in range(39)]), values


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reduction_equals_a_dense_one(rank):
    system = benign_system()
    reduction = singular_perturbation(system, rank)
    expected, values = dense_singular_perturbation(system, reduction.orders[0])
    np.testing.assert_allclose(reduction.system.impulse_response(40)[0], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(reduction.spectrum[0], values, rtol=1e-10)
    np.testing.assert_allclose(reduction.error_bound, 2.0 * values[reduction.orders[0] :].sum(), rtol=1e-9)


def test_spectrum_is_below_that_of_balanced_truncation():
    """The Hankel matrix of k[1], k[2], ... is that of k[0], k[1], ... without a column."""
    system = random_systems(3, 6, 8)
    shifted, plain = singular_perturbation(system, 2).spectrum, hankel_singular_values(system)
    assert (shifted <= plain * (1.0 + 1e-9) + 1e-13 * plain[:, :1]).all()


def test_slow_signals_lose_less_than_by_balanced_truncation():
    system = random_systems(11, 30, 10)
    errors = [
        np.abs(method(system, 3).error_system.frequency_response(1e-4))[:, 0]
        for method in (singular_perturbation, balanced_truncation)
    ]
    assert (errors[0] < errors[1]).mean() > 0.7


def test_poles_at_zero_go_into_the_feedthrough():
    """Such an entry contributes at t = 0 only, where the feedthrough does the same."""
    system = DiagonalSystem([[0.0, 0.5j, 0.0]], [[3.0, 1.0, 2.0]], [1.0])
    reduction = singular_perturbation(system, 1)
    assert reduction.orders == [2]
    np.testing.assert_allclose(reduction.system.feedthrough, [11.0], rtol=1e-14)
    np.testing.assert_allclose(reduction.system.impulse_response(20), system.impulse_response(20), atol=1e-14)


def test_systems_with_nothing_but_a_gain_keep_it():
    system = DiagonalSystem([[0.0, 0.0]], [[3.0, 2.0]], [1.0])
    reduction = singular_perturbation(system, 1)
    assert reduction.orders == [0] and reduction.error_bound == [0.0]
    np.testing.assert_array_equal(reduction.system.impulse_response(2), [[11.0, 0.0]])


def test_rank_is_checked():
    with pytest.raises(ValueError, match="rank=9; expected integers from 1 to 4"):
        singular_perturbation(benign_system(), 9)
