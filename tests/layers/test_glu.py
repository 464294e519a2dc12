"""The gated linear unit as a layer, and what is said of Keras' own."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import scipy.special
from conformance import LayerConformance

from keras_s4.layers import DSS, GLU
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import analyse, convert
from keras_s4.tflite.c99.host import CRunner
from keras_s4.tflite.emulator import Emulator

DATA = np.random.default_rng(0).normal(size=(6, 20, 4)).astype("float32")


class TestGLU(LayerConformance):
    layer_class = GLU
    arguments: ClassVar = {}
    unusual_arguments: ClassVar = {}
    trainable = False

    def test_the_second_half_of_the_channels_is_the_gate(self, inputs, expected):
        value, gate = np.split(inputs.astype("float64"), 2, axis=-1)
        np.testing.assert_allclose(expected, value * scipy.special.expit(gate), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("shape", [(None, 20, 5), (None, 20, None), (6,)])
    def test_other_than_an_even_number_of_channels_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"^GLU 'gated' got input of shape .*expected \[B, \.\.\., 2 H\], an even"):
            GLU(name="gated").compute_output_shape(shape)

    def test_a_model_with_an_odd_number_of_channels_is_refused_in_one_line(self):
        with pytest.raises(ValueError, match=r"^GLU 'gated' got input of shape \(None, 20, 3\)"):
            keras.Sequential([keras.Input((20, 3)), GLU(name="gated")])


def gated():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((20, 4)), DSS(3), keras.layers.Dense(8), GLU(), keras.layers.Dense(6), GLU()])


def test_streamed_outputs_are_those_of_the_model():
    model = gated()
    np.testing.assert_allclose(StreamingModel(model).predict(DATA, verbose=0), model(DATA), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_emulator_and_c_are_equal_and_near_keras(activations):
    model = gated()
    converted = convert(model, DATA, activations=activations)
    integers = converted.quantize(DATA)
    outputs = Emulator(converted.program, check_overflow=True).run(integers)
    np.testing.assert_array_equal(outputs, CRunner(converted.program).run(integers))
    expected = keras.ops.convert_to_numpy(model(DATA))
    error = np.linalg.norm(converted.dequantize(outputs) - expected) / np.linalg.norm(expected)
    assert error < (0.05 if activations == "int8" else 0.01)


def test_the_analysis_predicts_its_noise():
    model = gated()
    analysis = analyse(convert(model, DATA), DATA, model)
    assert analysis.predicted == pytest.approx(analysis.measured, abs=6)
    assert 20 < analysis.predicted < 70


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Dense(8, activation="glu", name="mixing"),
        lambda: keras.layers.Conv1D(8, 1, activation="glu", name="mixing"),
        lambda: keras.layers.Activation("glu", name="mixing"),
    ],
)
def test_the_activation_of_keras_is_refused_and_the_layer_named(layer):
    model = keras.Sequential([keras.Input((20, 4)), layer()])
    message = r"Layer 'mixing' \(\w+\) cannot {}: its activation 'glu' .* keras_s4\.layers\.GLU\(\) behind it"
    with pytest.raises(ValueError, match=message.format("run step by step")):
        StreamingModel(model)
    with pytest.raises((ValueError, NotImplementedError), match=r"its activation 'glu' .* keras_s4\.layers\.GLU\(\)"):
        convert(model, DATA)
