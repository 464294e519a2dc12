"""LowRankDense against keras.layers.Dense."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance, shake

from keras_s4.layers import LowRankDense


class TestConformance(LayerConformance):
    layer_class = LowRankDense
    masks = True
    arguments: ClassVar = {"units": 4, "rank": 3}
    unusual_arguments: ClassVar = {
        "units": 5,
        "rank": 2,
        "activation": "relu",
        "use_bias": False,
        "kernel_initializer": "he_normal",
        "bias_initializer": "ones",
        "kernel_regularizer": "l2",
        "bias_regularizer": "l1",
        "activity_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "bias_constraint": "non_neg",
    }


@pytest.fixture
def layer():
    layer = LowRankDense(6, 2, activation="tanh")
    layer.build((None, 5))
    return shake(layer)


def dense_with(matrix, bias, **arguments):
    dense = keras.layers.Dense(matrix.shape[1], **arguments)
    dense.build((None, matrix.shape[0]))
    dense.set_weights([matrix, np.asarray(bias)])
    return dense


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5), (2, 3, 7, 5)])
def test_equals_the_dense_layer_of_the_product(layer, shape):
    inputs = np.random.default_rng(0).normal(size=shape).astype("float32")
    dense = dense_with(layer.matrices()["kernel"], layer.bias, activation="tanh")
    outputs = keras.ops.convert_to_numpy(layer(inputs))
    np.testing.assert_allclose(outputs, keras.ops.convert_to_numpy(dense(inputs)), rtol=0, atol=1e-6)
    assert outputs.shape == layer.compute_output_shape(shape) == (*shape[:-1], 6)


def test_equals_the_dense_layer_at_full_rank():
    random = np.random.default_rng(0)
    dense = dense_with(random.normal(size=(5, 6)), random.normal(size=6))
    layer = LowRankDense(6, 5)
    layer.build((None, 5))
    layer.set_matrices(kernel=dense.kernel)
    layer.bias.assign(dense.bias)
    inputs = random.normal(size=(7, 5)).astype("float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(inputs)), keras.ops.convert_to_numpy(dense(inputs)), rtol=0, atol=5e-6
    )


def test_parameters():
    layer = LowRankDense(6, 2)
    layer.build((None, 5))
    assert [(weight.name, weight.shape) for weight in layer.weights] == [
        ("kernel_left", (5, 2)),
        ("kernel_right", (2, 6)),
        ("bias", (6,)),
    ]
    assert layer.count_params() == 2 * (5 + 6) + 6
    assert layer.ranks == {"kernel": 2}


def test_the_full_kernel_is_never_formed(layer):
    """Two thin products, the first as thin as the rank."""
    tensorflow = pytest.importorskip("tensorflow")
    graph = tensorflow.function(layer).get_concrete_function(tensorflow.TensorSpec((7, 5))).graph
    products = [tuple(op.outputs[0].shape) for op in graph.get_operations() if "MatMul" in op.type]
    assert products == [(7, 2), (7, 6)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0, "rank": 1}, "units=0; expected a whole number of at least 1"),
        ({"units": 4, "rank": 0}, "rank=0; expected a whole number of at least 1"),
        ({"units": 4, "rank": 2.0}, r"rank=2\.0; expected a whole number"),
        ({"units": 4, "rank": None}, "rank=None; expected a whole number of at least 1"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LowRankDense(**arguments)


@pytest.mark.parametrize(("features", "units", "largest"), [(5, 8, 5), (8, 5, 5)])
def test_refused_rank_beyond_the_smaller_side(features, units, largest):
    LowRankDense(units, largest).build((None, features))
    with pytest.raises(
        ValueError, match=rf"rank 6 for its kernel of shape \[{features}, {units}\]; expected at most 5"
    ):
        LowRankDense(units, largest + 1).build((None, features))


def test_refused_inputs(layer):
    with pytest.raises(ValueError, match="expected the last size F to be known"):
        LowRankDense(4, 2).build((None, None))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 5"):
        layer(np.zeros((3, 4), "float32"))
