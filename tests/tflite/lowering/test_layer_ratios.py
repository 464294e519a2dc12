"""What each layer loses, against Keras's own intermediate outputs and the tensors that the lowerings return."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conformance import shake
from keras import layers

from keras_s4 import models
from keras_s4.layers import DSS, LastStep, S4Block
from keras_s4.tflite import conversion, convert
from keras_s4.tflite.analysis import layer_ratios
from keras_s4.tflite.analysis import layers as analysis_layers
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.program.operations import FullyConnected
from keras_s4.tflite.verification.stages import Verification

LENGTH, FEATURES = 24, 3


def sequential(*stack):
    return shake(keras.Sequential([keras.Input((LENGTH, FEATURES)), *stack]))


def stack_of(name):
    match name:
        case "recurrent":
            return sequential(
                layers.SimpleRNN(4, return_sequences=True),
                layers.SimpleRNN(4, activation="linear", return_sequences=True, recurrent_initializer="zeros"),
                layers.LSTM(4, return_sequences=True),
                layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True),
                layers.GRU(4),
                layers.Dropout(0.5),
                layers.Dense(4, activation="softmax"),
            )
        case "normalizations":
            return sequential(
                layers.TimeDistributed(layers.Dense(4)),
                layers.LayerNormalization(),
                layers.RMSNormalization(),
                layers.BatchNormalization(),
                layers.UnitNormalization(),
                layers.Activation("gelu"),
                layers.PReLU(shared_axes=[1]),
                layers.Reshape((-1, 2, 2)),
                layers.Reshape((-1, 4)),
                layers.GlobalMaxPooling1D(),
            )
        case "convolutions":
            return sequential(
                layers.Conv1D(4, 3, activation="relu"),
                layers.DepthwiseConv1D(3),
                layers.SeparableConv1D(4, 2, activation="tanh"),
                layers.AveragePooling1D(3),
            )
        case "strides":
            return sequential(
                layers.Conv1D(4, 3, padding="causal", strides=2), layers.MaxPooling1D(2), DSS(3), layers.Dense(2)
            )


def data(count=6, features=FEATURES):
    return np.random.default_rng(3).normal(size=(count, LENGTH, features)).astype("float32")


def with_signals(model, x, monkeypatch, **options):
    """The converted model, and by layer what its lowering returned."""
    signals, lower = {}, conversion.lower_call

    def spy(call, inputs, builder):
        result = lower(call, inputs, builder)
        if result.tensor is not inputs[0].tensor:
            signals[call.layer.name] = result
        return result

    monkeypatch.setattr(conversion, "lower_call", spy)
    return convert(model, x, **options), signals


def decibels(wanted, received):
    return 10 * np.log10(np.sum(wanted**2) / np.sum((received - wanted) ** 2))


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ["recurrent", "normalizations", "convolutions", "strides"])
def test_ratios_are_those_of_the_tensors_that_the_lowerings_return(name, activations, monkeypatch):
    model, x = stack_of(name), data()
    converted, signals = with_signals(model, x, monkeypatch, activations=activations)
    trace = Emulator(converted.program).trace(converted.quantize(x), record=None).tensors
    outputs = keras.Model(model.inputs[0], [model.get_layer(layer).output for layer in signals])(x, training=False)
    expected = {}
    for (layer, signal), output in zip(signals.items(), outputs, strict=True):
        tensor = signal.tensor
        integers = trace[tensor.name.removesuffix("/latest")]
        received = (integers.astype(float) - tensor.zero_point) * tensor.scale
        wanted = np.asarray(output, float)
        rows = received.reshape(len(x), -1, *tensor.shape)
        received = rows[:, signal.phase :] if signal.has_time else rows[:, -1]
        if signal.activation == "softmax":
            wanted = np.log(wanted)
            wanted, received = (each - each.mean(axis=-1, keepdims=True) for each in (wanted, received))
        expected[layer] = decibels(wanted, received)
    ratios = layer_ratios(converted, model, x)
    assert list(ratios) == list(expected)
    np.testing.assert_allclose(list(ratios.values()), list(expected.values()), atol=0.01)
    assert min(ratios.values()) > 20


@pytest.fixture(scope="module")
def classifier():
    model = shake(models.classifier((LENGTH, FEATURES), 4, channels=6, states=4, blocks=2))
    return model, convert(model, data())


def test_layers_inside_blocks(classifier):
    """The DSS layer of the first block, from the block's own layers in Keras."""
    model, converted = classifier
    ratios, block = layer_ratios(converted, model, data()), model.get_layer("block_1")
    wanted = np.asarray(block.dss(block.normalization(model.get_layer("encoder")(data()), training=False)), float)
    integers = Emulator(converted.program).trace(converted.quantize(data()), record=["block_1/dss/output"]).tensors
    (tensor,) = (tensor for tensor in converted.program.tensors() if tensor.name == "block_1/dss/output")
    received = (integers["block_1/dss/output"].astype(float) - tensor.zero_point) * tensor.scale
    ends = [(limit - tensor.zero_point) * tensor.scale for limit in (-128, 127)]
    assert ratios["block_1/dss"] == pytest.approx(decibels(np.clip(wanted, *ends), received), abs=0.01)
    assert all(f"block_2/{name}" in ratios for name in ("normalization", "dss", "activation", "value", "gate"))


