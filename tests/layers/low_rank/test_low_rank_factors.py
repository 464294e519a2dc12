"""Factors: how they start, are read and are set. The dense layer stands for all layers that have factors."""

import keras
import numpy as np
import pytest

from keras_s4.layers import LowRankDense, LowRankGRU


def built(rank, units=6, features=5, **arguments):
    layer = LowRankDense(units, rank, **arguments)
    layer.build((None, features))
    return layer


@pytest.fixture
def matrix():
    return np.random.default_rng(0).normal(size=(5, 6))


def test_the_matrix_is_the_product_of_the_factors():
    layer = built(3)
    left, right = (np.asarray(weight, np.float64) for weight in (layer.kernel_left, layer.kernel_right))
    product = layer.matrices()["kernel"]
    assert product.dtype == np.float64
    np.testing.assert_array_equal(product, left @ right)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_setting_a_matrix_loses_the_singular_value_dropped(matrix, rank):
    """Eckart and Young: no matrix of that rank is closer in the spectral norm."""
    values = np.append(np.linalg.svd(matrix, compute_uv=False), 0.0)
    layer = built(rank)
    layer.set_matrices(kernel=matrix)
    error = np.linalg.norm(matrix - layer.matrices()["kernel"], 2)
    np.testing.assert_allclose(error, values[rank], rtol=1e-5, atol=1e-6 * values[0])


def test_factors_are_balanced(matrix):
    layer = built(3)
    layer.set_matrices(kernel=matrix)
    values = np.linalg.svd(matrix, compute_uv=False)[:3]
    left, right = np.asarray(layer.kernel_left), np.asarray(layer.kernel_right)
    np.testing.assert_allclose(left.T @ left, np.diag(values), atol=1e-5)
    np.testing.assert_allclose(right @ right.T, np.diag(values), atol=1e-5)


def test_setting_the_matrices_of_a_layer_changes_nothing(matrix):
    layer = built(2)
    layer.set_matrices(kernel=matrix)
    before = layer.matrices()["kernel"]
    layer.set_matrices(**layer.matrices())
    np.testing.assert_allclose(layer.matrices()["kernel"], before, atol=1e-6)


def test_setting_one_matrix_leaves_the_rest():
    layer = LowRankGRU(4, 2, None)
    layer.build((None, None, 3))
    before = layer.get_weights()
    kernel = np.random.default_rng(0).normal(size=(4, 12))
    layer.set_matrices(recurrent_kernel=kernel)
    after = layer.get_weights()
    for index in (0, 1, 3):
        np.testing.assert_array_equal(after[index], before[index])
    np.testing.assert_array_equal(after[2], kernel.astype("float32"))


@pytest.mark.parametrize(("features", "units"), [(5, 9), (9, 5)])
def test_factors_start_as_the_truncation_of_the_initialised_kernel(features, units):
    layer = built(2, units, features, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    full = np.asarray(keras.initializers.GlorotUniform(seed=3)((features, units)), np.float64)
    left, values, right = np.linalg.svd(full)
    np.testing.assert_allclose(layer.matrices()["kernel"], (left[:, :2] * values[:2]) @ right[:2], atol=1e-6)


def test_both_factors_start_from_one_draw():
    """Some initialisers draw anew at every call."""
    random = np.random.default_rng(0)
    draws = []

    def draw(shape, dtype):
        draws.append(random.normal(size=shape).astype(dtype))
        return keras.ops.convert_to_tensor(draws[-1])

    layer = built(5, kernel_initializer=draw)
    np.testing.assert_allclose(layer.matrices()["kernel"], draws[0], atol=5e-6)
    assert len(draws) == 1


def test_a_zero_kernel_can_learn():
    """Were both factors zero, no gradient would reach either."""
    layer = built(2, kernel_initializer="zeros", use_bias=False)
    np.testing.assert_array_equal(layer.matrices()["kernel"], np.zeros((5, 6)))
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    for _ in range(2):  # the first step reaches the right factor, the second one both
        model.train_on_batch(np.ones((4, 5), "float32"), np.ones((4, 6), "float32"))
    assert np.all(layer.matrices()["kernel"] != 0)


@pytest.mark.parametrize("traced", [False, True])
def test_a_layer_is_built_by_its_first_batch(traced):
    """TensorFlow may create weights inside a trace, where no numbers are known."""
    layer = LowRankDense(6, 2, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    inputs = np.ones((4, 5), "float32")
    if traced:
        pytest.importorskip("tensorflow").function(layer)(inputs)
    else:
        model = keras.Sequential([layer])
        model.compile("sgd", "mse")
        model.predict(inputs, verbose=0)
    expected = built(2, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    np.testing.assert_allclose(layer.matrices()["kernel"], expected.matrices()["kernel"], atol=1e-6)


def test_half_the_l2_penalty_of_the_factors_is_the_nuclear_norm(matrix):
    layer = built(3, kernel_regularizer=keras.regularizers.L2(0.5))
    layer.set_matrices(kernel=matrix)
    nuclear_norm = np.linalg.svd(matrix, compute_uv=False)[:3].sum()
    np.testing.assert_allclose(sum(float(loss) for loss in layer.losses), nuclear_norm, rtol=1e-6)


def test_constraints_apply_to_each_factor():
    layer = built(3, kernel_constraint="non_neg")
    weights = [layer.kernel_left, layer.kernel_right]
    assert all(np.asarray(weight).min() < 0 for weight in weights)
    keras.optimizers.SGD(0.0).apply([keras.ops.zeros(weight.shape) for weight in weights], weights)
    assert all(np.asarray(weight).min() == 0 for weight in weights)


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "float64"])
def test_factors_of_other_precisions(policy, matrix):
    layer = built(5, dtype=policy)
    assert layer.kernel_left.dtype == policy
    layer.set_matrices(kernel=matrix)
    # Each factor is rounded once.
    tolerance = {"bfloat16": 2**-7, "float16": 2**-10, "float64": 1e-12}[policy] * np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(layer.matrices()["kernel"], matrix, atol=tolerance)


def test_refused_matrices(matrix):
    layer = built(2)
    before = layer.get_weights()
    broken = matrix.copy()
    broken[1, 2], broken[3, 4] = np.nan, -np.inf
    with pytest.raises(ValueError, match="got 2 NaN or infinite numbers in kernel"):
        layer.set_matrices(kernel=broken)
    with pytest.raises(ValueError, match=r"a kernel of shape \[6, 5\]; expected \[5, 6\], the full matrix"):
        layer.set_matrices(kernel=matrix.T)
    with pytest.raises(ValueError, match="has no matrix 'kernels'; expected some of kernel"):
        layer.set_matrices(kernels=matrix)
    with pytest.raises(ValueError, match="has no matrix 'bias'"):
        layer.set_matrices(kernel=matrix, bias=np.zeros(6))
    for weight, value in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_refused_without_sound_weights(matrix):
    layer = LowRankDense(6, 2)
    with pytest.raises(ValueError, match="has no weights yet"):
        layer.matrices()
    with pytest.raises(ValueError, match="has no weights yet"):
        layer.set_matrices(kernel=matrix)
    layer.build((None, 5))
    layer.kernel_left.assign(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="holds 10 NaN or infinite numbers in kernel_left"):
        layer.matrices()
