"""Kernels against float64 and complex numbers of numpy."""

import mpmath
import numpy as np
import pytest
from keras import ops

from keras_s4 import kernels

CHANNELS, STATES = 3, 8


def pair(values, dtype="float32"):
    return ops.cast(values.real, dtype), ops.cast(values.imag, dtype)


def to_complex(values):
    return np.asarray(values[0], np.float64) + 1j * np.asarray(values[1], np.float64)


def random_complex(seed, *shape):
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize(
    ("function", "reference"),
    [(kernels.complex_multiply, np.multiply), (kernels.complex_divide, np.divide)],
    ids=["multiply", "divide"],
)
def test_complex_arithmetic(function, reference):
    a, b = random_complex(0, 5, 4), random_complex(1, 5, 4)
    expected = reference(a.astype(complex), b.astype(complex))
    # Relative to the modulus: a component may cancel.
    assert np.max(np.abs(to_complex(function(pair(a), pair(b))) - expected) / np.abs(expected)) < 1e-6


def test_complex_exponential():
    z = 3 * random_complex(2, 50)
    expected = np.exp(z.astype(complex))
    assert np.max(np.abs(to_complex(kernels.complex_exp(pair(z))) - expected) / np.abs(expected)) < 1e-6


@pytest.mark.parametrize("size", [1e-12, 1e-7, 1e-3, 0.1, 3.0])
def test_expm1_keeps_its_accuracy_at_small_arguments(size):
    z = (size * random_complex(3, 20)).astype(np.complex64)
    with mpmath.workdps(40):
        expected = np.array([complex(mpmath.exp(mpmath.mpc(complex(value))) - 1) for value in z])
    assert np.max(np.abs(to_complex(kernels.complex_expm1(pair(z))) - expected) / np.abs(expected)) < 1e-6


@pytest.mark.parametrize("time_step", [1e-6, 1e-3, 1.0])
def test_zero_order_hold_gain_tends_to_the_time_step(time_step):
    poles = np.array([[-0.5 + 2j, -1e-3 + 1e-3j]], np.complex64)
    gain = to_complex(kernels.zero_order_hold_gain(pair(poles), pair(poles * np.float32(time_step))))
    expected = np.expm1(poles.astype(complex) * time_step) / poles
    np.testing.assert_allclose(gain, expected, rtol=2e-6)
    if time_step == 1e-6:
        np.testing.assert_allclose(gain, time_step, rtol=1e-5)


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


@pytest.mark.parametrize("length", [1, 2, 3, 50, 127])
def test_causal_convolution_is_numpys(length):
    random = np.random.default_rng(length)
    inputs = random.normal(size=(2, length, 3)).astype("float32")
    kernel = random.normal(size=(3, length)).astype("float32")
    outputs = kernels.causal_convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel))
    expected = np.array(
        [[np.convolve(inputs[b, :, h], kernel[h])[:length] for h in range(3)] for b in range(2)]
    ).transpose(0, 2, 1)
    # An FFT rounds relative to the norms of what it transforms, not to each output.
    scale = np.linalg.norm(inputs, axis=1).max() * np.linalg.norm(kernel, axis=1).max()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * scale)


def test_causal_convolution_of_any_length():
    tensorflow = pytest.importorskip("tensorflow")
    unknown = tensorflow.function(
        kernels.causal_convolution,
        input_signature=[tensorflow.TensorSpec([None, None, 2]), tensorflow.TensorSpec([2, None])],
    )
    random = np.random.default_rng(0)
    for length in (1, 13, 64):
        inputs = random.normal(size=(1, length, 2)).astype("float32")
        kernel = random.normal(size=(2, length)).astype("float32")
        outputs = unknown(inputs, kernel)
        expected = kernels.causal_convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel))
        assert outputs.shape == (1, length, 2)
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("moment", [0, 17, 39])
def test_later_inputs_do_not_change_earlier_outputs(moment):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1, 40, 2)).astype("float32")
    kernel = ops.convert_to_tensor(random.normal(size=(2, 40)).astype("float32"))
    changed = inputs.copy()
    changed[:, moment] += 1.0
    before = np.asarray(kernels.causal_convolution(ops.convert_to_tensor(inputs), kernel))
    after = np.asarray(kernels.causal_convolution(ops.convert_to_tensor(changed), kernel))
    # Nothing but the rounding of the FFT, while the outputs from the change on move by the kernel.
    np.testing.assert_allclose(after[:, :moment], before[:, :moment], rtol=0, atol=1e-5)
    np.testing.assert_allclose((after - before)[0, moment:], np.asarray(kernel).T[: 40 - moment], rtol=0, atol=1e-5)
