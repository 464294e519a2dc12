"""Balanced truncation of systems of several inputs and outputs, against dense methods, slycot and 50 digits."""

import mpmath
import numpy as np
import pytest
from scipy.linalg import cholesky, solve_discrete_lyapunov, svd

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction import (
    balanced_truncation_of_modes,
    hankel_singular_values,
    singular_values_of_modes,
)
from keras_s4.reduction.shared_modes import modal_realization
from keras_s4.systems import DiagonalSystem

# Of the largest Hankel singular value.
ROUNDING = 1e-10


def random_system(seed, modes=8, inputs=3, outputs=2, gap=3.0):
    """Complex, real, repeated and padding entries, radii up to `1 - 10**-gap`; a real pole is one state or two."""
    random = np.random.default_rng(seed)
    poles = (1.0 - 10.0 ** -random.uniform(0.0, gap, modes)) * np.exp(1j * random.uniform(0.0, np.pi, modes))
    b, c = (random.normal(size=(*shape, 2)) @ [1, 1j] for shape in ((modes, inputs), (outputs, modes)))
    kind = seed % 4
    if kind == 1 and modes > 3:
        poles[:2], poles[2] = poles[:2].real, poles[3]
        b[0] = b[0].real
    if kind == 2 and modes > 2:
        b[1] = 0.0
    if kind == 3:
        poles, b = poles.real, b.real
    return ModalSystem(poles, b, c, random.normal(size=(outputs, inputs)))


def real_matrices(system):
    """A, B, C of the real form with two states for each entry, of real entries too."""
    p = system.poles
    A = np.block([[np.diag(p.real), -np.diag(p.imag)], [np.diag(p.imag), np.diag(p.real)]])
    B = np.concatenate([system.inputs.real, system.inputs.imag])
    C = np.concatenate([2.0 * system.outputs.real, -2.0 * system.outputs.imag], axis=1)
    return A, B, C


def dense_truncation(system, order):
    """Impulse response of square-root balanced truncation with ordinary Cholesky factors, and all singular values."""
    A, B, C = real_matrices(system)
    L = cholesky(solve_discrete_lyapunov(A, B @ B.T), lower=True)
    M = cholesky(solve_discrete_lyapunov(A.T, C.T @ C), lower=True)
    U, values, Vt = svd(M.T @ L)
    left = M @ U[:, :order] / np.sqrt(values[:order])
    right = L @ Vt[:order].T / np.sqrt(values[:order])
    A, B, C = left.T @ A @ right, left.T @ B, C @ right
    return np.stack([C @ np.linalg.matrix_power(A, t) @ B for t in range(40)], axis=-1), values


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_a_reduction_is_that_of_dense_matrices(rank):
    system = random_system(0, modes=6, inputs=4, outputs=3, gap=1.0)
    reduction = balanced_truncation_of_modes(system, rank)
    expected, values = dense_truncation(system, reduction.order)
    expected[..., 0] += system.feedthrough
    np.testing.assert_allclose(reduction.spectrum, values, rtol=1e-9)
    np.testing.assert_allclose(reduction.system.impulse_response(40), expected, rtol=0, atol=1e-10 * values[0])
    np.testing.assert_allclose(reduction.error_bound, 2.0 * values[reduction.order :].sum(), rtol=1e-8)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_reduction_is_that_of_slycot(rank):
    slycot = pytest.importorskip("slycot")
    system = random_system(4, modes=7, inputs=3, outputs=4, gap=1.5)
    A, B, C = real_matrices(system)
    reduction = balanced_truncation_of_modes(system, rank)
    _, Ar, Br, Cr, values = slycot.ab09ad(
        "D", "B", "N", 14, 3, 4, A.copy(), B.copy(), C.copy(), nr=reduction.order, tol=0.0
    )
    expected = np.stack([Cr @ np.linalg.matrix_power(Ar, t) @ Br for t in range(40)], axis=-1)
    expected[..., 0] += system.feedthrough
    np.testing.assert_allclose(reduction.spectrum, values, rtol=1e-9)
    np.testing.assert_allclose(reduction.system.impulse_response(40), expected, rtol=0, atol=1e-9 * values[0])


def test_one_input_and_output_have_the_singular_values_of_a_diagonal_system():
    """Also the smallest ones, which ordinary methods lose: of poles 1e-2 apart, down to 1e-12 of the largest."""
    random = np.random.default_rng(1)
    poles = 0.9 * np.exp(0.5j) + 1e-2 * (random.normal(size=8) + 1j * random.normal(size=8))
    b, c = random.normal(size=(8, 1, 2)) @ [1, 1j], random.normal(size=(1, 8, 2)) @ [1, 1j]
    values = singular_values_of_modes(ModalSystem(poles, b, c, [[0.0]]))
    expected = hankel_singular_values(DiagonalSystem(poles[None], c * b.T, [0.0]))[0]
    counted = expected > 1e-12 * expected[0]
    assert expected[counted].min() < 1e-8 * expected[0]
    np.testing.assert_allclose(values[counted], expected[counted], rtol=1e-4)


