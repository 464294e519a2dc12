"""Convolution by FFT against numpy's sums."""

import backends
import numpy as np
import pytest
from keras import ops

from keras_s4.dss.convolution import causal_convolution


@pytest.mark.parametrize("length", [1, 2, 3, 50, 127])
def test_causal_convolution_is_numpys(length):
    random = np.random.default_rng(length)
    inputs = random.normal(size=(2, length, 3)).astype("float32")
    kernel = random.normal(size=(3, length)).astype("float32")
    outputs = causal_convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel))
    expected = np.array(
        [[np.convolve(inputs[b, :, h], kernel[h])[:length] for h in range(3)] for b in range(2)]
    ).transpose(0, 2, 1)
    # An FFT rounds relative to the norms of what it transforms, not to each output.
    scale = np.linalg.norm(inputs, axis=1).max() * np.linalg.norm(kernel, axis=1).max()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * scale)


def test_causal_convolution_of_any_length():
    tensorflow = pytest.importorskip("tensorflow")
    unknown = tensorflow.function(
        causal_convolution,
        input_signature=[tensorflow.TensorSpec([None, None, 2]), tensorflow.TensorSpec([2, None])],
    )
    random = np.random.default_rng(0)
    for length in (1, 13, 64):
        inputs = random.normal(size=(1, length, 2)).astype("float32")
        kernel = random.normal(size=(2, length)).astype("float32")
        outputs = unknown(inputs, kernel)
        expected = causal_convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel))
        assert outputs.shape == (1, length, 2)
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("moment", [0, 17, 39])
def test_later_inputs_do_not_change_earlier_outputs(moment):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(1, 40, 2)).astype("float32")
    kernel = ops.convert_to_tensor(random.normal(size=(2, 40)).astype("float32"))
    changed = inputs.copy()
    changed[:, moment] += 1.0
    before = np.asarray(causal_convolution(ops.convert_to_tensor(inputs), kernel))
    after = np.asarray(causal_convolution(ops.convert_to_tensor(changed), kernel))
    # Nothing but the rounding of the FFT, while the outputs from the change on move by the kernel.
    np.testing.assert_allclose(after[:, :moment], before[:, :moment], rtol=0, atol=1e-5)
    np.testing.assert_allclose((after - before)[0, moment:], np.asarray(kernel).T[: 40 - moment], rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 13, 97])
def test_a_future_kernel_sees_the_inputs_after_the_current_one(length):
    random = np.random.default_rng(length)
    inputs = random.normal(size=(2, length, 3))
    past, future = random.normal(size=(2, 3, length))
    outputs = causal_convolution(*map(ops.convert_to_tensor, (inputs, past, future)))
    expected = np.zeros_like(inputs)
    for t in range(length):
        for s in range(length):
            response = past[:, t - s] if s <= t else future[:, s - t - 1]
            expected[:, t] += response * inputs[:, s]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", [1, 28, 31, 500])
def test_float64_is_exact_to_rounding(length):
    random = np.random.default_rng(length)
    inputs, kernel = random.normal(size=(2, length, 3)), random.normal(size=(3, length))
    outputs = causal_convolution(ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel))
    expected = [[np.convolve(inputs[b, :, h], kernel[h])[:length] for h in range(3)] for b in range(2)]
    np.testing.assert_allclose(outputs, np.swapaxes(expected, 1, 2), rtol=0, atol=1e-11)


def test_gradients_are_the_correlations():
    tensorflow = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    inputs, weights = random.normal(size=(2, 2, 37, 3))
    kernel = random.normal(size=(3, 37))
    variables = tensorflow.constant(inputs), tensorflow.constant(kernel)
    with tensorflow.GradientTape() as tape:
        tape.watch(variables)
        loss = ops.sum(weights * causal_convolution(*variables))
    of_inputs, of_kernel = tape.gradient(loss, variables)
    expected_inputs, expected_kernel = np.zeros((2, 37, 3)), np.zeros((3, 37))
    for t in range(37):
        for s in range(t + 1):
            expected_inputs[:, s] += kernel[:, t - s] * weights[:, t]
            expected_kernel[:, t - s] += (inputs[:, s] * weights[:, t]).sum(axis=0)
    np.testing.assert_allclose(of_inputs, expected_inputs, rtol=0, atol=1e-11)
    np.testing.assert_allclose(of_kernel, expected_kernel, rtol=0, atol=1e-11)


def check_gradients_on_jax():
    import jax

    for batch in (1, 3, 4, 7):
        random = np.random.default_rng(batch)
        inputs, cotangents = random.normal(size=(2, batch, 9, 2)).astype("float32")
        kernel = random.normal(size=(2, 9)).astype("float32")
        _, pull_back = jax.vjp(causal_convolution, inputs, kernel)
        _, found = pull_back(cotangents)
        expected = np.zeros((2, 9))
        for lag in range(9):
            expected[:, lag] = (inputs[:, : 9 - lag] * cotangents[:, lag:]).sum(axis=(0, 1))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_gradient_of_a_kernel_sums_over_sequences_on_jax(request):
    backends.backend_process(request.config, "jax").evaluate(check_gradients_on_jax)
