"""Every method of reducing systems of several inputs and outputs, against dense matrices and what it promises."""

import numpy as np
import pytest
from scipy.linalg import cholesky, solve_discrete_lyapunov, svd
from test_shared_modes import random_system, real_matrices

from keras_s4.modal_system import ModalSystem
from keras_s4.reduction import (
    METHODS,
    METHODS_OF_MODES,
    balanced_truncation_of_modes,
    finite_horizon_truncation_of_modes,
    h2_optimal,
    h2_optimal_of_modes,
    input_weighted_truncation_of_modes,
    modal_scores,
    modal_truncation_of_modes,
    options_of,
    reduce,
    scores_of_modes,
    singular_perturbation_of_modes,
)
from keras_s4.reduction.shared_modes import correlation_of, h2, response_energy, response_power
from keras_s4.systems import DiagonalSystem

HORIZON = 25


def options(method, system, seed=0):
    return {
        "finite_horizon": {"horizon": HORIZON},
        "input_weighted": {"power_spectrum": cross_spectrum(system.input_size, seed)},
    }.get(method, {})


def cross_spectrum(inputs, seed, steps=32):
    """Of sequences whose features change slowly and have much in common, as a mean over four of them."""
    x = np.cumsum(np.random.default_rng(seed).normal(size=(4, steps, inputs)), axis=1)
    x = x @ (np.ones((inputs, inputs)) + 0.3 * np.eye(inputs))
    transform = np.fft.rfft(x, 2 * steps, axis=1)
    return np.einsum("bfi,bfj->fij", transform, transform.conj()) / (4 * steps)


def responses(A, B, C, length=40):
    return np.stack([C @ np.linalg.matrix_power(A, t) @ B for t in range(length)], axis=-1)


def dense_truncation(system, P, Q, order):
    """The responses of square-root balanced truncation of two Gramians, and all singular values."""
    A, B, C = real_matrices(system)
    L, M = cholesky(P, lower=True), cholesky(Q, lower=True)
    U, values, Vt = svd(M.T @ L)
    left, right = M @ U[:, :order] / np.sqrt(values[:order]), L @ Vt[:order].T / np.sqrt(values[:order])
    return responses(left.T @ A @ right, left.T @ B, C @ right), values


def pairs_apart(inputs, outputs):
    """Six pairs whose angles are far from each other and from the real axis."""
    random = np.random.default_rng(0)
    poles = np.array([0.9, 0.95, 0.8, 0.9, 0.7, 0.93]) * np.exp(1j * np.array([0.5, 0.9, 1.3, 1.7, 2.1, 2.6]))
    b, c = random.normal(size=(6, inputs, 2)) @ [1, 1j], random.normal(size=(outputs, 6, 2)) @ [1, 1j]
    return ModalSystem(poles, b, c, np.zeros((outputs, inputs)))


def without_feedthrough(system):
    return ModalSystem(system.poles, system.inputs, system.outputs, 0.0 * system.feedthrough)


@pytest.mark.parametrize("method", METHODS_OF_MODES)
@pytest.mark.parametrize("seed", range(4))
def test_every_method_keeps_its_promises(method, seed):
    system = random_system(seed, modes=9, inputs=1 + seed, outputs=3, gap=2.5)
    for rank in (1, 3, 8):
        found = reduce(system, rank, method, **options(method, system))
        assert found.method == method
        assert found.system.state_size == rank
        assert (np.abs(found.system.poles) < 1.0).all()
        assert (~found.system.is_padding).sum() <= rank
        assert np.all(np.diff(found.spectrum) <= 1e-9 * found.spectrum[0])
        assert found.hinf_error <= found.error_bound + 1e-10 * system.hinf_norm()
        assert found.h2_error < 2.0 * system.h2_norm()
        if method != "singular_perturbation":
            np.testing.assert_array_equal(found.system.feedthrough, system.feedthrough)


@pytest.mark.parametrize("method", METHODS_OF_MODES)
def test_a_system_that_fits_is_left_alone(method):
    system = random_system(2)  # one entry is padding
    found = reduce(system, 7, method, **options(method, system))
    assert found.error_bound in (0.0, np.inf) or found.error_bound < 1e-12
    np.testing.assert_allclose(found.system.impulse_response(30), system.impulse_response(30), rtol=0, atol=1e-12)