def test_small_singular_values_equal_those_of_50_digits():
    random = np.random.default_rng(2)
    poles = 0.9 * np.exp(0.3j) + 1e-2 * (random.normal(size=6) + 1j * random.normal(size=6))
    b, c = random.normal(size=(6, 2, 2)) @ [1, 1j], random.normal(size=(2, 6, 2)) @ [1, 1j]
    system = ModalSystem(poles, b, c, np.zeros((2, 2)))
    with mpmath.workdps(50):
        p = [mpmath.mpc(x) for x in (*poles, *poles.conj())]
        B = mpmath.matrix(np.concatenate([b, b.conj()]).tolist())
        C = mpmath.matrix(np.concatenate([c, c.conj()], axis=1).tolist())
        BB, CC, n = B * B.H, C.H * C, len(p)
        P = mpmath.matrix([[BB[i, j] / (1 - p[i] * mpmath.conj(p[j])) for j in range(n)] for i in range(n)])
        Q = mpmath.matrix([[CC[i, j] / (1 - mpmath.conj(p[i]) * p[j]) for j in range(n)] for i in range(n)])
        squares = mpmath.eig(P * Q, left=False, right=False)
        expected = np.array(sorted((float(mpmath.sqrt(abs(x))) for x in squares), reverse=True))
    counted = expected > 1e-13 * expected[0]
    assert expected.min() < 1e-6 * expected[0]
    np.testing.assert_allclose(singular_values_of_modes(system)[counted], expected[counted], rtol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_every_reduction_is_stable_within_its_bound_and_fits(seed):
    modes = (1, 2, 3, 5, 8, 16)[seed % 6]
    system = random_system(seed, modes, inputs=1 + seed % 5, outputs=1 + seed % 3)
    realization = modal_realization(system)
    assert np.all(np.diff(realization.spectrum) <= 0.0)
    for rank in range(1, modes + 1):
        reduction = realization.truncate(rank)
        assert reduction.system.state_size == rank
        assert (np.abs(reduction.system.poles) < 1.0).all()
        assert reduction.order <= 2 * rank
        assert reduction.hinf_error <= reduction.error_bound + ROUNDING * realization.spectrum[0]
        np.testing.assert_array_equal(reduction.system.feedthrough, system.feedthrough)


def test_real_poles_are_entries_of_their_own():
    system = ModalSystem([-0.95, 0.9, 0.5, 0.1], np.eye(4)[:, :3] + 0.1, np.ones((2, 4)), np.zeros((2, 3)))
    assert system.order == 4
    reduction = balanced_truncation_of_modes(system, 2)
    kept = ~reduction.system.is_padding
    assert reduction.system.is_real[kept].all()
    assert reduction.order == kept.sum() == 2


def test_repeated_poles_with_other_inputs_are_no_fewer_states():
    """Two entries of one pole are two pairs of states where their inputs differ, and one where they do not."""
    pole = 0.9 * np.exp(0.4j)
    apart = ModalSystem([pole, pole], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1j], [0.3, 1.0]], np.zeros((2, 2)))
    assert (singular_values_of_modes(apart) > 1e-3).sum() == 4
    alike = ModalSystem([pole, pole], [[1.0, 2.0], [1.0, 2.0]], [[1.0, 1j], [0.3, 1.0]], np.zeros((2, 2)))
    spectrum = singular_values_of_modes(alike)
    assert (spectrum > 1e-12 * spectrum[0]).sum() == 2
    assert balanced_truncation_of_modes(alike, 1).hinf_error < 1e-12 * spectrum[0]


def test_systems_that_fit_and_empty_ones_are_left_alone():
    system = random_system(2)
    whole = balanced_truncation_of_modes(system, 8)
    assert whole.error_bound == 0.0
    np.testing.assert_allclose(whole.system.impulse_response(30), system.impulse_response(30), rtol=0, atol=1e-12)
    nothing = ModalSystem([0.5, 0.6j], np.zeros((2, 2)), np.ones((1, 2)), [[1.0, 2.0]])
    reduction = balanced_truncation_of_modes(nothing, 1)
    assert reduction.order == 0
    np.testing.assert_array_equal(reduction.spectrum, np.zeros(4))
    np.testing.assert_array_equal(reduction.system.impulse_response(2), [[[1.0, 0.0], [2.0, 0.0]]])


@pytest.mark.parametrize("rank", [0, 9, 2.0, True])
def test_refusals_name_the_rank_and_the_allowed_range(rank):
    with pytest.raises(ValueError, match=f"rank={rank!r}; expected an integer from 1 to 8"):
        balanced_truncation_of_modes(random_system(0), rank)
