"""Angles of bilinear poles as sums of two, against float64 and against complex powers."""

import backends
import keras
import numpy as np
import pytest
from keras import ops
from pairs_of_numpy import pair, random_complex

from keras_s4.dss import discretization, kernels
from keras_s4.dss.angles import PARTS, bilinear_angle

# Frequencies times time steps of the Long Range Arena's layers, to 5,000 times 0.1, of both signs; and real poles.
FREQUENCIES = np.concatenate([np.geomspace(1e-4, 500.0, 200), -np.geomspace(1e-4, 500.0, 200), [0.0, 1e4, -1e8]])


def exponents(decay):
    """Float32 numbers, so that the reference starts from the same ones."""
    return (-decay + 1j * FREQUENCIES).astype(np.complex64)


def exact_angle(z):
    half = 0.5 * z.astype(complex)
    return np.angle(1.0 + half) - np.angle(1.0 - half)


def real_value(angle):
    return np.asarray(angle.parts, float) * (2 * np.pi / PARTS) + np.asarray(angle.rest, float)


@pytest.mark.parametrize("decay", [1e-6, 5e-4, 5e-3])
def test_the_sum_is_the_angle(decay):
    z = exponents(decay)
    angle = bilinear_angle(pair(z))
    np.testing.assert_allclose(real_value(angle), exact_angle(z), rtol=0, atol=1e-9)
    assert np.abs(angle.rest).max() < 1.1 * np.pi / PARTS


@pytest.mark.parametrize("decay", [0.1, 1.9, 3.0, 50.0])
def test_the_sum_is_the_angle_of_poles_that_are_soon_forgotten(decay):
    z = exponents(decay)
    turned = np.exp(1j * (real_value(bilinear_angle(pair(z))) - exact_angle(z)))
    np.testing.assert_allclose(turned, 1.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 127, 16_384, 1_000_001])
def test_the_angle_after_many_steps(steps):
    z = exponents(5e-5)
    after = np.asarray(bilinear_angle(pair(z)).after(float(steps)), float)
    error = np.angle(np.exp(1j * (after - exact_angle(z) * steps)))
    assert np.abs(error).max() < 5e-7 + 1e-9 * steps


def check_gradients():
    """Against the derivative 1 / (1 - z^2 / 4) of log p, whose imaginary part is moved by the real part of z."""
    z = exponents(0.01)
    derivative = 1.0 / (1.0 - z.astype(complex) ** 2 / 4.0)
    real, imaginary = pair(z)
    if keras.backend.backend() == "jax":
        import jax

        gradients = jax.grad(lambda *z: ops.sum(bilinear_angle(z).rest), argnums=(0, 1))(real, imaginary)
    else:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch((real, imaginary))
            rest = ops.sum(bilinear_angle((real, imaginary)).rest)
        gradients = tape.gradient(rest, (real, imaginary))
    found = np.asarray(gradients[1], float) + 1j * np.asarray(gradients[0], float)
    # Of fast modes the gradient by the decay is a difference of two that are thousands of times as large.
    np.testing.assert_allclose(found / derivative, 1.0, rtol=0, atol=1e-3)


def check_sums():
    """Kernels and gathered states of poles from 0 to -1 over 16,384 steps; with the angles of logarithms they miss."""
    length, channels = 16_384, 4
    steps = np.geomspace(1e-3, 0.1, channels).astype("float32")[:, None]
    z = (-0.5 * steps + 1j * np.linspace(0, 5_000, 32, dtype="float32") * steps).astype(np.complex64)
    exact = 2.0 * np.arctanh(0.5 * z.astype(complex))
    coefficients = random_complex(1, *z.shape)
    powers = np.exp(exact[..., None] * np.arange(length))
    method = discretization.Bilinear
    log_poles, angles = method.log_poles(pair(z)), method.angles(pair(z))
    expected = (coefficients[..., None] * powers).sum(axis=1).real

    def error(angles):
        found = kernels.exponential_sum(log_poles, pair(coefficients), length, angles)
        return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()

    assert error(angles) < 5e-6 < 1e-4 < error(None)
    inputs = np.random.default_rng(0).normal(size=(1, length, channels)).astype("float32")
    states = kernels.gathered_states(log_poles, ops.convert_to_tensor(inputs), angles)
    expected = (powers[..., ::-1] * inputs[0].T[:, None]).sum(axis=-1)
    found = np.asarray(states[0][0], float) + 1j * np.asarray(states[1][0], float)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("check", [check_gradients, check_sums])
def test_on_this_backend(check):
    check()


@pytest.mark.parametrize("check", [check_gradients, check_sums])
def test_on_jax(check, request):
    backends.backend_process(request.config, "jax").evaluate(check)