def test_methods_have_the_names_and_options_of_those_of_channels():
    assert list(METHODS_OF_MODES) == list(METHODS)
    for method, function in METHODS_OF_MODES.items():
        names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
        assert list(names[2:]) == list(options_of(method))


class TestModal:
    def test_scores_are_the_largest_gains_of_single_modes(self):
        system, omega = random_system(1, gap=1.5), np.linspace(0.0, np.pi, 40_001)
        for n, score in enumerate(scores_of_modes(system)):
            alone = ModalSystem(system.poles[[n]], system.inputs[[n]], system.outputs[:, [n]], 0.0 * system.feedthrough)
            gains = np.linalg.norm(alone.frequency_response(omega).transpose(2, 0, 1), 2, axis=(1, 2))
            assert score == pytest.approx(gains.max(), rel=1e-4)

    def test_of_one_input_and_output_they_are_those_of_channels(self):
        system = random_system(0, inputs=1, outputs=1)
        channel = DiagonalSystem(system.poles[None], system.outputs * system.inputs.T, [0.0])
        np.testing.assert_allclose(scores_of_modes(system), modal_scores(channel)[0], rtol=1e-6)

    def test_modes_that_are_kept_stay_as_they_are(self):
        system = random_system(0)
        found, scores = modal_truncation_of_modes(system, 3), scores_of_modes(system)
        kept = np.sort(np.argsort(-scores)[:3])
        np.testing.assert_array_equal(found.system.poles, system.poles[kept])
        np.testing.assert_array_equal(found.system.outputs, system.outputs[:, kept])
        assert found.error_bound == pytest.approx(np.sort(scores)[:-3].sum(), rel=1e-6)


class TestSingularPerturbation:
    @pytest.mark.parametrize("rank", [2, 4])
    def test_a_reduction_is_that_of_dense_matrices(self, rank):
        """Liu and Anderson's formulas for ``x[t + 1] = A x[t] + B u[t]``, ``y[t] = C A x[t] + k[0] u[t]``."""
        system = random_system(4, modes=7, inputs=3, outputs=4, gap=1.5)
        found = singular_perturbation_of_modes(system, rank)
        A, B, C = real_matrices(system)
        C, D = C @ A, system.feedthrough + C @ B
        L = cholesky(solve_discrete_lyapunov(A, B @ B.T), lower=True)
        M = cholesky(solve_discrete_lyapunov(A.T, C.T @ C), lower=True)
        U, values, Vt = svd(M.T @ L)
        left, right = (M @ U / np.sqrt(values)).T, L @ Vt.T / np.sqrt(values)
        A, B, C, q = left @ A @ right, left @ B, C @ right, found.system.order
        rest = np.linalg.inv(np.eye(len(A) - q) - A[q:, q:])
        D = D + C[:, q:] @ rest @ B[q:]
        C = C[:, :q] + C[:, q:] @ rest @ A[q:, :q]
        B = B[:q] + A[:q, q:] @ rest @ B[q:]
        A = A[:q, :q] + A[:q, q:] @ rest @ A[q:, :q]
        expected = np.concatenate([D[..., None], responses(A, B, C, 39)], axis=-1)
        np.testing.assert_allclose(found.spectrum, values, rtol=1e-8)
        np.testing.assert_allclose(found.system.impulse_response(40), expected, rtol=0, atol=1e-9 * values[0])

    @pytest.mark.parametrize("seed", range(4))
    def test_constant_inputs_stay_exact(self, seed):
        system = random_system(seed, gap=2.0)
        found = singular_perturbation_of_modes(system, 3)
        assert np.abs(found.error_system.frequency_response(0.0)).max() < 1e-9 * system.hinf_norm()
        assert np.isfinite(found.error_bound)

    def test_a_deadbeat_mode_goes_to_the_feedthrough(self):
        system = ModalSystem([0.0, 0.9], [[1.0, 2.0], [1.0, -1.0]], [[0.5, 1.0]], np.zeros((1, 2)))
        found = singular_perturbation_of_modes(system, 1)
        np.testing.assert_allclose(found.system.impulse_response(9), system.impulse_response(9), atol=1e-12)


