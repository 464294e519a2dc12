"""Sums of exponentials against float64 and complex numbers of numpy."""

import numpy as np
import pytest
from keras import ops
from pairs_of_numpy import pair, random_complex, to_complex

from keras_s4.dss import kernels

CHANNELS, STATES = 3, 8


def modes(seed=0):
    """Slow and fast modes; float32 numbers, so that the reference starts from the same ones."""
    random = np.random.default_rng(seed)
    decay = np.exp(random.uniform(np.log(1e-4), np.log(1.0), (CHANNELS, STATES)))
    log_poles = (-decay + 1j * random.uniform(0, 3, decay.shape)).astype(np.complex64)
    return log_poles, random_complex(seed + 1, CHANNELS, STATES)


def direct_sum(log_poles, coefficients, length):
    powers = np.exp(log_poles.astype(complex)[..., None] * np.arange(length))
    return (coefficients[..., None] * powers).sum(axis=1).real


@pytest.mark.parametrize("length", [1, 2, 17, 500, 4096])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_exponential_sum_is_the_sum_over_modes(length, known):
    log_poles, coefficients = modes()
    kernel = kernels.exponential_sum(
        pair(log_poles), pair(coefficients), length if known else ops.convert_to_tensor(length)
    )
    # Rounding log_pole * t turns the phase by 2^-24 |log_pole| t, damped by exp(Re t): at most |log_pole| / (e |Re|).
    # A few roundings of the functions and products come on top.
    growth = np.maximum(1.0, np.abs(log_poles) / (np.e * np.abs(log_poles.real)))
    tolerance = 2.0**-23 * (np.abs(coefficients) * (growth + 8)).sum(axis=1, keepdims=True)
    error = np.abs(np.asarray(kernel) - direct_sum(log_poles, coefficients, length))
    assert kernel.shape == (CHANNELS, length)
    assert np.max(error / tolerance) < 1


def test_exponential_sum_in_float64_is_exact_to_rounding():
    log_poles, coefficients = modes()
    kernel = kernels.exponential_sum(pair(log_poles, "float64"), pair(coefficients, "float64"), 777)
    np.testing.assert_allclose(kernel, direct_sum(log_poles, coefficients, 777), rtol=0, atol=1e-11)


def test_exponential_sum_of_coefficients_of_a_batch():
    log_poles, _ = modes()
    coefficients = random_complex(5, 4, CHANNELS, STATES)
    sums = kernels.exponential_sum(pair(log_poles, "float64"), pair(coefficients, "float64"), 50)
    expected = [direct_sum(log_poles, sequence, 50) for sequence in coefficients]
    np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", [1, 2, 17, 300])
def test_gathered_states_are_those_of_the_recurrence(length):
    log_poles, _ = modes()
    inputs = np.random.default_rng(length).normal(size=(2, length, CHANNELS))
    states = to_complex(kernels.gathered_states(pair(log_poles, "float64"), ops.convert_to_tensor(inputs)))
    expected = np.zeros((2, CHANNELS, STATES), complex)
    for sample in inputs.swapaxes(0, 1):
        expected = np.exp(log_poles.astype(complex)) * expected + sample[:, :, None]
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-10)


def test_gathered_states_of_any_length():
    tensorflow = pytest.importorskip("tensorflow")
    log_poles, _ = modes()
    unknown = tensorflow.function(
        lambda inputs: kernels.gathered_states(pair(log_poles, "float64"), inputs),
        input_signature=[tensorflow.TensorSpec([None, None, CHANNELS], "float64")],
    )
    for length in (1, 64, 130):
        inputs = np.random.default_rng(0).normal(size=(1, length, CHANNELS))
        expected = to_complex(kernels.gathered_states(pair(log_poles, "float64"), ops.convert_to_tensor(inputs)))
        np.testing.assert_allclose(to_complex(unknown(inputs)), expected, rtol=0, atol=1e-11)
