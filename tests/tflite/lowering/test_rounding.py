import numpy as np
import pytest

from keras_s4.tflite.lowering.rounding import round_kernel


def case(seed, features=24, units=7):
    """A kernel and correlated inputs that are not centred."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(features, features)) * 0.7 ** np.arange(features)
    inputs = random.normal(size=(40, 50, features)) @ mixing + random.normal(size=features)
    kernel, bias = random.normal(size=(features, units)), random.normal(size=units)
    return kernel, bias, inputs, np.abs(kernel).max() / 127.0


@pytest.mark.parametrize("seed", range(10))
def test_products_lose_less_than_by_plain_rounding(seed):
    """Also on other data of the same kind: the second half."""
    kernel, bias, inputs, scale = case(seed)
    integers, new_bias = round_kernel(kernel, bias, inputs[:20], scale)
    np.testing.assert_array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() <= 127
    wanted = inputs @ kernel + bias
    ours = inputs @ (integers * scale) + new_bias
    plain = inputs @ (np.rint(kernel / scale) * scale) + bias
    for half in (slice(20), slice(20, None)):
        assert np.mean((ours[half] - wanted[half]) ** 2) < 0.7 * np.mean((plain[half] - wanted[half]) ** 2)


def test_no_output_is_off_in_the_mean():
    kernel, bias, inputs, scale = case(0)
    integers, new_bias = round_kernel(kernel, bias, inputs, scale)
    error = inputs @ (integers * scale) + new_bias - inputs @ kernel - bias
    np.testing.assert_allclose(error.mean(axis=(0, 1)), 0.0, atol=1e-9)


def test_a_kernel_on_the_grid_stays():
    kernel, bias, inputs, _ = case(1)
    integers = np.rint(kernel * 30)
    rounded, new_bias = round_kernel(integers * 0.5, bias, inputs, 0.5)
    np.testing.assert_array_equal(rounded, integers)
    np.testing.assert_allclose(new_bias, bias, rtol=1e-12)


@pytest.mark.parametrize("inputs", [np.zeros((5, 4, 3)), np.ones((5, 4, 3)), np.eye(3)[None] * [[1e3], [0.0], [1e-9]]])
def test_inputs_that_say_little_do_no_harm(inputs):
    """Silent and constant inputs, fewer samples than inputs."""
    kernel = np.array([[1.0, -0.3], [0.2, 0.4], [-0.7, 0.6]])
    integers, bias = round_kernel(kernel, np.zeros(2), inputs, 1.0 / 127.0)
    assert np.all(np.isfinite(bias)) and np.all(np.abs(integers / 127.0 - kernel) < 0.02)
