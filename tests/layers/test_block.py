"""Blocks: layers that are graphs of their sublayers."""

from typing import ClassVar

import keras
import numpy as np
import pytest
from conformance import LayerConformance, shake
from made_up_block import Mixer

from keras_s4.layers import Block, LastStep, LowRankDense, MaskedConv1D, S4Block
from keras_s4.layers.quantized import QuantizedActivation, QuantizedDense, QuantizedLowRankDense, SnappedDSS
from keras_s4.surgery.graph import graph_of

DATA = np.random.default_rng(0).normal(size=(2, 12, 6)).astype("float32")


class TestConformance(LayerConformance):
    layer_class = Mixer
    arguments: ClassVar = {"width": 4}
    unusual_arguments: ClassVar = {"width": 6}


def test_its_sublayers_are_called_as_its_attributes():
    block = Mixer(6, name="block")
    block.build((None, 12, 6))
    assert [layer.name for layer in (block.dense, block.dss, block.total)] == ["dense", "dss", "total"]
    assert block.compute_output_shape((None, 12, 6)) == (None, 12, 6)


@pytest.mark.parametrize("make", [lambda **given: Mixer(6, **given), lambda **given: S4Block(4, **given)])
def test_a_sublayer_in_place_of_another_is_in_its_configuration(make):
    name = "gate"
    block = make(sublayers={name: LowRankDense(6, 2, activation="tanh")})
    block.build(DATA.shape)
    shake(block)
    again = type(block).from_config(block.get_config())
    again.build(DATA.shape)
    assert (type(again.gate), again.gate.rank, again.gate.name) == (LowRankDense, 2, name)
    again.set_weights(block.get_weights())
    np.testing.assert_array_equal(again(DATA), block(DATA))
    whole = make()
    whole.build(DATA.shape)
    assert whole.count_params() > block.count_params()


class Steps(Block):
    """A block in which masks matter, with a pooling at its end."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dss_like = keras.layers.GRU(3, return_sequences=True)
        self.total = keras.layers.Add()
        self.last = LastStep()

    def connect(self, call, inputs):
        return call(self.last, call(self.total, call(self.dss_like, inputs), call(self.dss_like, inputs)))


def test_masks_pass_through_it():
    block = Steps()
    data, mask = DATA.copy(), np.arange(12) < np.array([[12], [7]])
    outputs = keras.ops.convert_to_numpy(block(data, mask=mask))
    assert block.compute_mask(keras.ops.convert_to_tensor(data), mask) is None
    np.testing.assert_allclose(outputs[1], block(data[1:, :7])[0], atol=1e-6)
    model = keras.Sequential([keras.Input((12, 6)), keras.layers.Masking(), block])
    np.testing.assert_allclose(model(data * mask[..., None]), outputs, atol=1e-6)


class Strided(Block):
    """A block that leaves every second step out."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.front = MaskedConv1D(6, 4, strides=2, padding="causal")
        self.dense = keras.layers.Dense(6)
        self.total = keras.layers.Add()

    def connect(self, call, inputs):
        hidden = call(self.front, inputs)
        return call(self.total, hidden, call(self.dense, hidden))


@pytest.mark.parametrize("length", [12, None])
def test_masks_behind_a_stride_are_those_of_its_steps(length):
    """Against the same layers without a block, in a model whose output is the mean over the steps that count."""
    data = DATA * (np.arange(12) < np.array([[12], [7]]))[..., None]
    inputs = keras.Input((length, 6))
    masked, pooling = keras.layers.Masking()(inputs), keras.layers.GlobalAveragePooling1D()
    block = Strided()
    model = keras.Model(inputs, pooling(block(masked)))
    hidden = block.front(masked)
    wanted = keras.Model(inputs, pooling(block.total([hidden, block.dense(hidden)])))(data)
    np.testing.assert_allclose(model(data), wanted, atol=1e-6)
    np.testing.assert_allclose(wanted[1], np.asarray(block(data[1:, :7]))[0].mean(axis=0), atol=1e-6)


