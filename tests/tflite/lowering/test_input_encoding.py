"""Features of different units: a scale and an offset for each, on the host and in the first layers."""

import subprocess

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4.layers import DSS, LowRankConv1D, LowRankDense, S4Block
from keras_s4.tflite import convert, runtimes
from keras_s4.tflite.application.firmware import render_firmware
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.c99.host import compiler
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering.input_encoding import clip_outliers

LENGTH = 30
# Pressure in Pa, relative humidity, temperature in degrees Celsius, resistance of a gas sensor in ohms.
MEAN, DEVIATION = np.array([1e5, 0.4, 21.0, 1e6]), np.array([1e3, 0.1, 3.0, 1e5])


def sensors(count=24, seed=0):
    """Slow walks of four sensors, `[B, L, 4]`."""
    walks = np.cumsum(np.random.default_rng(seed).normal(size=(count, LENGTH, 4)), axis=1)
    return MEAN + DEVIATION * (walks - walks.mean(axis=(0, 1))) / walks.std(axis=(0, 1))


X = sensors()


def decibels(received, wanted, with_mean=False):
    """Signal-to-noise ratio of what varies in the output, or of all of it."""
    swing = wanted - (0 if with_mean else wanted.mean(axis=tuple(range(wanted.ndim - 1))))
    return 10 * np.log10((swing**2).mean() / ((received - wanted) ** 2).mean())


def outputs_of(converted, x, wanted):
    """What the emulator gives, of the steps that Keras has."""
    outputs = converted.dequantize(Emulator(converted.program, check_overflow=True).run(converted.quantize(x)))
    return outputs[:, -wanted.shape[1] :] if wanted.ndim == 3 else outputs[:, -1]


def normalized(*behind, features=4, seed=1):
    """A model that starts with a Normalization."""
    keras.utils.set_random_seed(seed)
    normalization = layers.Normalization()
    normalization.adapt(X)
    return keras.Sequential([keras.Input((LENGTH, features)), normalization, *behind])


def scaled_back(model, layer, output):
    """The same function without the Normalization, which goes into the first layer's kernel and bias."""
    cell = getattr(layer, "cell", layer)
    name = next(name for name in ("kernel_left", "depthwise_kernel", "kernel") if hasattr(cell, name))
    kernel = getattr(cell, name)
    whole = kernel.numpy().astype(float).reshape(-1, 4, kernel.shape[-1]) / DEVIATION[:, None]
    moved = MEAN[:, None] * whole.sum(axis=0)
    moved = moved.ravel() if name == "depthwise_kernel" else moved.sum(axis=0)
    if name == "kernel_left":
        moved = moved @ cell.kernel_right.numpy()
    if hasattr(cell, "pointwise_kernel"):
        moved = moved @ cell.pointwise_kernel.numpy()[0]
    kernel.assign(whole.reshape(kernel.shape))
    bias = cell.bias.numpy()
    bias[..., :] -= moved if bias.ndim == 1 else np.stack([moved, 0 * moved])
    cell.bias.assign(bias)
    return keras.Sequential([keras.Input((LENGTH, 4)), layer, output])


FIRST = {
    "dense": lambda: layers.Dense(8, activation="tanh"),
    "low rank": lambda: LowRankDense(8, 2),
    "causal": lambda: layers.Conv1D(8, 3, padding="causal", activation="relu"),
    "valid": lambda: layers.Conv1D(8, 3, activation="relu"),
    "low rank convolution": lambda: LowRankConv1D(8, 3, 2),
    "depthwise": lambda: layers.DepthwiseConv1D(3),
    "separable": lambda: layers.SeparableConv1D(6, 3),
    "gru": lambda: layers.GRU(8, return_sequences=True),
    "lstm": lambda: layers.LSTM(8, return_sequences=True),
    "dss": lambda: DSS(4),
    "block": lambda: S4Block(4),
}


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("first", ["normalization", "raw"])
def test_four_sensors_side_by_side_keep_their_signals(name, first):
    layer, output = FIRST[name](), layers.Dense(3)
    model = normalized(layer, output)
    if first == "raw" and name in ("dss", "block"):
        model = keras.Sequential([keras.Input((LENGTH, 4)), layer, output])
        output.kernel.assign(output.kernel.numpy() / DEVIATION[:, None])
        if name == "block":
            layer.normalization.moving_mean.assign(MEAN)
            layer.normalization.moving_variance.assign(DEVIATION**2)
    elif first == "raw":
        model = scaled_back(model, layer, output)
    converted = convert(model, X)
    wanted = model.predict(X, verbose=0)
    # Raw into a DSS layer, the step from nothing to 1e5 and 1e6 is signal, too, and the largest part of it.
    mean = first == "raw" and name in ("dss", "block")
    assert decibels(outputs_of(converted, X, wanted), wanted, mean) >= (45 if mean else 30)
    integers = converted.quantize(X[:2])
    expected = Emulator(converted.program).run(integers)
    np.testing.assert_array_equal(runtimes.run_tflm(converted.tflite, integers), expected)
    np.testing.assert_array_equal(CRunner(converted.program).run(integers), expected)