class TestFiniteHorizon:
    @pytest.mark.parametrize("rank", [2, 3, 4])
    def test_a_reduction_is_that_of_dense_matrices(self, rank):
        system = random_system(0, modes=6, inputs=2, outputs=3, gap=1.0)
        A, B, C = real_matrices(system)
        powers = [np.linalg.matrix_power(A, t) for t in range(HORIZON)]
        P, Q = sum(p @ B @ B.T @ p.T for p in powers), sum(p.T @ C.T @ C @ p for p in powers)
        found = finite_horizon_truncation_of_modes(system, rank, horizon=HORIZON)
        assert not found.stabilized
        expected, values = dense_truncation(system, P, Q, found.system.order)
        expected[..., 0] += system.feedthrough
        np.testing.assert_allclose(found.spectrum, values, rtol=1e-7)
        np.testing.assert_allclose(found.system.impulse_response(40), expected, rtol=0, atol=1e-8 * values[0])

    def test_it_becomes_balanced_truncation(self):
        system = random_system(0, gap=1.5)
        found = finite_horizon_truncation_of_modes(system, 3, horizon=100_000)
        balanced = balanced_truncation_of_modes(system, 3)
        np.testing.assert_allclose(found.spectrum, balanced.spectrum, rtol=1e-8)
        np.testing.assert_allclose(
            found.system.impulse_response(50), balanced.system.impulse_response(50), rtol=0, atol=1e-8
        )

    def test_short_responses_are_nearer(self):
        """Of fast modes and slow ones; in 10 steps the slow ones have not shown what they will."""
        random = np.random.default_rng(3)
        poles = np.array([0.5, 0.6, 0.7, 0.9995, 0.9998, 0.9999]) * np.exp(1j * random.uniform(0.1, 3.0, 6))
        b, c = random.normal(size=(6, 3, 2)) @ [1, 1j], random.normal(size=(2, 6, 2)) @ [1, 1j]
        system = ModalSystem(poles, b * np.array([2, 2, 2, 1, 1, 1])[:, None], c, np.zeros((2, 3)))
        errors = [
            np.linalg.norm((system - each.system).impulse_response(10))
            for each in (
                finite_horizon_truncation_of_modes(system, 4, horizon=10),
                balanced_truncation_of_modes(system, 4),
            )
        ]
        assert errors[0] < 0.7 * errors[1]

    def test_what_it_makes_unstable_is_repaired(self):
        """In some of these systems a pole lands outside of the circle; within the horizon none is worse for that."""
        repaired = 0
        for seed in range(0, 60, 4):
            system = random_system(seed, modes=8, gap=3.0)
            found = finite_horizon_truncation_of_modes(system, 3, horizon=6)
            balanced = balanced_truncation_of_modes(system, 3)
            assert (np.abs(found.system.poles) < 1.0).all()
            if found.stabilized:
                repaired += 1
                errors = [np.linalg.norm(each.error_system.impulse_response(6)) for each in (found, balanced)]
                assert errors[0] <= errors[1] * (1.0 + 1e-9)
        assert repaired >= 2

    @pytest.mark.parametrize("horizon", [1, 2, 37])
    def test_the_energy_of_responses(self, horizon):
        for seed in range(4):
            system = random_system(seed)
            expected = np.sum(system.impulse_response(horizon) ** 2)
            assert response_energy(system, horizon) == pytest.approx(expected, rel=1e-10)


