"""Layers of the sizes that the papers train, against their equations written out in float64.

Sources: Gupta, Gu and Berant 2022 (DSS, arXiv 2203.14343), proposition 1; Gu et al. 2022 (S4D, arXiv 2206.11893),
equations 3 to 5 and the initial poles of section 4; Long Range Arena, whose longest sequences have 16,384 steps.
"""

import keras
import numpy as np
import pytest
import scipy.signal

from keras_s4.dss.discretization import SOFTMAX_EPSILON
from keras_s4.layers import DSS

LENGTH, CHANNELS, STATES = 16_384, 4, 64


def build(**arguments):
    keras.utils.set_random_seed(0)
    layer = DSS(STATES, **arguments)
    layer.build((None, LENGTH, CHANNELS))
    return layer


def weights_of(layer):
    """Continuous poles `[N]`, time steps `[H, 1]`, complex weights `[H, N]` and feedthrough `[H]`, in float64."""
    names = ("frequency", "log_time_step", "residues", "feedthrough")
    frequency, log_step, residues, feedthrough = (np.asarray(getattr(layer, name), float) for name in names)
    if layer.kernel_type == "clip":
        decay = np.minimum(np.asarray(layer.real_part, float), -1e-4)
    else:
        decay = -np.exp(np.asarray(layer.log_decay, float))
    return decay + 1j * frequency, np.exp(log_step)[:, None], residues @ [1.0, 1.0j], feedthrough


def discrete(poles, steps, method):
    """Poles and input gains of one step: S4D's equations 3 (bilinear) and 4 (zero-order hold), B being 1."""
    if method == "bilinear":
        return (1.0 + steps * poles / 2.0) / (1.0 - steps * poles / 2.0), steps / (1.0 - steps * poles / 2.0)
    return np.exp(steps * poles), (np.exp(steps * poles) - 1.0) / poles


def published_kernel(layer):
    """`K[l] = Re sum_n w_n B_n A_n^l`, one mode after the other; of DSS-softmax its proposition 1 (b)."""
    poles, steps, weights, feedthrough = weights_of(layer)
    kernel, times = np.zeros((CHANNELS, LENGTH)), np.arange(LENGTH)
    for mode in range(STATES):
        pole = np.broadcast_to(poles[mode : mode + 1], (CHANNELS, 1))
        if layer.kernel_type == "softmax":
            powers = np.exp(pole * steps * times)
            shape = powers / powers.sum(axis=1, keepdims=True) / pole
        else:
            of_step, gain = discrete(pole, steps, layer.discretization)
            shape = gain * np.exp(np.log(of_step) * times)
        kernel += (weights[:, mode : mode + 1] * shape).real
    kernel[:, 0] += feedthrough
    return kernel


# The largest frequencies are 198 (S4D-Lin) and 5,174 to 5,215 (the others). A bilinear pole near -1 turns by almost pi
# a step and hardly decays.
@pytest.mark.parametrize("poles", ["skew_hippo", "s4d_lin", "s4d_inv", "s4d_legs"])
@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_kernels_of_s4d(poles, method):
    layer = build(pole_initializer=poles, discretization=method)
    assert np.abs(layer.frequency).max() > (190 if poles == "s4d_lin" else 5_000)
    expected = published_kernel(layer)
    np.testing.assert_allclose(layer.kernel(LENGTH), expected, rtol=0, atol=5e-6 * np.abs(expected).max())


@pytest.mark.parametrize("kernel", ["softmax", "clip"])
def test_kernels_of_dss(kernel):
    layer = build(kernel=kernel)
    expected = published_kernel(layer)
    np.testing.assert_allclose(layer.kernel(LENGTH), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("method", "tolerance"), [("zoh", 2e-5), ("bilinear", 5e-4)])
def test_sequences_of_the_long_range_arena(method, tolerance):
    """Convolution mode, and step mode behind it, against the recurrence."""
    layer = build(pole_initializer="s4d_inv", discretization=method)
    poles, steps, weights, feedthrough = weights_of(layer)
    of_step, gain = discrete(np.broadcast_to(poles, (CHANNELS, STATES)), steps, method)
    inputs = np.random.default_rng(0).normal(size=(1, LENGTH + 5, CHANNELS)).astype("float32")
    state, expected = np.zeros((CHANNELS, STATES), complex), []
    for sample in inputs[0].astype(float):
        state = of_step * state + gain * sample[:, None]
        expected.append((weights * state).sum(axis=1).real + feedthrough * sample)
    expected = np.array(expected)
    outputs, carried = layer.chunk(inputs[:, :LENGTH], layer.initial_state(1))
    tolerance *= np.abs(expected).max()
    np.testing.assert_allclose(outputs[0], expected[:LENGTH], rtol=0, atol=tolerance)
    for index in range(LENGTH, LENGTH + 5):
        output, carried = layer.step(inputs[:, index], carried)
        np.testing.assert_allclose(output[0], expected[index], rtol=0, atol=tolerance)


def test_a_bilinear_layer_convolves_as_in_float64():
    layer = build(pole_initializer="s4d_inv", discretization="bilinear")
    inputs = np.random.default_rng(0).normal(size=(1, LENGTH, CHANNELS)).astype("float32")
    kernel = published_kernel(layer)
    expected = [scipy.signal.fftconvolve(inputs[0, :, h].astype(float), kernel[h])[:LENGTH] for h in range(CHANNELS)]
    error = np.asarray(layer(inputs))[0] - np.transpose(expected)
    assert np.abs(error).max() < 1e-5 * np.abs(expected).max()


def test_a_bilinear_softmax_kernel_is_normalised_by_its_last_power():
    layer = build(kernel="softmax", pole_initializer="s4d_inv", discretization="bilinear")
    poles, steps, weights, feedthrough = weights_of(layer)
    of_step, gain = discrete(poles, steps, "bilinear")
    whole = of_step**LENGTH - 1.0
    coefficients = weights * gain * whole.conj() / (np.abs(whole) ** 2 + SOFTMAX_EPSILON)
    expected = np.zeros((CHANNELS, LENGTH))
    for mode in range(STATES):
        powers = np.exp(np.log(of_step[:, mode : mode + 1]) * np.arange(LENGTH))
        expected += (coefficients[:, mode : mode + 1] * powers).real
    expected[:, 0] += feedthrough
    np.testing.assert_allclose(layer.kernel(LENGTH), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
