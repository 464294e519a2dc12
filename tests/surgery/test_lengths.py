"""Models for sequences of another length, and the messages that lead there."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_s4
from keras_s4.layers import DSS, LastStep, S4Block
from keras_s4.tflite import convert


def strided(*stack, length=25):
    inputs = outputs = keras.Input((length, 3), name="samples")
    for layer in (layers.Conv1D(4, 3, strides=2, padding="causal"), *stack):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def samples(length=25):
    return np.random.default_rng(0).normal(size=(8, length, 3)).astype("float32")


def test_weights_and_outputs_are_those_of_the_model():
    inputs = keras.Input((10, 3))
    normalization = layers.Normalization()
    normalization.adapt(samples(10))
    hidden = S4Block(2)(DSS(3, kernel="softmax")(normalization(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    shorter = keras_s4.at_length(model, 7)
    assert shorter.input_shape == (None, 7, 3)
    x = samples(10)
    np.testing.assert_allclose(shorter.predict(x[:, :7]), model.predict(x)[:, :7], atol=1e-5)


def test_several_inputs():
    first, second = keras.Input((10, 2), name="first"), keras.Input((10,), dtype="int32", name="second")
    joined = layers.Concatenate()([first, layers.Embedding(5, 3)(second)])
    model = keras.Model({"first": first, "second": second}, layers.GRU(4)(joined))
    shorter = keras_s4.at_length(model, 6)
    x = {"first": samples(10)[..., :2], "second": np.ones((8, 10), int)}
    assert shorter.predict({name: array[:, :6] for name, array in x.items()}).shape == (8, 4)


@pytest.mark.parametrize("length", [0, -1, 2.5, "7"])
def test_lengths_that_are_none(length):
    with pytest.raises(ValueError, match="at_length got length="):
        keras_s4.at_length(strided(layers.GRU(2)), length)


@pytest.mark.parametrize("stack", [lambda: [layers.GlobalAveragePooling1D()], lambda: [S4Block(2), LastStep()]])
def test_what_the_messages_say_works(stack):
    """A window of 25 steps is no multiple of the period 2: each message is followed, up to the verified program."""
    model, x = strided(*stack()), samples()
    try:
        converted = convert(model, x)
        converted.predict(x)
    except ValueError as error:
        (whole,) = set(re.findall(r"\[:, :(\d+)\]", str(error)))
        assert "keras_s4.at_length" in str(error)
    whole = int(whole)
    assert whole == 24
    model = keras_s4.at_length(model, whole)
    converted = convert(model, x[:, :whole])
    wanted, received = model.predict(x[:, :whole]), converted.predict(x[:, :whole])
    assert 10.0 * np.log10(np.mean(wanted**2) / np.mean((wanted - received) ** 2)) > 30.0
    assert converted.verify(model, x[:, :whole]).bit_exact


def test_blocks_that_do_not_divide_a_window():
    model, x = strided(layers.GlobalAveragePooling1D(), length=24), samples(24)
    with pytest.raises(ValueError, match=r"end inside a block of 10.*Use blocks that divide the windows: steps=8\."):
        convert(model, x, steps=10)
    assert convert(model, x, steps=8).program.steps == 8


def test_windows_shorter_than_the_period():
    pool = layers.AveragePooling1D(4, strides=4)
    model = keras.Sequential([keras.Input((6, 3)), pool, layers.GlobalAveragePooling1D()])
    with pytest.raises(ValueError, match=r"at_length\(model, 4\)"):
        convert(model, samples(6))