def test_what_is_lost_shows_where_it_is_lost(classifier):
    """Another bias in the second block's value: the layers in front of it lose what they lost before."""
    model, converted = classifier
    operations = list(converted.program.operations)
    (index,) = (
        place
        for place, operation in enumerate(operations)
        if isinstance(operation, FullyConnected) and operation.output.name == "block_2/value/product"
    )
    bias = operations[index].bias
    moved = dataclasses.replace(bias, data=bias.data + np.int32(2**12))
    operations[index] = dataclasses.replace(operations[index], bias=moved)
    worse = dataclasses.replace(converted, program=dataclasses.replace(converted.program, operations=tuple(operations)))
    before, after = (layer_ratios(each, model, data()) for each in (converted, worse))
    assert list(before) == list(after)
    first = list(before).index("block_2/value")
    assert [after[name] - before[name] for name in list(before)[:first]] == [0.0] * first
    assert after["block_2/value"] < before["block_2/value"] - 5
    assert after["block_2"] < before["block_2"] - 1
    assert after["block_2/gate"] == before["block_2/gate"]


def test_of_blocks_of_steps_are_those_of_single_steps(classifier):
    model, converted = classifier
    single, blocks = (layer_ratios(each, model, data()) for each in (converted, convert(model, data(), steps=4)))
    assert list(single) == list(blocks)
    np.testing.assert_allclose(list(blocks.values()), list(single.values()), rtol=1e-6)


def test_of_a_layer_computed_for_the_last_step_of_a_block():
    model = sequential(layers.Dense(4, activation="relu", name="early"), LastStep(), layers.Dense(2))
    converted, x = convert(model, data(), steps=4), data()
    single = convert(model, x)
    (tensor,) = (tensor for tensor in single.program.tensors() if tensor.name == "early/output")
    integers = Emulator(single.program).trace(single.quantize(x), record=["early/output"]).tensors["early/output"]
    received = (integers.astype(float) - tensor.zero_point) * tensor.scale
    wanted = np.asarray(model.layers[0](x), float)
    assert "early/output[3]" in {tensor.name for tensor in converted.program.tensors()}
    ratio = layer_ratios(converted, model, x)["early"]
    assert ratio == pytest.approx(decibels(wanted[:, 3::4], received[:, 3::4]), abs=0.01)


def test_nested_models_and_second_calls():
    source = keras.Input((LENGTH, FEATURES))
    shared = layers.Dense(FEATURES, activation="tanh", name="shared")
    inner = keras.Sequential([keras.Input((LENGTH, FEATURES)), layers.Dense(2, name="last"), S4Block(DSS(2), name="s")])
    inner.name = "inner"
    model = shake(keras.Model(source, inner(shared(shared(source)))))
    ratios = layer_ratios(convert(model, data()), model, data())
    inside = [f"inner/s/{name}" for name in ("normalization", "dss", "activation", "value", "gate")]
    assert list(ratios) == ["shared", "call_2/shared", "inner/last", *inside, "inner/s"]
    assert ratios["call_2/shared"] != ratios["shared"]


def test_several_inputs():
    a, b = keras.Input((LENGTH, FEATURES), name="a"), keras.Input((LENGTH, 1), name="b")
    model = shake(keras.Model([a, b], layers.Multiply(name="product")([layers.Dense(FEATURES, name="dense")(a), b])))
    x = [data(), data(features=1)]
    converted = convert(model, x)
    ratios = layer_ratios(converted, model, x)
    assert list(ratios) == ["dense", "product"]
    assert ratios == layer_ratios(converted, model, {"b": x[1], "a": x[0]})
    with pytest.raises(ValueError, match="has 2 inputs"):
        layer_ratios(converted, model, x[0])


def test_few_sequences_at_a_time_give_the_same(classifier, monkeypatch):
    model, converted = classifier
    together = layer_ratios(converted, model, data(6))
    monkeypatch.setattr(analysis_layers, "SEQUENCES", 6)
    assert together == layer_ratios(converted, model, data(9))
    monkeypatch.setattr(analysis_layers, "_VALUES_AT_ONCE", 1)
    apart = layer_ratios(converted, model, data(6))
    np.testing.assert_allclose(list(apart.values()), list(together.values()), atol=0.01)


def test_layers_that_lose_nothing_or_give_nothing():
    """A maximum of numbers on the input's grid is exact, as far as single precision can tell; zeros have no ratio."""
    x = np.rint(data() * 64) / 64
    exact = sequential(layers.MaxPooling1D(2, strides=1, name="maximum"))
    assert layer_ratios(convert(exact, x), exact, x) == {"maximum": pytest.approx(10 * np.log10(2.0**48))}
    silent = sequential(layers.Dense(2, activation="relu", bias_initializer=keras.initializers.Constant(-50)))
    ratios = layer_ratios(convert(silent, x), silent, x)
    assert list(ratios.values()) == [None]
    found = Verification((), None, 1, "", 0.0, 1, 0, labels=None, layers=ratios)
    assert json.loads(json.dumps(found.figures()))["layers"] == ratios
    assert str(found).splitlines()[-1].split() == [*ratios, "–"]
