"""The residual block, and what Keras expects of it."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance, shake

from keras_s4 import reduce, tflite
from keras_s4.layers import DSS, S4Block


class TestConformance(LayerConformance):
    layer_class = S4Block
    arguments: ClassVar = {"dss": 5}
    unusual_arguments: ClassVar = {
        "dss": DSS(3, kernel="softmax", training_length=17, per_channel_poles=True, name="mine"),
        "activation": "relu",
        "dropout": 0.25,
        "momentum": 0.75,
        "value_rank": 2,
        "gate_rank": 1,
    }
    unusual_alone: ClassVar = {
        "gate": "channel",
        "mix": None,
        "normalization": "layer",
        "post_norm": True,
        "epsilon": 1e-5,
        "dropout_of": "element",
    }


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).normal(size=(3, 20, 4)).astype("float32")


@pytest.fixture
def block():
    block = S4Block(5, dropout=0.5)
    block.build((None, 20, 4))
    return shake(block)


def test_formula(block, inputs):
    """Against the parts, each called by itself; float64 where there is a formula of one line."""
    mean, variance, gamma, beta = (
        np.asarray(getattr(block.normalization, name), float)
        for name in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    normalized = (inputs - mean) / np.sqrt(variance + block.normalization.epsilon) * gamma + beta
    hidden = np.asarray(keras.activations.gelu(block.dss(normalized.astype("float32"))), float)
    value = hidden @ np.asarray(block.value.kernel, float) + np.asarray(block.value.bias, float)
    gate = hidden @ np.asarray(block.gate.kernel, float) + np.asarray(block.gate.bias, float)
    expected = inputs + value / (1 + np.exp(-gate))
    np.testing.assert_allclose(block(inputs), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("gate", ["channel", None])
def test_formula_with_one_matrix(gate, inputs):
    """Each channel opens its own gate, or none does."""
    block = S4Block(5, gate=gate)
    block.build((None, 20, 4))
    shake(block)
    hidden = block.activation(block.dss(block.normalization(inputs)))
    value = np.asarray(hidden, float) @ np.asarray(block.value.kernel, float) + np.asarray(block.value.bias, float)
    if gate == "channel":
        mean, variance, gamma, beta = (
            np.asarray(getattr(block.gate, name), float) for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        opening = (np.asarray(hidden, float) - mean) / np.sqrt(variance + block.gate.epsilon) * gamma + beta
        value = value / (1 + np.exp(-opening))
    expected = inputs + value
    np.testing.assert_allclose(block(inputs), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


FORMS = [
    {"normalization": "layer", "epsilon": 1e-5, "gate": None},
    {"normalization": "layer", "post_norm": True},
    {"normalization": "rms", "gate": "channel"},
    {"normalization": None, "gate": None, "mix": None},
    {"normalization": "batch", "post_norm": True, "mix": None},
]


def normalize(layer, values):
    """In numpy, by the layer's published formula."""
    values = np.asarray(values, float)
    if isinstance(layer, keras.layers.BatchNormalization):
        mean, variance = np.asarray(layer.moving_mean, float), np.asarray(layer.moving_variance, float)
        gain, offset = np.asarray(layer.gamma, float), np.asarray(layer.beta, float)
    elif isinstance(layer, keras.layers.LayerNormalization):
        mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
        gain, offset = np.asarray(layer.gamma, float), np.asarray(layer.beta, float)
    else:
        mean, variance = 0.0, np.square(values).mean(-1, keepdims=True)
        gain, offset = np.asarray(layer.scale, float), 0.0
    return (values - mean) / np.sqrt(variance + layer.epsilon) * gain + offset


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_published_forms(form, inputs):
    block = S4Block(5, **form)
    block.build((None, 20, 4))
    shake(block)
    hidden = inputs
    if block.normalization_kind and not block.post_norm:
        hidden = normalize(block.normalization, inputs)
    hidden = np.asarray(keras.activations.gelu(block.dss(hidden.astype("float32"))), float)
    mixed = hidden
    if block.mix_kind:
        mixed = hidden @ np.asarray(block.value.kernel, float) + np.asarray(block.value.bias, float)
    if block.gate_kind == "dense":
        gate = hidden @ np.asarray(block.gate.kernel, float) + np.asarray(block.gate.bias, float)
        mixed = mixed / (1 + np.exp(-gate))
    elif block.gate_kind == "channel":
        mixed = mixed / (1 + np.exp(-normalize(block.gate, hidden)))
    expected = inputs + mixed
    expected = normalize(block.normalization, expected) if block.post_norm else expected
    np.testing.assert_allclose(block(inputs), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_published_forms_stream_reduce_and_export(form, inputs):
    source = keras.Input((20, 4))
    hidden = S4Block(5, **form, name="block_1")(source)
    hidden = S4Block(5, **form, name="block_2")(hidden)
    model = keras.Model(source, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))
    shake(model)
    smaller = reduce(model, 3)
    assert smaller.get_layer("block_1").dss.state_size == 3
    found = tflite.convert(smaller, inputs).verify(smaller, inputs)
    assert found.bit_exact
    assert found.streamed_deviation < 1e-4
    assert min(found.snr["c"], found.snr["tflm"]) > 20.0


