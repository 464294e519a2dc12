"""Layers that need steps to come, or mix steps up, are refused by name, with what to do."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, LastStep
from keras_s4.tflite import convert

LENGTH, CHANNELS = 30, 4
DATA = np.random.default_rng(0).normal(size=(4, LENGTH, CHANNELS))


def sequential(*stack):
    return keras.Sequential([keras.Input((LENGTH, CHANNELS)), *stack])


def padded(layer, front):
    return sequential(layers.ZeroPadding1D((front, 0)), layer)


TIME = "along the time axis"
REFUSALS = {
    "convolution that looks ahead": (
        lambda: layers.Conv1D(4, 3, padding="same"),
        "steps to come. Use padding='causal'",
    ),
    "depthwise that looks ahead": (lambda: layers.DepthwiseConv1D(3, padding="same"), r"behind ZeroPadding1D\(\(2, 0"),
    "grouped convolution": (lambda: layers.Conv1D(4, 3, groups=2), "groups=2"),
    "padding at the end": (lambda: layers.ZeroPadding1D(1), r"adds steps at the end. Use padding=\(2, 0\)"),
    "cropping at the end": (lambda: layers.Cropping1D(1), "where a sequence ends"),
    "layer normalisation over time": (lambda: layers.LayerNormalization(axis=1), TIME),
    "normalisation over both": (lambda: layers.UnitNormalization(axis=(1, 2)), TIME),
    "batch normalisation of steps": (lambda: layers.BatchNormalization(axis=1), TIME),
    "softmax over time": (lambda: layers.Softmax(axis=1), TIME),
    "slopes of steps": (lambda: layers.PReLU(), TIME),
    "rescaling of steps": (lambda: layers.Rescaling(np.ones((LENGTH, 1))), TIME),
    "reshape that mixes steps": (lambda: layers.Reshape((2 * LENGTH, 2)), TIME),
    "flatten": (lambda: layers.Flatten(), "takes the time axis for features"),
    "permute": (lambda: layers.Permute((2, 1)), "moves the time axis"),
    "kept axis": (lambda: layers.GlobalMaxPooling1D(keepdims=True), "leaves a time axis"),
    "channels first": (lambda: layers.GlobalMaxPooling1D(data_format="channels_first"), "puts the time axis last"),
    "glu": (lambda: layers.Activation("glu"), "halves the channels.*keras_s4.layers.GLU"),
    "unsupported": (lambda: layers.UpSampling1D(2), r"cannot be exported. Supported: .*add yours"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses(name):
    make, message = REFUSALS[name]
    layer = make()
    with pytest.raises(NotImplementedError, match=message) as raised:
        convert(sequential(layer), DATA)
    assert layer.name in str(raised.value)


def test_refuses_what_stands_at_the_wrong_place():
    with pytest.raises(NotImplementedError, match="Put ZeroPadding1D directly in front of a convolution"):
        convert(padded(layers.Dense(3), 2), DATA)
    with pytest.raises(NotImplementedError, match=r"gives? outputs before the first sample. It takes at most 2"):
        convert(padded(layers.Conv1D(3, 3), 4), DATA)
    with pytest.raises(NotImplementedError, match=r"from step 2 on only. Use padding='causal'"):
        convert(sequential(layers.Conv1D(3, 3), DSS(2)), DATA)
    with pytest.raises(NotImplementedError, match="some of its inputs are sequences"):
        x = keras.Input((LENGTH, CHANNELS))
        convert(keras.Model(x, layers.Add()([x, LastStep()(x)])), DATA)
    with pytest.raises(NotImplementedError, match=r"its inputs start at different steps \(0, 2\)"):
        x = keras.Input((None, CHANNELS))
        convert(keras.Model(x, layers.Add()([layers.Conv1D(CHANNELS, 3)(x), x])), DATA)


def test_refuses_weights_that_keras_has_quantised():
    model = sequential(layers.Dense(6, name="mixing"), layers.GRU(3))
    model.quantize("int8")
    with pytest.raises(NotImplementedError, match=r"'mixing'.* quantised its weights \(int8\).* before model.quantize"):
        convert(model, DATA)