def test_integers_of_each_feature_use_their_range():
    for model in (normalized(layers.Dense(3)), keras.Sequential([keras.Input((LENGTH, 4)), layers.Dense(3)])):
        integers = convert(model, X).quantize(X).astype(int)
        swing = integers.max(axis=(0, 1)) - integers.min(axis=(0, 1))
        assert swing.min() > 2**13
        assert swing.max() < 2**16


@pytest.mark.parametrize("axis", [-1, None])
def test_leading_normalisations_are_nothing_in_the_program(axis):
    """Chains of them, behind layers that do nothing and inside a nested model."""
    keras.utils.set_random_seed(0)
    normalization = layers.Normalization(axis=axis)
    normalization.adapt(X if axis else X[..., 1:3])
    inner = keras.Sequential([keras.Input((LENGTH, 4)), normalization, layers.Identity()], name="preprocessing")
    batch = layers.BatchNormalization()
    inputs = keras.Input((LENGTH, 4))
    hidden = layers.Dropout(0.1)(inner(layers.Activation("linear")(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(layers.Rescaling(2.0, -0.5)(batch(hidden))))
    batch.moving_mean.assign([0.1, -0.2, 0.3, 0.0])
    batch.moving_variance.assign([1.5, 0.5, 1.0, 2.0])
    batch.gamma.assign([1.0, -0.7, 1.2, 0.9])
    converted = convert(model, X if axis else X[..., [1, 2, 1, 2]])
    assert [type(operation).__name__ for operation in converted.program.operations] == ["FullyConnected"]
    data = X if axis else X[..., [1, 2, 1, 2]]
    wanted = model.predict(data, verbose=0)
    assert decibels(outputs_of(converted, data, wanted), wanted) > 30


def test_alike_features_keep_one_scale():
    x = (X - MEAN) / DEVIATION * [1.0, 3.0, 2.0, 1.0]
    converted = convert(keras.Sequential([keras.Input((LENGTH, 4)), layers.Dense(3)]), x)
    assert not converted.program.encodings
    np.testing.assert_array_equal(converted.quantize(x), np.rint(x / converted.program.inputs[0].scale))


def test_input_that_several_layers_read():
    """A Dense layer and a causal convolution share the raw input, a GRU has it normalised, and an Add has it, too."""
    keras.utils.set_random_seed(0)
    normalization = layers.Normalization()
    normalization.adapt(X)
    inputs = keras.Input((LENGTH, 4))
    small = layers.Rescaling(1 / DEVIATION, -MEAN / DEVIATION)(inputs)
    parts = [
        layers.Dense(4)(small),
        layers.Conv1D(4, 3, padding="causal")(normalization(inputs)),
        layers.GRU(4, return_sequences=True)(small),
        layers.Add()([small, small]),
        layers.Activation("tanh")(small),
    ]
    model = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(parts)))
    converted = convert(model, X)
    wanted = model.predict(X, verbose=0)
    assert decibels(outputs_of(converted, X, wanted), wanted) > 30


def test_inputs_of_different_units_side_by_side():
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((LENGTH, 1), name=name) for name in ("pressure", "humidity", "temperature", "gas")]
    hidden = layers.Concatenate()(inputs)
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    kernel, bias = model.layers[-1].weights
    kernel.assign(kernel.numpy() / DEVIATION[:, None])
    bias.assign(-MEAN @ kernel.numpy())
    data = [X[..., index : index + 1] for index in range(4)]
    converted = convert(model, data)
    wanted = model.predict(data, verbose=0)
    assert decibels(outputs_of(converted, data, wanted), wanted) > 30