def test_a_layer_may_be_called_twice():
    block = Steps(name="steps")
    block.build(DATA.shape)
    assert [node.output for node in graph_of(block).nodes][:2] == [("dss_like", 0, 0), ("dss_like", 1, 0)]


class Computing(Block):
    def __init__(self, connect, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(6)
        self.listed = [keras.layers.Dense(6, name="listed_dense")]
        self._connect = connect

    def connect(self, call, inputs):
        return self._connect(self, call, inputs)


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (lambda block, call, x: call(block.dense, 3.0), r"'mine' \(Computing\) hands on 3.0, which no layer gave"),
        (
            lambda block, call, x: call(block.listed[0], x),
            "calls layer 'listed_dense', which is none of its",
        ),
        (lambda block, call, x: call(block.dense, x) + x, r"'mine' \(Computing\) computes something by itself"),
        (lambda block, call, x: keras.ops.tanh(x), r"'mine' \(Computing\) computes something by itself"),
        (lambda block, call, x: call(block.dense, x)[:, -1], r"'mine' \(Computing\) computes something by itself"),
        (lambda block, call, x: 3.0, r"'mine' \(Computing\) hands on 3.0, which no layer gave"),
    ],
)
def test_blocks_without_a_graph_are_refused(connect, message):
    with pytest.raises(ValueError, match=message):
        graph_of(Computing(connect, name="mine"))


def test_what_would_be_lost_is_refused_in_training_too():
    with pytest.raises(ValueError, match=r"^Block 'mine' \(Computing\) computes something by itself"):
        Computing(lambda block, call, x: call(block.dense, x) + x, name="mine")(DATA)


def test_a_block_without_connections_says_so():
    with pytest.raises(NotImplementedError, match=r"'mine' \(Block\) has no connect"):
        Block(name="mine")(DATA)


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="got 3 as one of its sublayers; expected a layer"):
        Mixer(6, sublayers={"gate": 3})


def test_unknown_sublayers_are_refused():
    with pytest.raises(ValueError, match="'mine' got sublayers 'nothing', which it has not"):
        Mixer(6, sublayers={"nothing": keras.layers.Dense(6)}, name="mine")(DATA)


def test_blocks_of_twins_as_earlier_files_describe_them():
    """With the optimizer's variables in the order in which those files hold them."""
    ranges = {"value/product": [0.05, 3], "dss/output": [0.02, -1], "activation/output": [0.01, 0]}
    config = {**S4Block(3, gate_rank=2, name="block").get_config(), "ranges": ranges}
    block = keras.saving.deserialize_keras_object(
        {
            "module": "keras_s4.layers.quantized.twins",
            "class_name": "QuantizedS4Block",
            "registered_name": "keras_s4>QuantizedS4Block",
            "config": config,
        }
    )
    block.build(DATA.shape)
    shake(block)
    twins = {
        "dss": SnappedDSS(3, ranges={"output": ranges["dss/output"]}),
        "activation": QuantizedActivation("gelu", ranges={"output": ranges["activation/output"]}),
        "value": QuantizedDense(6, ranges={"product": ranges["value/product"]}),
    }
    twins["gate"] = QuantizedLowRankDense(6, 2, activation="sigmoid")
    expected = S4Block(3, sublayers=twins)
    expected.build(DATA.shape)
    for name in ("normalization", *twins):
        getattr(expected, name).set_weights(getattr(block, name).get_weights())
    np.testing.assert_array_equal(block(DATA), expected(DATA))
    assert type(block.gate).__name__ == "QuantizedLowRankDense" and block.gate.ranges == {}
    assert block.get_config()["ranges"] == ranges
    names = [weight.path.split("/")[-2] for weight in block.trainable_weights]
    assert list(dict.fromkeys(names)) == ["normalization", "dss", "value", "gate"]
