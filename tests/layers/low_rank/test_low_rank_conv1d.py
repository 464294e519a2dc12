"""LowRankConv1D against keras.layers.Conv1D."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow
from conformance import LayerConformance, shake

from keras_s4.layers import LowRankConv1D
from keras_s4.streaming import StreamingModel


class TestConformance(LayerConformance):
    layer_class = LowRankConv1D
    masks = False  # as in Keras
    arguments: ClassVar = {"filters": 4, "kernel_size": 3, "rank": 3, "padding": "same"}
    unusual_arguments: ClassVar = {
        "filters": 5,
        "kernel_size": 2,
        "rank": 2,
        "strides": 2,
        "padding": "causal",
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
    unusual_alone: ClassVar = {"dilation_rate": 2, "data_format": "channels_first"}


VARIANTS = [
    {"padding": "valid"},
    {"padding": "valid", "strides": 2},
    {"padding": "same", "strides": 3},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "causal"},
    {"padding": "causal", "strides": 2},
    {"padding": "causal", "dilation_rate": 3, "activation": "tanh"},
    {"padding": "causal", "use_bias": False},
]


def built(variant, rank=2):
    layer = LowRankConv1D(6, 3, rank, **variant)
    layer.build((None, 11, 4) if layer.data_format == "channels_last" else (None, 4, 11))
    return shake(layer)


def whole(layer, variant):
    """The convolution with the product of the factors."""
    conv = keras.layers.Conv1D(6, 3, **variant)
    conv.build((None, 11, 4) if conv.data_format == "channels_last" else (None, 4, 11))
    conv.kernel.assign(layer.matrices()["kernel"].reshape(3, 4, 6))
    if layer.use_bias:
        conv.bias.assign(layer.bias)
    return conv


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).normal(size=(3, 11, 4)).astype("float32")


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_equals_the_convolution_of_the_product(variant, inputs):
    layer = built(variant)
    outputs = keras.ops.convert_to_numpy(layer(inputs))
    expected = keras.ops.convert_to_numpy(whole(layer, variant)(inputs))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)
    assert tuple(layer.compute_output_shape(inputs.shape)) == outputs.shape


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_channels_first_is_the_same_with_other_axes(padding, inputs):
    try:
        keras.layers.Conv1D(1, 3, data_format="channels_first")(inputs.transpose(0, 2, 1))
    except tensorflow.errors.UnimplementedError:  # TensorFlow's oneDNN kernels have it, which not every CPU gets
        pytest.skip("Conv1D of Keras takes no channels first on this processor")
    last, first = (built({"padding": padding, "data_format": f"channels_{end}"}) for end in ("last", "first"))
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(
        np.transpose(first(inputs.transpose(0, 2, 1)), (0, 2, 1)), last(inputs), rtol=0, atol=1e-5
    )


def test_parameters():
    layer = LowRankConv1D(6, 3, 2)
    layer.build((None, 11, 4))
    assert [(weight.name, weight.shape) for weight in layer.weights] == [
        ("kernel_left", (12, 2)),
        ("kernel_right", (2, 6)),
        ("bias", (6,)),
    ]


def test_starts_as_the_truncated_kernel_of_the_initialiser():
    kernel = keras.initializers.GlorotUniform(seed=3)((3, 4, 6))
    layer = LowRankConv1D(6, 3, 6, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    layer.build((None, 11, 4))
    np.testing.assert_allclose(layer.matrices()["kernel"].reshape(3, 4, 6), kernel, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "variant",
    [{"padding": "causal"}, {"padding": "causal", "strides": 2}, {"padding": "valid", "dilation_rate": 2}],
    ids=str,
)
def test_streams(variant, inputs):
    model = keras.Sequential([keras.Input((11, 4)), built(variant)])
    stream = StreamingModel(model)
    state = stream.initial_state(len(inputs))
    outputs = []
    for sample in inputs.transpose(1, 0, 2):
        output, state = stream.step(sample, state)
        outputs.append(keras.ops.convert_to_numpy(output))
    first = 4 if variant["padding"] == "valid" else 0
    received = np.stack(outputs[first :: variant.get("strides", 1)], axis=1)
    np.testing.assert_allclose(received, keras.ops.convert_to_numpy(model(inputs)), rtol=0, atol=1e-5)


def test_padding_on_both_sides_does_not_stream():
    with pytest.raises(ValueError, match=r"LowRankConv1D.*looks at steps to come.*Use padding='causal'"):
        StreamingModel(keras.Sequential([keras.Input((11, 4)), built({"padding": "same"})]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "rank=0; expected a whole number of at least 1"),
        ({"rank": None}, "rank=None; expected a whole number of at least 1"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"padding": "future"}, "padding"),
        ({"strides": 2, "dilation_rate": 2}, "strides"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LowRankConv1D(**{"filters": 6, "kernel_size": 3, "rank": 2, **arguments})


def test_refused_shapes():
    with pytest.raises(ValueError, match=r"rank 7 for its kernel of shape \[12, 6\]; expected at most 6"):
        LowRankConv1D(6, 3, 7).build((None, 11, 4))
    with pytest.raises(ValueError, match="expected the number of features to be known"):
        LowRankConv1D(6, 3, 2).build((None, 11, None))