def test_dropout_of_elements(inputs):
    block = S4Block(5, dropout=0.5, dropout_of="element")
    block.build((None, 20, 4))
    shake(block)
    dropped = np.asarray(block(inputs, training=True)) == inputs
    assert 0.3 < dropped.mean() < 0.7
    assert not np.all(dropped == dropped[:, :1])


def test_refused_forms():
    for arguments, message in (
        ({"gate": "glu"}, "gate='glu'"),
        ({"mix": "grouped"}, "mix='grouped'"),
        ({"normalization": "group"}, "normalization='group'"),
        ({"normalization": None, "post_norm": True}, "post_norm=True and normalization=None"),
        ({"post_norm": "yes"}, "post_norm='yes'; expected True or False"),
        ({"mix": None, "value_rank": 2}, "mix=None and value_rank=2"),
        ({"dropout_of": "step"}, "dropout_of='step'"),
        ({"epsilon": -1.0}, "epsilon=-1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            S4Block(5, **arguments)


def test_without_a_value_the_residual_path_is_free(block, inputs):
    block.value.kernel.assign(np.zeros((4, 4)))
    block.value.bias.assign(np.zeros(4))
    np.testing.assert_array_equal(block(inputs), inputs)


def test_dropout_acts_in_training_only(block, inputs):
    np.testing.assert_array_equal(block(inputs, training=False), block(inputs))
    added = np.asarray(block(inputs, training=True)) - inputs
    dropped = np.all(added == 0, axis=1)
    assert 0 < dropped.mean() < 1
    assert not np.any((added == 0).any(axis=1) & ~dropped), "a channel is dropped for the whole sequence"


def test_training_moves_the_averages_with_the_given_momentum(inputs):
    block = S4Block(2, momentum=0.75)
    block.build((None, 20, 4))
    block(inputs, training=True)
    np.testing.assert_allclose(block.normalization.moving_mean, 0.25 * inputs.mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dss": 0}, "state_size=0"),
        ({"dss": DSS(2, return_state=True)}, "the block returns outputs"),
        ({"dropout": 1.5}, "1.5"),
        ({"value_rank": 0}, "value_rank=0; expected a whole number of at least 1, or None"),
        ({"gate": "glu"}, "gate='glu'; expected one of 'dense', 'channel'"),
        ({"gate": None, "gate_rank": 2}, "only the matrix of"),
        ({"gate_rank": 2.0}, "gate_rank=2.0; expected a whole number of at least 1, or None"),
        ({"activation": "nonsense"}, "nonsense"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        S4Block(**arguments)


@pytest.mark.parametrize("ranks", [{"value_rank": 2}, {"gate_rank": 1}, {"value_rank": 3, "gate_rank": 4}])
def test_ranks_factor_the_mixing_and_nothing_else(block, inputs, ranks):
    """A block of low rank equals a whole one that holds the products of its factors."""
    thin = S4Block(5, **ranks)
    thin.build((None, 20, 4))
    for name in ("normalization", "dss"):
        getattr(thin, name).set_weights(getattr(block, name).get_weights())
    for name in ("value", "gate"):
        layer, rank = getattr(thin, name), ranks.get(f"{name}_rank")
        whole = getattr(block, name)
        assert (layer.name, layer.activation) == (name, whole.activation)
        if rank is None:
            layer.set_weights(whole.get_weights())
            continue
        assert layer.rank == rank
        layer.bias.assign(whole.bias)
        layer.set_matrices(kernel=whole.kernel)
        whole.kernel.assign(layer.matrices()["kernel"])
    np.testing.assert_allclose(thin(inputs), block(inputs), rtol=0, atol=1e-5)


def test_refused_rank_beyond_the_channels():
    with pytest.raises(ValueError, match=r"rank 5 for its kernel of shape \[4, 4\]; expected at most 4"):
        S4Block(2, gate_rank=5).build((None, 20, 4))


def test_the_dss_layer_is_configured_from_outside(inputs):
    block = S4Block(DSS(3, kernel="clip", bidirectional=True), dtype="mixed_bfloat16")
    assert (block.dss.kernel_type, block.dss.bidirectional, block.dss.name) == ("clip", True, "dss")
    assert block.dss.dtype_policy.name == "mixed_bfloat16"
    assert block(inputs).shape == inputs.shape


def test_masked_steps_do_not_count_in_the_normalisation(inputs):
    block = S4Block(2, momentum=0.0)
    block.build((None, 20, 4))
    mask = np.arange(20) < np.array([20, 11, 3])[:, None]
    block(np.where(mask[:, :, None], inputs, 100.0), mask=keras.ops.convert_to_tensor(mask), training=True)
    np.testing.assert_allclose(block.normalization.moving_mean, inputs[mask].mean(axis=0), atol=1e-6)


def test_a_stateful_block_goes_on_and_starts_anew(inputs):
    block = S4Block(DSS(2, stateful=True))
    block.build(inputs.shape)
    first, second, block_reset = block(inputs), block(inputs), block.reset_state()
    assert block_reset is None
    assert np.abs(np.asarray(second) - first).max() > 1e-3
    np.testing.assert_array_equal(block(inputs), first)


def test_refused_rank():
    with pytest.raises(ValueError, match=r"expected \[B, L, H\]"):
        S4Block(2).build((None, 4))