class TestInputWeighted:
    @pytest.mark.parametrize("seed", [0, 1, 3])
    def test_white_inputs_give_balanced_truncation(self, seed):
        system = random_system(seed, gap=1.5)
        found = input_weighted_truncation_of_modes(system, 3, power_spectrum=np.ones(17))
        balanced = balanced_truncation_of_modes(system, 3)
        counted = balanced.spectrum > 1e-5 * balanced.spectrum[0]
        np.testing.assert_allclose(found.spectrum[counted], balanced.spectrum[counted], rtol=1e-5)
        np.testing.assert_allclose(
            found.system.impulse_response(30),
            balanced.system.impulse_response(30),
            rtol=0,
            atol=1e-6 * balanced.spectrum[0],
        )

    @pytest.mark.parametrize("rank", [2, 3])
    def test_a_reduction_is_that_of_dense_matrices(self, rank):
        """The covariance as the sum over pairs of steps that it is defined by, lag by lag."""
        system = random_system(0, modes=5, inputs=3, outputs=2, gap=1.0)
        power = cross_spectrum(3, 1, steps=8)
        found = input_weighted_truncation_of_modes(system, rank, power_spectrum=power)
        A, B, C = real_matrices(system)
        lags = np.fft.irfft(power, 16, axis=0) * (1.0 - np.arange(16) / 16)[:, None, None]
        P = np.zeros_like(A)
        for lag in range(16):
            # E x[t] x[t].T of parts of the input that are `lag` steps apart, as the solution of a Lyapunov equation.
            right = B @ lags[lag] @ B.T @ np.linalg.matrix_power(A, lag).T
            part = solve_discrete_lyapunov(A, right)
            P += part if lag == 0 else part + part.T
        expected, values = dense_truncation(system, P, solve_discrete_lyapunov(A.T, C.T @ C), found.system.order)
        expected[..., 0] += system.feedthrough
        np.testing.assert_allclose(found.spectrum[:6], values[:6], rtol=1e-5)
        np.testing.assert_allclose(
            found.system.impulse_response(40), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )

    def test_inputs_with_much_in_common_lose_less_than_by_balanced_truncation(self):
        """The response to such inputs, drawn anew."""
        system = without_feedthrough(random_system(0, modes=12, inputs=4, outputs=3, gap=2.0))
        found = input_weighted_truncation_of_modes(system, 4, power_spectrum=cross_spectrum(4, 0, 200))
        x = np.cumsum(np.random.default_rng(9).normal(size=(8, 200, 4)), axis=1) @ (np.ones((4, 4)) + 0.3 * np.eye(4))
        errors = [
            np.linalg.norm((system - each.system).simulate(x)[0])
            for each in (found, balanced_truncation_of_modes(system, 4))
        ]
        assert errors[0] < 0.6 * errors[1]

    def test_the_power_of_responses_is_that_of_outputs(self):
        """Inputs are periodic, so that the correlation is that of lines; padded by zeros, so that it ends."""
        system = random_system(1, modes=5, gap=0.5)
        x = np.zeros((1, 4096, 3))
        x[0, :50] = np.cumsum(np.random.default_rng(2).normal(size=(50, 3)), axis=0)
        transform = np.fft.rfft(x[0], axis=0)
        power = np.einsum("fi,fj->fij", transform, transform.conj()) / 4096
        for each in (system, without_feedthrough(system)):
            expected = np.mean(np.sum(each.simulate(x)[0] ** 2, axis=2))
            assert response_power(each, correlation_of(power, 3)) == pytest.approx(expected, rel=0.02)
        white = response_power(system, correlation_of(np.ones(9), 3))
        assert white == pytest.approx(system.h2_norm() ** 2, rel=1e-9)

    def test_inputs_without_power_are_white(self):
        system = random_system(0)
        nothing = input_weighted_truncation_of_modes(system, 3, power_spectrum=np.zeros((9, 3, 3)))
        white = input_weighted_truncation_of_modes(system, 3, power_spectrum=np.ones(9))
        np.testing.assert_allclose(nothing.system.impulse_response(20), white.system.impulse_response(20), atol=1e-6)

    @pytest.mark.parametrize(
        ("power", "message"),
        [
            (np.ones((9, 3)), r"shape \(9, 3\); expected \[F\] or \[F, 3, 3\]"),
            (np.ones(1), "at least two frequencies"),
            (-np.ones(9), "eigenvalues of at least 0"),
            (np.triu(np.ones((9, 3, 3))), "not Hermitian"),
            (np.full(9, np.nan), "not finite"),
            (np.array(["a", "b"]), "expected numbers"),
        ],
    )
    def test_spectra_that_are_refused(self, power, message):
        with pytest.raises(ValueError, match=message):
            input_weighted_truncation_of_modes(random_system(0), 3, power_spectrum=power)