def test_blocks_of_steps_take_the_same_inputs():
    model = normalized(layers.GRU(4, return_sequences=True), layers.Dense(2))
    one, block = convert(model, X), convert(model, X, steps=3)
    received = [each.dequantize(Emulator(each.program).run(each.quantize(X))) for each in (one, block)]
    np.testing.assert_array_equal(*received)


def test_constant_features_convert_and_do_not_warn(recwarn):
    x = X.copy()
    x[..., 0], x[..., 1] = 1e5, 0.0
    model = keras.Sequential([keras.Input((LENGTH, 4)), layers.Dense(3)])
    converted = convert(model, x)
    wanted = model.predict(x, verbose=0)
    assert decibels(outputs_of(converted, x, wanted), wanted) > 30
    assert not [each for each in recwarn if "levels" in str(each.message)]


def test_few_levels_are_warned_of():
    """Far from zero, and no offset can be: zeros in front of a causal convolution are real zeros."""
    x = X.copy()
    x[..., 0] = 1e5 + 5 * (X[..., 0] - 1e5) / 1e3
    model = keras.Sequential([keras.Input((LENGTH, 4)), layers.Conv1D(3, 3, padding="causal")])
    with pytest.warns(UserWarning, match=r"Feature 0 of input 'input' has \d+ levels over its range of 999\d\d"):
        converted = convert(model, x)
    assert any("Feature 0" in line for line in converted.manifest["warnings"])


def spiked(x, value=2000.0):
    x = x.copy()
    x[3, 11, 1] = value
    return x


class TestOutliers:
    def test_one_spike_costs_the_rest_little(self):
        keras.utils.set_random_seed(0)
        x = np.random.default_rng(0).normal(size=(32, 60, 3))
        model = keras.Sequential(
            [keras.Input((60, 3)), layers.Dense(8, activation="relu"), DSS(4), S4Block(4), layers.Dense(3)]
        )
        wanted = model.predict(x, verbose=0)
        clean = decibels(outputs_of(convert(model, x), x, wanted), wanted)
        with pytest.warns(UserWarning, match="Feature 1 of input 'input' has 1 outliers"):
            converted = convert(model, spiked(x))
        assert decibels(outputs_of(converted, x, wanted), wanted) > clean - 8

    @pytest.mark.parametrize("kind", ["impulses", "square", "flag", "peaks", "event", "twice", "fall"])
    def test_what_a_signal_does_is_not_clipped(self, kind):
        random = np.random.default_rng(0)
        x = 0.01 * random.normal(size=(20, 500, 1))
        if kind == "impulses":  # one a window
            x[np.arange(20), random.integers(0, 500, 20), 0] = 1.0
        if kind == "square":
            x += np.sign(np.sin(np.arange(500) / 20))[:, None]
        if kind == "flag":
            x = np.zeros_like(x)
            x[7, 100] = 1.0
        if kind == "peaks":
            x += (np.arange(500) % 120 < 3)[:, None]
        if kind == "event":  # in one window, but for a while
            x[7, 100:130] += 1.0
        if kind == "twice":  # single samples, but in two windows
            x = np.concatenate([x] * 4)
            x[[7, 60], [100, 300]] = 100.0
        if kind == "fall":  # some times as far as all others
            x[7, 100] = 6.0 * np.abs(x).max()
        clipped, count = clip_outliers(x)
        assert count.sum() == 0
        np.testing.assert_array_equal(clipped, x)


