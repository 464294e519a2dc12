"""Input-weighted truncation: covariances against sums, errors on inputs of the given spectrum."""

import numpy as np
import pytest
from random_systems import benign_system, check_promises, random_systems

from keras_s4.reduction import balanced_truncation, input_weighted_truncation
from keras_s4.reduction.gramians import gramian_factors, real_form
from keras_s4.reduction.input_weighted import autocorrelation, input_covariance
from keras_s4.systems import DiagonalSystem


def low_pass(frequencies, pole=0.95):
    return 1.0 / np.abs(1.0 - pole * np.exp(-1j * np.linspace(0.0, np.pi, frequencies))) ** 2


def test_autocorrelation_interpolates_the_spectrum_and_stays_positive():
    power = np.random.default_rng(0).uniform(0.0, 1.0, (3, 9)) ** 4
    correlation = autocorrelation(power)
    assert correlation.shape == (3, 16)
    np.testing.assert_allclose(correlation[:, 0], np.fft.irfft(power, 16)[:, 0])
    omega = np.linspace(0.0, np.pi, 401)
    lags = np.arange(1, 16)
    spectrum = correlation[:, :1] + 2.0 * correlation[:, 1:] @ np.cos(lags[:, None] * omega)
    np.testing.assert_allclose(spectrum[:, ::50], power, rtol=0, atol=1e-14)
    assert (spectrum >= power.min(axis=1, keepdims=True) - 1e-14).all()
    np.testing.assert_allclose(autocorrelation(np.full((1, 9), 2.0)), [[2.0] + 15 * [0.0]], atol=1e-15)


def covariance_of(system, correlation):
    factor = gramian_factors(system).controllability()
    return factor @ input_covariance(gramian_factors(system), correlation) @ factor.transpose(0, 2, 1)


def test_covariance_equals_the_double_sum():
    system = benign_system()
    correlation = autocorrelation(low_pass(9)[None])
    A, B, _ = (x[0] for x in real_form(system))
    states = np.stack([np.linalg.matrix_power(A, t) @ B for t in range(400)])
    lag = np.abs(np.arange(400)[:, None] - np.arange(400))
    R = np.where(lag < 16, correlation[0, np.minimum(lag, 15)], 0.0)
    expected = states.T @ R @ states
    np.testing.assert_allclose(covariance_of(system, correlation)[0], expected, rtol=0, atol=1e-12 * expected.max())


@pytest.mark.parametrize("seed", range(3))
def test_covariance_solves_its_stein_equation_where_resonances_are_narrower_than_the_grid(seed):
    """``P - A P A.T = B g.T + g B.T``, ``g = (R[0]/2 + sum R[m] A**m) B``; here a gap of 1e-4 meets a grid of 0.2."""
    system = random_systems(seed, 6, 6)
    correlation = np.broadcast_to(autocorrelation(low_pass(17)[None]), (6, 32))
    A, B, _ = real_form(system)
    P = covariance_of(system, correlation)
    for h in range(6):
        g, state = correlation[h, 0] / 2.0 * B[h], B[h]
        for m in range(1, 32):
            state = A[h] @ state
            g = g + correlation[h, m] * state
        residual = P[h] - A[h] @ P[h] @ A[h].T - np.outer(B[h], g) - np.outer(g, B[h])
        assert np.abs(residual).max() <= 1e-13 * np.abs(P[h]).max()


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_white_input_gives_balanced_truncation(rank):
    system = random_systems(5, 12, 8)
    weighted, plain = (
        input_weighted_truncation(system, rank, power_spectrum=np.ones(33)),
        balanced_truncation(system, rank),
    )
    size = plain.spectrum[:, :1]
    assert (np.abs(weighted.spectrum - plain.spectrum) <= 1e-12 * size).all()
    same = weighted.orders == plain.orders
    # Only where the order that fits differs by rounding: a nearly double pole is real in one and a pair in the other.
    assert same.mean() > 0.8
    difference = weighted.system.impulse_response(100) - plain.system.impulse_response(100)
    assert (np.abs(difference) <= 1e-8 * size)[same].all()


def output_power(system, correlation, steps=2**15):
    """Mean square of the output for an input of this autocorrelation."""
    kernel = system.impulse_response(steps)
    squares = np.fft.irfft(np.abs(np.fft.rfft(kernel, 2 * steps)) ** 2)[:, : correlation.shape[1]]
    return correlation[:, 0] * squares[:, 0] + 2.0 * (correlation[:, 1:] * squares[:, 1:]).sum(axis=1)


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_errors_on_the_coloured_input_are_mostly_smaller(rank):
    system = random_systems(6, 48, 10)
    correlation = np.broadcast_to(autocorrelation(low_pass(65)[None]), (48, 128))
    weighted, plain = (
        input_weighted_truncation(system, rank, power_spectrum=low_pass(65)),
        balanced_truncation(system, rank),
    )
    errors = [output_power(x.error_system, correlation) for x in (weighted, plain)]
    assert (errors[0] < errors[1]).mean() > 0.65
    assert np.exp(np.log(errors[0] / errors[1]).mean()) < 0.7


def test_states_that_the_input_does_not_excite_go_first():
    """The resonance at 2.8 is the larger one, but the input ends at 1."""
    system = DiagonalSystem([[0.95 * np.exp(0.3j), 0.99 * np.exp(2.8j)]], [[1.0, 1.0]], [0.0])
    power = np.where(np.linspace(0.0, np.pi, 257) < 1.0, 1.0, 0.0)
    kept = [
        np.angle(x.system.poles[0, 0])
        for x in (balanced_truncation(system, 1), input_weighted_truncation(system, 1, power_spectrum=power))
    ]
    np.testing.assert_allclose(kept, [2.8, 0.3], atol=0.05)


@pytest.mark.parametrize("state_size", [1, 2, 7, 16])
def test_every_reduction_is_stable_and_fits(state_size):
    system = random_systems(state_size, 12, state_size)
    power = np.random.default_rng(0).uniform(size=(12, 33)) ** 6
    for rank in sorted({1, state_size // 3, state_size // 2, state_size} - {0}):
        reduction = input_weighted_truncation(system, rank, power_spectrum=power)
        check_promises(reduction, rank)
        assert np.isin(reduction.error_bound, [0.0, np.inf]).all()
        np.testing.assert_array_equal(reduction.system.feedthrough, system.feedthrough)
        assert (reduction.hinf_error <= 2.0 * (system.hinf_norm() + np.abs(system.feedthrough))).mean() > 0.9


def test_one_spectrum_for_each_channel():
    system = random_systems(7, 3, 6)
    power = np.stack([low_pass(33), np.ones(33), np.zeros(33)])
    together = input_weighted_truncation(system, 2, power_spectrum=power)
    for h, alone in enumerate([low_pass(33), np.ones(33), np.ones(33)]):
        expected = input_weighted_truncation(system.select([h]), 2, power_spectrum=alone)
        np.testing.assert_allclose(together.spectrum[h], expected.spectrum[0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("power", "message"),
    [
        (np.ones((2, 5)), r"power_spectrum of shape \(2, 5\); expected \[F\] or \[1, F\]"),
        (np.ones(1), "at least two frequencies"),
        (np.ones(()), "expected \\[F\\]"),
        (np.ones(5) * 1j, "type complex128; expected real numbers"),
        (-np.ones(5), "negative or non-finite"),
        (np.array([1.0, np.nan]), "negative or non-finite"),
    ],
)
def test_refusals_name_what_is_wrong_with_the_spectrum(power, message):
    with pytest.raises(ValueError, match=message):
        input_weighted_truncation(benign_system(), 2, power_spectrum=power)