class TestH2:
    @pytest.mark.parametrize("seed", [0, 1, 3, 5])
    def test_it_is_never_worse_than_other_methods(self, seed):
        system = random_system(seed, gap=2.0)
        for rank in (1, 3, 6):
            found = h2_optimal_of_modes(system, rank)
            others = [each(system, rank).h2_error for each in (balanced_truncation_of_modes, modal_truncation_of_modes)]
            assert found.h2_error <= min(others) * (1.0 + 1e-12)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_gradient_by_finite_differences(self, seed):
        """Seed 1 has real poles, of one state and of two."""
        system = without_feedthrough(random_system(seed, modes=6, gap=1.0))
        start = without_feedthrough(modal_truncation_of_modes(system, 4).system)
        search = h2._Search.around(system, start)
        random, at = np.random.default_rng(0), search.first()
        free = np.array([low != high for low, high in search.bounds()])
        at = at + np.where(free, 0.1 * random.normal(size=at.size), 0.0)
        value, gradient = search.value_and_gradient(at)
        assert value + system.h2_norm() ** 2 == pytest.approx((system - search.system(at)).h2_norm() ** 2, rel=1e-9)
        for _ in range(4):
            change = np.where(free, random.normal(size=at.size), 0.0)
            difference = [search.value_and_gradient(at + step * change)[0] for step in (1e-5, -1e-5)]
            assert gradient @ change == pytest.approx((difference[0] - difference[1]) / 2e-5, rel=1e-5)

    def test_the_tangential_interpolation_conditions_hold(self):
        """Gugercin, Antoulas and Beattie 2008, theorem 3.1, in discrete time."""
        system = pairs_apart(3, 2)
        reduced = h2_optimal_of_modes(system, 3, iterations=2_000, tolerance=1e-14).system
        error = system - reduced
        for pole, b, c in zip(reduced.poles, reduced.inputs, reduced.outputs.T, strict=True):

            def transfer(x, derivative=False):
                """Of ``x = 1/z``, closed under conjugation."""
                total = 0.0
                for p, v, w in (
                    (error.poles, error.inputs, error.outputs),
                    (error.poles.conj(), error.inputs.conj(), error.outputs.conj()),
                ):
                    weights = p / (1.0 - p * x) ** 2 if derivative else 1.0 / (1.0 - p * x)
                    total = total + (w * weights) @ v
                return total

            size = np.linalg.norm(b) * np.linalg.norm(c) * system.h2_norm() / (1.0 - abs(pole))
            conjugated = pole.conj()
            assert np.linalg.norm(transfer(conjugated) @ b.conj()) * np.linalg.norm(c) < 1e-4 * size
            assert np.linalg.norm(c.conj() @ transfer(conjugated)) * np.linalg.norm(b) < 1e-4 * size
            assert abs(c.conj() @ transfer(conjugated, True) @ b.conj()) < 1e-4 * size / (1.0 - abs(pole))

    def test_it_is_no_worse_than_two_sided_iteration(self):
        """TSIA of dense matrices (Xu and Zeng 2011), in discrete time, from the same balanced system; all pairs."""
        system = without_feedthrough(random_system(0, modes=8, gap=1.0))
        A, B, C = real_matrices(system)
        found = h2_optimal_of_modes(system, 3)
        start = balanced_truncation_of_modes(system, 3).system
        Ar, Br, Cr = real_matrices(start)
        order, size = len(A), len(Ar)

        def stein(left, right, constant):
            """X of ``X - left X right.T = constant``."""
            matrix = np.eye(order * size) - np.kron(left, right)
            return np.linalg.solve(matrix, constant.ravel()).reshape(order, size)

        for _ in range(200):
            V, W = stein(A, Ar, B @ Br.T), stein(A.T, Ar.T, C.T @ Cr)
            V, W = np.linalg.qr(V)[0], np.linalg.qr(W)[0]
            inverse = np.linalg.inv(W.T @ V)
            Ar, Br, Cr = inverse @ W.T @ A @ V, inverse @ W.T @ B, C @ V
        assert np.abs(np.linalg.eigvals(Ar)).max() < 1.0 and np.abs(np.linalg.eigvals(Ar).imag).min() > 1e-3
        error = np.linalg.norm(responses(A, B, C, 400) - responses(Ar, Br, Cr, 400))
        assert found.h2_error <= error * (1.0 + 1e-4)

    def test_of_one_input_and_output_it_is_near_that_of_channels(self):
        system = pairs_apart(1, 1)
        channel = DiagonalSystem(system.poles[None], system.outputs * system.inputs.T, [0.0])
        for rank in (2, 4):
            assert h2_optimal_of_modes(system, rank).h2_error <= 1.01 * h2_optimal(channel, rank).h2_error[0]

    @pytest.mark.parametrize("wrong", [{"iterations": 0}, {"iterations": 2.5}, {"tolerance": -1.0}])
    def test_options_that_are_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            h2_optimal_of_modes(random_system(0), 3, **wrong)


@pytest.mark.parametrize("rank", [0, 9, 2.0, True])
@pytest.mark.parametrize("method", METHODS_OF_MODES)
def test_ranks_that_are_refused(method, rank):
    system = random_system(0)
    with pytest.raises(ValueError, match=f"rank={rank!r}; expected an integer from 1 to 8"):
        reduce(system, rank, method, **options(method, system))
