"""Discrete poles and input gains against their definitions in 40 digits."""

import mpmath
import numpy as np
import pytest
from pairs_of_numpy import pair, to_complex

from keras_s4.dss import discretization
from keras_s4.dss.discretization import METHODS

RATES = (0.25, 1.0, 3.0)


def continuous_poles():
    """Slow and fast, real and oscillating; float32 numbers."""
    random = np.random.default_rng(0)
    real = -np.exp(random.uniform(np.log(1e-3), np.log(2.0), (3, 8)))
    imaginary = np.where(np.arange(8) == 0, 0.0, np.exp(random.uniform(np.log(1e-3), np.log(100.0), (3, 8))))
    return (real + 1j * imaginary).astype(np.complex64)


def exact(method, pole, exponent, rate, length):
    """Discrete pole and gain in 40 digits: the definitions, without logarithms of poles."""
    with mpmath.workdps(40):
        pole, exponent = mpmath.mpc(complex(pole)), mpmath.mpc(complex(exponent))

        def discrete(z):
            return mpmath.exp(z) if method == "zoh" else (1 + z / 2) / (1 - z / 2)

        discrete_pole = discrete(exponent * rate)
        gain = (discrete_pole - 1) / pole
        if length is not None:
            gain /= discrete(exponent) ** length - 1
        return complex(discrete_pole), complex(gain)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("length", [None, 100])
@pytest.mark.parametrize("form", ["tensors", "numpy"])
def test_poles_and_gains(method, rate, length, form):
    poles = continuous_poles()
    exponents = (poles * np.float32(0.05)).astype(np.complex64)
    if form == "numpy":
        log_poles, gains = discretization.modes_of(
            method, poles.astype(complex), exponents.astype(complex), rate, length
        )
        tolerance = 1e-12
    else:
        modes = discretization.modes(method, pair(poles), pair(exponents), rate, length)
        log_poles, gains = map(to_complex, modes)
        tolerance = 2e-6
    expected = [exact(method, pole, z, rate, length) for pole, z in zip(poles.flat, exponents.flat, strict=True)]
    expected_poles, expected_gains = np.array(expected).T.reshape(2, *poles.shape)
    # The radius' distance from 1 is what a memory is made of: it must be as exact as the pole's own digits.
    np.testing.assert_allclose(log_poles.real, np.log(np.abs(expected_poles)), rtol=max(tolerance, 1e-9))
    np.testing.assert_allclose(np.exp(log_poles), expected_poles, rtol=0, atol=10 * tolerance)
    # The epsilon of the softmax kernel is relative to |p^L - 1|^2, which is at least 1e-2 here.
    softness = 1e-5 if length else 0.0
    np.testing.assert_allclose(gains, expected_gains, rtol=20 * tolerance + softness)


@pytest.mark.parametrize("time_step", [1e-6, 1e-3])
@pytest.mark.parametrize("method", METHODS)
def test_gain_tends_to_the_time_step(method, time_step):
    poles = np.array([[-0.5 + 2j, -1e-3 + 1e-3j]], np.complex64)
    exponents = pair(poles * np.float32(time_step))
    gains = to_complex(discretization.modes(method, pair(poles), exponents, 1.0, None)[1])
    np.testing.assert_allclose(gains, time_step, rtol=1e-5 + 3 * time_step)


@pytest.mark.parametrize("method", METHODS)
def test_exponents_of_discrete_poles(method):
    poles = np.array([0.9 * np.exp(0.3j), 0.95, -0.7, 0.9999 * np.exp(3.1j), -0.9999, 1e-6])
    forth = METHODS[method].log_poles_of(METHODS[method].exponents_of(poles.astype(complex)))
    np.testing.assert_allclose(np.exp(forth), poles, rtol=0, atol=1e-12)
    assert np.all(METHODS[method].exponents_of(poles.astype(complex)).real < 0), "stable poles stay stable"


def test_bilinear_poles_near_zero_and_at_zero_are_finite():
    exponents = pair(np.array([-2.0, -2.0 + 1e-5j, -1.9999999]).astype(np.complex64))
    log_poles = to_complex(METHODS["bilinear"].log_poles(exponents))
    assert np.all(np.exp(log_poles.real) <= 2 * discretization.SMALLEST_BILINEAR_RADIUS)
    assert np.all(np.isfinite(log_poles))


def test_both_methods_agree_for_short_steps():
    poles = continuous_poles()
    z = poles.astype(complex) * 1e-4
    held, tustin = (METHODS[name].log_poles_of(z) for name in ("zoh", "bilinear"))
    np.testing.assert_allclose(tustin, held, rtol=1e-4)
