"""Balanced truncation: spectra against multi-precision arithmetic, reductions against bounds and a dense method."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from random_systems import ROUNDING, check_promises, random_systems
from scipy.linalg import cholesky, solve_discrete_lyapunov, svd

from keras_s4.reduction import balanced_truncation, hankel_singular_values
from keras_s4.reduction.balanced import balanced_realization
from keras_s4.reduction.gramians import real_form
from keras_s4.systems import DiagonalSystem


def layer(step, state_size, seed=0):
    """A DSS layer of one channel with Skew-HiPPO poles."""
    rng = np.random.default_rng(seed)
    poles = np.exp(step * (-0.5 + 1j * np.pi * np.arange(state_size)))
    return DiagonalSystem(poles[None], rng.normal(size=(1, state_size)) + 1j * rng.normal(size=(1, state_size)), [0.0])


def reference_spectrum(system):
    """Moduli of the eigenvalues of the cross Gramian, which for one input and one output are the singular values."""
    closed = []
    for p, r in zip(system.poles[0], system.residues[0], strict=True):
        if p.imag == 0.0:
            closed.append((mpmath.mpf(p.real), 2 * mpmath.mpf(r.real)))
        else:
            closed += [(mpmath.mpc(p), mpmath.mpc(r)), (mpmath.mpc(p.conjugate()), mpmath.mpc(r.conjugate()))]
    cross = mpmath.matrix([[r / (1 - p * q) for q, r in closed] for p, _ in closed])
    return sorted((abs(x) for x in mpmath.eig(cross, left=False, right=False)), reverse=True)


def clustered(spread):
    rng = np.random.default_rng(1)
    poles = 0.9 * np.exp(0.5j) + spread * (rng.normal(size=(1, 8)) + 1j * rng.normal(size=(1, 8)))
    return DiagonalSystem(poles, rng.normal(size=(1, 8)) + 1j * rng.normal(size=(1, 8)), [0.0])


@pytest.mark.parametrize(
    "system",
    [
        clustered(1e-2),
        clustered(1e-6),
        layer(0.1, 10),
        layer(1e-3, 8),
        DiagonalSystem([0.9999 * np.exp(0.01j * np.arange(1, 9))], [np.linspace(1, -1j, 8)], [0.0]),
        DiagonalSystem([np.linspace(-0.9, 0.99, 12)], [np.linspace(1, 2, 12)], [0.0]),
        DiagonalSystem([np.linspace(-0.9, 0.99, 8) + 1e-7j], [np.linspace(1, 2j, 8)], [0.0]),
    ],
    ids=["clustered", "tightly-clustered", "coarse-layer", "fine-layer", "radius-0.9999", "real", "nearly-real"],
)
def test_singular_values_equal_those_of_50_digits(system):
    with mpmath.workdps(50):
        expected = reference_spectrum(system)
        values = hankel_singular_values(system)[0]
        counted = [(x, y) for x, y in zip(values, expected, strict=False) if y > 1e-13 * expected[0]]
        # The target is 1%; nearly real poles lose most, one rounding error relative to their imaginary part.
        assert max(abs(x / y - 1) for x, y in counted) < 1e-7


def test_spectrum_is_sorted_and_zero_beyond_the_real_states():
    system = DiagonalSystem([[0.5j, 0.5, 0.0], [0.9j, 0.8j, 0.7j]], [[1.0, 1.0, 0.0], [1.0, 2.0, 3.0]], [0.0, 0.0])
    spectrum = balanced_truncation(system, rank=1).spectrum
    np.testing.assert_array_equal((spectrum > 0.0).sum(axis=1), [3, 6])
    assert (np.diff(spectrum, axis=1) <= 0.0).all()
    np.testing.assert_allclose(spectrum, hankel_singular_values(system), rtol=1e-12, atol=0)


@pytest.mark.parametrize("state_size", [1, 2, 3, 4, 7, 12, 20, 33, 64])
def test_every_reduction_is_stable_within_its_bound_and_fits(state_size):
    system = random_systems(state_size, 7, state_size)
    realization = balanced_realization(system)
    for rank in sorted({1, state_size // 4, state_size // 2, state_size - 1, state_size} - {0}):
        reduction = realization.truncate(rank)
        check_promises(reduction, rank)
        assert (reduction.hinf_error <= reduction.error_bound + ROUNDING * reduction.spectrum[:, 0]).all()
        np.testing.assert_array_equal(reduction.system.feedthrough, system.feedthrough)


def dense_balanced_truncation(system, order):
    """Impulse response of square-root balanced truncation with ordinary Cholesky factors, for a benign system."""
    A, B, C = (x[0] for x in real_form(system))
    L = cholesky(solve_discrete_lyapunov(A, np.outer(B, B)), lower=True)
    M = cholesky(solve_discrete_lyapunov(A.T, np.outer(C, C)), lower=True)
    U, values, Vt = svd(M.T @ L)
    left = M @ U[:, :order] / np.sqrt(values[:order])
    right = L @ Vt[:order].T / np.sqrt(values[:order])
    A, B, C = left.T @ A @ right, left.T @ B, C @ right
    return np.array([C @ np.linalg.matrix_power(A, t) @ B for t in range(40)]), 2.0 * values[order:].sum()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reduction_equals_a_dense_real_one(rank):
    angles = np.array([0.3, 1.0, 1.9, 2.6])
    system = DiagonalSystem([[0.9, 0.8, 0.9, 0.8] * np.exp(1j * angles)], [[1.0, 2.0, -1.5j, 1.0]], [0.0])
    reduction = balanced_truncation(system, rank)
    expected, bound = dense_balanced_truncation(system, reduction.orders[0])
    np.testing.assert_allclose(reduction.system.impulse_response(40)[0], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(reduction.error_bound, bound, rtol=1e-10)


def test_impulse_response_is_the_conjugate_closed_sum():
    """Conjugate symmetry holds by construction: the balanced real realization gives the same numbers."""
    system = random_systems(5, 6, 16)
    realization = balanced_realization(system)
    reduction = realization.truncate(5)
    kernel = reduction.system.impulse_response(60)
    kernel[:, 0] -= system.feedthrough
    for h, q in enumerate(reduction.orders):
        A, C, signs = realization.A[h, :q, :q], realization.C[h, :q], realization.signs[h, :q]
        expected = [C @ np.linalg.matrix_power(A, t) @ (signs * C) for t in range(60)]
        np.testing.assert_allclose(kernel[h], expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    real = (reduction.system.poles.imag == 0.0) & (reduction.system.residues != 0.0)
    np.testing.assert_array_equal(reduction.system.residues[real].imag, 0.0)


def test_order_is_the_largest_whose_entries_fit():
    system = random_systems(6, 12, 10)
    realization = balanced_realization(system)
    reduction = realization.truncate(3)
    assert (reduction.orders < 6).any()
    for h, q in enumerate(reduction.orders):
        for larger in range(q + 1, 7):
            poles = np.linalg.eigvals(realization.A[h, :larger, :larger])
            assert (poles.imag >= 0.0).sum() > 3


def test_real_poles_are_at_least_the_sum_of_the_signs():
    """Which is why orders are passed over without a look at their eigenvalues."""
    realization = balanced_realization(random_systems(9, 12, 16))
    for h in range(12):
        for q in range(1, realization.usable[h] + 1):
            real = (np.linalg.eigvals(realization.A[h, :q, :q]).imag == 0.0).sum()
            assert real >= abs(realization.signs[h, :q].sum())


def test_channels_of_different_blocks_are_balanced_alike():
    system = random_systems(10, 70, 3)
    reduction = balanced_truncation(system, 2)
    for h in (0, 31, 32, 69):
        alone = balanced_truncation(system.select([h]), 2)
        np.testing.assert_allclose(reduction.spectrum[h], alone.spectrum[0], rtol=1e-12, atol=0)
        np.testing.assert_allclose(
            reduction.system.impulse_response(9)[h], alone.system.impulse_response(9)[0], atol=1e-9
        )
        np.testing.assert_allclose(hankel_singular_values(system)[h], alone.spectrum[0], rtol=1e-9, atol=1e-15)


def test_negative_real_poles_are_kept_as_entries():
    system = DiagonalSystem([[-0.95, -0.9, -0.3 + 0.1j]], [[2.0, 1.0, 0.1]], [0.5])
    reduction = balanced_truncation(system, rank=1)
    (pole,) = reduction.system.poles[0]
    assert pole.imag == 0.0 and -1.0 < pole.real < -0.9
    assert reduction.orders == [1]
    assert (system - reduction.system).hinf_norm() <= reduction.error_bound


@pytest.mark.parametrize("damage", [2.0, 1e-3], ids=["unstable", "beyond-its-bound"])
def test_order_is_lowered_where_the_result_breaks_its_promise(damage):
    """Rounding rarely goes that far, so the fifth state is spoilt by hand."""
    system = DiagonalSystem([np.linspace(-0.9, 0.99, 12)], [np.ones(12)], [0.0])
    realization = balanced_realization(system)
    A = realization.A.copy()
    A[:, 4, 4] += damage
    sound, lowered = realization.truncate(8), replace(realization, A=A).truncate(8)
    assert sound.orders == [8] and 4 <= lowered.orders < 8
    assert not sound.stabilized and lowered.stabilized == (damage > 1.0)
    assert (np.abs(lowered.system.poles) < 1.0).all()
    np.testing.assert_allclose(lowered.error_bound, 2.0 * realization.spectrum[:, lowered.orders[0] :].sum(axis=1))
    assert (system - lowered.system).hinf_norm() <= lowered.error_bound + ROUNDING * realization.spectrum[:, 0]


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_nearly_defective_systems_obey_their_bound(gap):
    """Two close poles with opposite residues are nearly a Jordan block."""
    poles = [[0.9 * np.exp(1j), (0.9 + gap) * np.exp(1j), 0.7, 0.7 + gap, 0.2j]]
    residues = [[1.0 / gap, -1.0 / gap, 0.5 / gap, -0.5 / gap, 1e-3]]
    system = DiagonalSystem(poles, residues, [0.0])
    for rank in (1, 2, 3, 4):
        reduction = balanced_truncation(system, rank)
        # The residues themselves cancel to one rounding error of 1 / gap.
        slack = (ROUNDING + 1e-14 / gap) * reduction.spectrum[0, 0]
        assert (system - reduction.system).hinf_norm()[0] <= reduction.error_bound[0] + slack


def test_splitting_equal_singular_values_stays_stable():
    """An impulse response that is zero at even steps has its singular values in pairs."""
    pole, residue = np.array([0.9, 0.8 + 0.1j, 0.5 + 0.3j]), np.array([1.0, 0.1, 1.0])
    system = DiagonalSystem([[*pole, *-pole]], [[*residue, *-residue]], [0.0])
    spectrum = hankel_singular_values(system)[0]
    np.testing.assert_allclose(spectrum[:10:2], spectrum[1:10:2], rtol=1e-9)
    for rank in range(1, 6):
        reduction = balanced_truncation(system, rank)
        assert (np.abs(reduction.system.poles) < 1.0).all()
        assert (system - reduction.system).hinf_norm() <= reduction.error_bound + ROUNDING * spectrum[0]


def test_exactly_repeated_poles_are_merged_without_error():
    system = DiagonalSystem([[0.8j, 0.8j, -0.8j, 0.5, 0.5]], [[1.0, 2.0, 0.5, 1.0, -3.0]], [0.0])
    reduction = balanced_truncation(system, rank=2)
    assert reduction.orders == [3]
    assert (system - reduction.system).hinf_norm() <= 1e-12 * reduction.spectrum[0, 0]


def test_channels_that_fit_are_returned_as_they_are():
    poles = [[0.0, 0.5j, 0.0, 0.7], [0.1j, 0.2j, 0.3j, 0.4j]]
    residues = [[0.0, 1.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]]
    system = DiagonalSystem(poles, residues, [1.0, 2.0])
    reduction = balanced_truncation(system, rank=2)
    np.testing.assert_array_equal(reduction.system.poles[0], [0.5j, 0.7])
    np.testing.assert_array_equal(reduction.system.residues[0], [1.0, 2.0])
    assert reduction.error_bound[0] == 0.0 and reduction.orders[0] == 3
    whole = balanced_truncation(system, rank=4)
    np.testing.assert_array_equal(whole.system.poles, system.poles)
    np.testing.assert_array_equal(whole.system.residues, system.residues)
    np.testing.assert_array_equal(whole.error_bound, [0.0, 0.0])


def test_one_rank_for_each_channel():
    system = random_systems(7, 3, 8)
    together = balanced_truncation(system, np.array([1, 8, 3]))
    assert together.system.state_size == 8
    for h, rank in enumerate([1, 8, 3]):
        alone = balanced_truncation(system, rank)
        np.testing.assert_allclose(together.system.poles[h, :rank], alone.system.poles[h], rtol=0, atol=1e-12)
        assert (together.system.residues[h, rank:] == 0.0).all()
        np.testing.assert_allclose(together.error_bound[h], alone.error_bound[h], rtol=1e-9)


def test_systems_without_any_residue_are_left_alone():
    system = DiagonalSystem(np.full((2, 3), 0.5j), np.zeros((2, 3)), [1.0, 2.0])
    reduction = balanced_truncation(system, rank=2)
    np.testing.assert_array_equal(reduction.spectrum, np.zeros((2, 6)))
    np.testing.assert_array_equal(reduction.system.impulse_response(2), [[1.0, 0.0], [2.0, 0.0]])


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (0, "rank=0; expected integers from 1 to 4, the state size"),
        (-3, "rank=-3; expected integers from 1 to 4"),
        (5, "rank=5; expected integers from 1 to 4"),
        ([1, 9], "rank=9; expected integers from 1 to 4"),
        (2.0, "rank=2.0 of type float64; expected integers from 1 to 4"),
        (True, "rank=True of type bool"),
        ([1, 2, 3], r"rank of shape \(3,\); expected one integer or \(2,\) of them"),
    ],
)
def test_refusals_name_the_rank_and_the_allowed_range(rank, message):
    with pytest.raises(ValueError, match=message):
        balanced_truncation(random_systems(8, 2, 4), rank)