class TestRareEvents:
    def test_what_lies_between_events_is_near_the_middle_of_the_integers(self):
        """Events on one side, and 100 times as large in another feature: what is quiet keeps its place."""
        random = np.random.default_rng(0)
        x = random.normal(size=(200, 60, 2)) * [0.1, 10.0]
        for window in range(4):
            x[window, 20:23] += [3.0, 300.0]
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((60, 2)), keras.layers.Rescaling([4.0, 0.04]), keras.layers.GRU(8), keras.layers.Dense(3)]
        )
        converted = convert(model, x)
        quiet = x[100:]
        integers = converted.quantize(quiet)
        assert np.all(np.abs(np.median(integers, axis=(0, 1))) < 100)
        assert decibels(converted.predict(quiet), model.predict(quiet, verbose=0)) > 30

    def test_a_detector_of_impacts(self):
        """A single sample is the event; the device decides as Keras does, calibrated on few of them."""
        random = np.random.default_rng(0)

        def windows(count, events):
            x = 0.5 + 0.02 * random.normal(size=(count, 60, 1))
            x[np.arange(events), random.integers(5, 55, events), 0] = random.uniform(20.0, 60.0, events)
            return x

        keras.utils.set_random_seed(0)
        front = keras.layers.Dense(4, activation="tanh")
        model = keras.Sequential(
            [keras.Input((60, 1)), front, keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(1)]
        )
        front.set_weights([np.full((1, 4), 1.0), np.full(4, -1.5)])
        model.layers[-1].set_weights([np.full((4, 1), 2.0), np.zeros(1)])
        converted = convert(model, windows(200, 2))
        test = windows(100, 50)
        np.testing.assert_array_equal(converted.predict(test) > 0, model.predict(test, verbose=0) > 0)


UNITS = """
#include <stdio.h>
#include "board.h"
const sensor_scale board_input_scale[4] = {
    SENSOR_INPUT_0(1 / 256.0, 0.0), SENSOR_INPUT_1(1e-5, 0.0), SENSOR_INPUT_2(-0.01, 60.0), SENSOR_INPUT_3(16, 1e4)};
int main(void)
{
    int32_t v[2];
    while (fread(v, sizeof v, 1, stdin) == 1) {
        printf("%d\\n", (int)sensor_to_model(v[1], &board_input_scale[v[0]], 0, -32768, 32767));
    }
    return 0;
}
"""


@pytest.mark.parametrize("normalises", [True, False])
def test_sensor_integers_become_those_of_the_host(tmp_path, normalises):
    """Integers of four sensors, one of which counts downwards."""
    first = [normalized] if normalises else [lambda *behind: keras.Sequential([keras.Input((LENGTH, 4)), *behind])]
    converted = convert(first[0](layers.Dense(3)), X)
    program = converted.program
    for name, text in render_firmware(program, {"window_length": None}, golden_vectors(program), "model").items():
        (tmp_path / name).write_text(text)
    (tmp_path / "units.c").write_text(UNITS)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsanitize=undefined"]
    sources = [tmp_path / "units.c", tmp_path / "sensor_scale.c"]
    subprocess.run([*compiler(), *strict, "-I", tmp_path, *sources, "-o", tmp_path / "units"], check=True)
    lsb, zero = np.array([1 / 256, 1e-5, -0.01, 16.0]), np.array([0.0, 0.0, 60.0, 1e4])
    real = MEAN + 12 * DEVIATION * np.random.default_rng(0).uniform(-1, 1, (1000, 4))
    raw = np.rint((real - zero) / lsb).astype(np.int32)
    rows = np.stack([np.tile(np.arange(4, dtype=np.int32), 1000), raw.ravel()], axis=1)
    done = subprocess.run([tmp_path / "units"], input=rows.tobytes(), capture_output=True, check=True)
    received = np.array(done.stdout.split(), int).reshape(-1, 4)
    wanted = converted.quantize((zero + lsb * raw)[None])[0].astype(int)
    # Ties, and what 26 bits leave open, may fall the other way.
    assert np.abs(received - wanted).max() <= 1
    assert (received != wanted).mean() < 0.01
    assert wanted.max(axis=0).min() == 32767  # some saturate


@pytest.mark.parametrize(("spreads", "peaks", "alike"), [((1, 6), 1, True), ((1, 1), 20, True), ((1, 100), 1, False)])
def test_features_alike_but_for_rare_peaks_share_a_scale(spreads, peaks, alike):
    """Whose units would only make the weights coarser."""
    data = np.random.default_rng(0).normal(size=(40, 30, 2)) * spreads
    data[::4, 7, 1] *= peaks
    model = keras.Sequential([keras.Input((30, 2)), keras.layers.Dense(4)])
    assert (convert(model, data).program.encodings == {}) == alike
