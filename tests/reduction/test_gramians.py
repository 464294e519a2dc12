"""Gramian factors against the equations that define Gramians, and against multi-precision arithmetic."""

import mpmath
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from keras_s4.reduction.gramians import gramian_factors, real_form
from keras_s4.systems import DiagonalSystem


def random_system(seed, channels, state_size, radius=0.95):
    rng = np.random.default_rng(seed)
    shape = (channels, state_size)
    poles = rng.uniform(0.0, radius, shape) * np.exp(1j * rng.uniform(-np.pi, np.pi, shape))
    poles[:, : state_size // 3] = poles[:, : state_size // 3].real
    residues = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return DiagonalSystem(poles, residues, np.zeros(channels))


def ragged_system():
    """A pole at zero, padding, repeated poles (complex, conjugate and real) and a lone real pole."""
    poles = [[0.0, 0.5j, 0.5j, -0.5j, 0.3, 0.3], [0.9, 0.0, 0.0, 0.0, 0.0, 0.0], [0.1j, 0.0, 0.4, 0.5, 0.6, 0.7]]
    residues = [[1.0, 1j, 2.0, 3.0, 1.0, -2.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0, -1.0, 1.0]]
    return DiagonalSystem(poles, residues, np.zeros(3))


SYSTEMS = {
    "one entry": random_system(0, 2, 1),
    "small": random_system(1, 4, 6),
    "large": random_system(2, 2, 32),
    "slow": random_system(3, 2, 8, radius=0.9999),
    "ragged": ragged_system(),
}


@pytest.fixture(params=SYSTEMS, ids=lambda name: name.replace(" ", "-"))
def system(request):
    return SYSTEMS[request.param]


def test_real_form_has_the_impulse_response_of_the_system(system):
    A, B, C = real_form(system)
    state, kernel = B, []
    for _ in range(30):
        kernel.append((C * state).sum(axis=1))
        state = np.einsum("hij,hj->hi", A, state)
    np.testing.assert_allclose(np.stack(kernel, axis=1), system.impulse_response(30), rtol=0, atol=1e-12)


def relative_residual(A, gramian, weights):
    """Residual of the Stein equation A X A' - X + w w' = 0."""
    residual = A @ gramian @ A.T - gramian + np.outer(weights, weights)
    return np.linalg.norm(residual) / max(np.linalg.norm(gramian), 1e-300)


def test_factors_solve_both_stein_equations(system):
    A, B, C = real_form(system)
    factors = gramian_factors(system)
    for h in range(system.channels):
        controllability = factors.controllability()[h] @ factors.controllability()[h].T
        observability = factors.observability()[h] @ factors.observability()[h].T
        assert relative_residual(A[h], controllability, B[h]) < 1e-13
        assert relative_residual(A[h].T, observability, C[h]) < 1e-13


def test_gramians_equal_those_of_scipy(system):
    A, B, C = real_form(system)
    factors = gramian_factors(system)
    for h in range(system.channels):
        # scipy loses what its solver's condition costs, 1 / (1 - radius**2).
        tolerance = 1e-13 / (1.0 - np.abs(system.poles[h]).max() ** 2)
        for factor, matrix, weights in (
            (factors.controllability()[h], A[h], B[h]),
            (factors.observability()[h], A[h].T, C[h]),
        ):
            expected = solve_discrete_lyapunov(matrix, np.outer(weights, weights))
            np.testing.assert_allclose(factor @ factor.T, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_shift_is_the_system_in_orthonormal_coordinates(system):
    A, B, _ = real_form(system)
    factors = gramian_factors(system)
    L, (S, b) = factors.controllability(), factors.shift()
    np.testing.assert_allclose(A @ L, L @ S, rtol=0, atol=1e-14 * np.abs(L).max())
    np.testing.assert_allclose(B, np.einsum("hij,hj->hi", L, b), rtol=0, atol=1e-14 * np.abs(L).max())
    states = np.where(factors.pivots.imag == 0.0, 1, 2)  # a real pole has one state and a column of zeros
    identity = S @ S.transpose(0, 2, 1) + b[:, :, None] * b[:, None]
    for h in range(system.channels):
        used = np.arange(2)[None, :] < states[h, :, None]
        np.testing.assert_allclose(identity[h], np.diag(used.reshape(-1).astype(float)), rtol=0, atol=1e-14)


def test_gain_and_products_are_those_of_the_factors(system):
    A, B, C = real_form(system)
    factors = gramian_factors(system)
    L, M = factors.controllability(), factors.observability()
    for got, expected in (
        (factors.product(), M.transpose(0, 2, 1) @ L),
        (factors.product(system.poles), M.transpose(0, 2, 1) @ A @ L),
        (factors.gain, np.einsum("hi,hij->hj", C, L)),
        (factors.gain, np.einsum("hi,hij->hj", B, M)),
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_repeated_poles_and_padding_end_in_zero_columns():
    columns = np.abs(gramian_factors(ragged_system()).rows).max(axis=1)
    # 0, 0.5j (with its conjugate) and 0.3 are four distinct real states; then 0.9; then 0.1j and four real poles.
    np.testing.assert_array_equal((columns > 0.0).sum(axis=1), [4, 1, 6])


def test_columns_fall_off_as_pivots_do():
    rows = gramian_factors(random_system(4, 3, 24)).rows
    pairs = np.linalg.norm(rows.reshape(3, 24, 24, 2), axis=(1, 3))
    assert (pairs[:, 1:] <= 10.0 * pairs[:, :-1]).all()
    assert (pairs[:, -1] < 1e-6 * pairs[:, 0]).all()


@pytest.mark.parametrize("spread", [1e-2, 1e-5, 1e-8])
def test_factors_keep_their_relative_accuracy_on_clustered_poles(spread):
    """The determinant of the Gramian is a product of differences of poles; ordinary methods return rounding errors."""
    rng = np.random.default_rng(5)
    poles = 0.9j + spread * (rng.normal(size=6) + 1j * rng.normal(size=6))
    system = DiagonalSystem(poles[None], np.ones((1, 6)), [0.0])
    factor = gramian_factors(system).controllability()[0]
    with mpmath.workdps(120):
        closed = [mpmath.mpc(p) for p in poles] + [mpmath.mpc(p.conjugate()) for p in poles]
        gramian = mpmath.matrix([[1 / (1 - p * mpmath.conj(q)) for q in closed] for p in closed])
        exact = mpmath.det(gramian).real
        ours = mpmath.det(mpmath.matrix(factor.tolist())) ** 2
        # Rotation to real form is unitary. Twelve columns, each a product of up to a dozen accurate differences; the
        # 2 x 2 blocks of pairs are formed with an error relative to their larger element.
        assert abs(ours / exact - 1) < 1e-11
