"""Calibration data that show no range of a tensor: one step, the last step alone, zeros, constants."""

import keras
import numpy as np
import pytest

from keras_s4.layers import DSS, DiagonalSSM, S4Block
from keras_s4.tflite import analyse, convert
from keras_s4.tflite.emulator import Emulator

LENGTH = 24
NOISE = np.random.default_rng(0).normal(size=(8, LENGTH, 3))


def only(step):
    x = np.zeros_like(NOISE)
    x[:, step] = NOISE[:, step]
    return x


DATA = {
    "one step": NOISE[:, :1],
    "last step": only(-1),
    "first step": only(0),
    "zeros": np.zeros_like(NOISE),
    "constant": np.full_like(NOISE, 5.0),
    "one channel": NOISE * [1, 0, 0],
    "small": NOISE * 1e-5,
    "large": NOISE * 1e3,
}
LAYERS = {
    "dss": lambda: DSS(4),
    "block": lambda: S4Block(4),
    "gru": lambda: keras.layers.GRU(4, return_sequences=True),
    "normalisation": keras.layers.LayerNormalization,
    "dense": lambda: keras.layers.Dense(4, activation="relu"),
}


@pytest.mark.filterwarnings("ignore:The representative data of input")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("data", DATA)
def test_converts_and_does_not_wrap(name, data):
    keras.utils.set_random_seed(0)
    x = DATA[data]
    model = keras.Sequential([keras.Input((x.shape[1], 3)), LAYERS[name](), keras.layers.Dense(2)])
    converted = convert(model, x)
    wanted = model.predict(x, verbose=0).astype(float)
    received = converted.dequantize(Emulator(converted.program, check_overflow=True).run(converted.quantize(x)))
    power, error = np.mean(wanted**2), np.mean((received - wanted) ** 2)
    assert error <= 0.01 * power + 1e-8


def test_states_that_calibration_has_not_shown_have_room():
    """Of one step nothing of a state is read; a stream of such steps still comes out right."""
    keras.utils.set_random_seed(0)
    layer = DSS(4)
    model = keras.Sequential([keras.Input((None, 3)), layer])
    converted = convert(model, NOISE.reshape(-1, 1, 3))
    wanted = model.predict(NOISE, verbose=0)
    received = converted.dequantize(Emulator(converted.program, check_overflow=True).run(converted.quantize(NOISE)))
    assert 10 * np.log10(np.mean(wanted**2) / np.mean((received - wanted) ** 2)) > 25


@pytest.mark.parametrize("kind", ["Concatenate", "Maximum", "Minimum", "Add", "Subtract", "Average", "Multiply"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("memory", [lambda: DiagonalSSM(3, 4), lambda: DSS(4)], ids=["shared modes", "dss"])
def test_branches_that_are_always_zero_are_joined(kind, activations, memory):
    """Scales of what was never seen lie many powers of two apart."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH, 3))
    nothing = keras.layers.Subtract()([inputs, inputs])
    joined = getattr(keras.layers, kind)()([nothing, memory()(nothing)])
    model = keras.Model(inputs, keras.layers.Dense(2, bias_initializer="ones")(joined))
    converted = convert(model, NOISE, activations=activations)
    np.testing.assert_allclose(converted.predict(NOISE), 1.0, rtol=0, atol=0.01)


def test_zeros_are_warned_of():
    model = keras.Sequential([keras.Input((LENGTH, 3)), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match="are zero throughout"):
        convert(model, np.zeros_like(NOISE))


def test_input_rounding_is_a_source_of_its_own():
    """A far feature in front of a causal convolution loses most; the analysis names it, as the emulator has it."""
    x = np.concatenate([NOISE[..., :2], 3e3 + 0.3 * NOISE[..., 2:]], axis=-1)
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv1D(4, 2, padding="causal")
    model = keras.Sequential([keras.Input((LENGTH, 3)), convolution])
    kernel = convolution.kernel.numpy()
    kernel[0, 2], kernel[1, 2] = -kernel[1, 2], kernel[1, 2]  # so that the mean is taken off, but for the first step
    convolution.kernel.assign(kernel)
    with pytest.warns(UserWarning, match=r"Feature 2 of input 'input' has \d+ levels"):
        converted = convert(model, x)
    analysis = analyse(converted, x, model)
    assert {"input[0]", "input[1]", "input[2]"} <= set(analysis.noise)
    assert abs(analysis.predicted - analysis.measured) < 6
    assert analysis.noise["input[2]"] > 100 * max(analysis.noise["input[0]"], analysis.noise["input[1]"])
    assert any("Feature 2 of input 'input'" in warning for warning in analysis.warnings)
