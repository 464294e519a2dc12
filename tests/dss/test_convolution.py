"""Convolution by FFT against numpy's sums."""

import functools

import backends
import keras
import numpy as np
import pytest
from keras import ops

from keras_s4.dss import convolution
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


def correlations(inputs, kernel, weights):
    """Gradients of the sum of weighted outputs with respect to inputs and kernel."""
    length, of_inputs, of_kernel = inputs.shape[1], np.zeros_like(inputs), np.zeros_like(kernel)
    for t in range(length):
        for s in range(t + 1):
            of_inputs[:, s] += kernel[:, t - s] * weights[:, t]
            of_kernel[:, t - s] += (inputs[:, s] * weights[:, t]).sum(axis=0)
    return of_inputs, of_kernel


def example(batch, length):
    random = np.random.default_rng(batch)
    inputs, weights = random.normal(size=(2, batch, length, 3))
    return inputs, random.normal(size=(3, length)), weights


def outputs_and_gradients(inputs, kernel, weights):
    """By TensorFlow; of the gradients' squares, too."""
    import tensorflow

    with tensorflow.GradientTape() as outer:
        outer.watch((inputs, kernel))
        with tensorflow.GradientTape() as tape:
            tape.watch((inputs, kernel))
            outputs = causal_convolution(inputs, kernel)
            loss = ops.sum(weights * outputs**2)
        gradients = tape.gradient(loss, (inputs, kernel))
        squares = sum(ops.sum(gradient**2) for gradient in gradients)
    return outputs, gradients, outer.gradient(squares, (inputs, kernel))


@pytest.mark.parametrize("batch", [1, 4, 7, 8])
def test_gradients_are_the_correlations(batch, monkeypatch):
    tensorflow = pytest.importorskip("tensorflow")
    monkeypatch.setattr(convolution, "GROUP_SIZE", 1)
    inputs, kernel, weights = example(batch, 37)
    variables = tensorflow.constant(inputs), tensorflow.constant(kernel)
    with tensorflow.GradientTape() as tape:
        tape.watch(variables)
        loss = ops.sum(weights * causal_convolution(*variables))
    found = tape.gradient(loss, variables)
    for one, expected in zip(found, correlations(inputs, kernel, weights), strict=True):
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_groups_of_sequences_give_what_all_at_once_give(jit_compile, monkeypatch):
    """Outputs, gradients and gradients of these, of batches of a size that is not known before the graph runs."""
    tensorflow = pytest.importorskip("tensorflow")
    values = [tensorflow.constant(value) for value in example(7, 10)]
    monkeypatch.setattr(convolution, "WITH_OWN_GRADIENT", ())
    expected = outputs_and_gradients(*values)
    monkeypatch.undo()
    monkeypatch.setattr(convolution, "GROUP_SIZE", 1)
    shapes = [None, 10, 3], [3, 10], [None, 10, 3]
    signature = [tensorflow.TensorSpec(shape, "float64") for shape in shapes]
    compiled = tensorflow.function(outputs_and_gradients, input_signature=signature, jit_compile=jit_compile)
    for found, value in zip(keras.tree.flatten(compiled(*values)), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-11, atol=1e-11)
    for batch in (0, 1, 4, 9):
        values = [tensorflow.constant(value) for value in example(batch, 10)]
        outputs, gradients, _ = compiled(*values)
        np.testing.assert_allclose(outputs, causal_convolution(*values[:2]), rtol=0, atol=1e-11)
        # Of the sum of weighted squares, whose derivative is twice the weighted outputs.
        exact = correlations(values[0].numpy(), values[1].numpy(), 2.0 * (values[2] * outputs).numpy())
        for found, value in zip(gradients, exact, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-11, atol=1e-11)


def test_spectra_of_a_few_sequences_are_held_at_once(monkeypatch):
    """However many there are; and of all at once where there is not one CPU alone."""
    tensorflow = pytest.importorskip("tensorflow")
    sizes = []
    forward = convolution._Transform.forward

    def watched(self, signal):
        sizes.append(signal.shape[0] if len(signal.shape) == 3 else 0)
        return forward(self, signal)

    monkeypatch.setattr(convolution._Transform, "forward", watched)
    inputs, kernel = tensorflow.zeros((32, 5_000, 16)), tensorflow.zeros((16, 5_000))
    run = tensorflow.function(causal_convolution)
    run.get_concrete_function(inputs, kernel)
    assert max(sizes) == 4
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "cpu:1"])
    sizes.clear()
    tensorflow.function(causal_convolution).get_concrete_function(inputs, kernel)
    assert max(sizes) == 32


def check_gradients_on_jax():
    import jax

    def squares_of_gradients(inputs, kernel, weights):
        def loss(*arguments):
            return (weights * causal_convolution(*arguments) ** 2).sum()

        return sum((gradient**2).sum() for gradient in jax.grad(loss, argnums=(0, 1))(inputs, kernel))

    def outputs_and_products(inputs, kernel, weights):
        outputs, pull_back = jax.vjp(causal_convolution, inputs, kernel)
        return outputs, pull_back(weights)

    group_size = convolution.GROUP_SIZE
    for batch in (1, 3, 4, 7, 8):
        inputs, kernel, weights = (value.astype("float32") for value in example(batch, 9))
        seconds = []
        for size, backends_of_ours in ((group_size, ()), (group_size, ("jax",)), (1, ("jax",))):
            convolution.GROUP_SIZE, convolution.WITH_OWN_GRADIENT = size, backends_of_ours
            # Of one function JAX keeps what it has traced, whatever is set meanwhile: a new one each time.
            outputs, gradients = jax.jit(functools.partial(outputs_and_products))(inputs, kernel, weights)
            expected = [[np.convolve(inputs[b, :, h], kernel[h])[:9] for h in range(3)] for b in range(batch)]
            np.testing.assert_allclose(outputs, np.swapaxes(expected, 1, 2), rtol=0, atol=1e-4)
            for found, exact in zip(gradients, correlations(inputs, kernel, weights), strict=True):
                np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)
            seconds.append(jax.jit(jax.grad(squares_of_gradients, argnums=(0, 1)))(inputs, kernel, weights))
        for found in seconds[1:]:
            for one, other in zip(found, seconds[0], strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
        convolution.GROUP_SIZE, convolution.WITH_OWN_GRADIENT = group_size, ("tensorflow", "jax")


def test_gradients_on_jax(request):
    backends.backend_process(request.config, "jax").evaluate(check_gradients_on_jax)


def check_gradients_of_traced_functions_on_jax():
    import jax

    def over_a_scan(inputs, kernel):
        return jax.lax.scan(lambda _, each: (0, causal_convolution(each[None], kernel)[0]), 0, inputs)[1]

    inputs, kernel, weights = (value.astype("float32") for value in example(3, 9))
    for function in (jax.jit(causal_convolution), jax.checkpoint(causal_convolution), over_a_scan):
        found = jax.vjp(function, inputs, kernel)[1](weights)
        for one, expected in zip(found, correlations(inputs, kernel, weights), strict=True):
            np.testing.assert_allclose(one, expected, rtol=0, atol=1e-4)


def test_gradients_of_traced_functions_on_jax(request):
    """They are traced before anything asks for their gradients."""
    backends.backend_process(request.config, "jax").evaluate(check_gradients_of_traced_functions_on_jax)
