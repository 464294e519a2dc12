"""Every layer that can be exported, alone: near its float values, and equal on emulator and TFLM in every bit."""

import keras
import numpy as np
import pytest

from keras_s4.layers import DSS, LowRankDense, S4Block
from keras_s4.tflite import convert, lowering, runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import activation

LENGTH, CHANNELS = 100, 6

# Signal-to-noise ratio in dB to reach: 8-bit results carry some 40 dB, 8-bit weights some 45, 16-bit results 70; in a
# block several of them meet.
LAYERS = {
    "dense": (lambda: keras.layers.Dense(5), 42),
    "dense without bias": (lambda: keras.layers.Dense(5, use_bias=False), 42),
    "dense, sigmoid": (lambda: keras.layers.Dense(5, activation="sigmoid"), 36),
    "dense, relu": (lambda: keras.layers.Dense(5, activation="relu"), 36),
    "low-rank dense": (lambda: LowRankDense(5, rank=3), 36),
    "low-rank dense, sigmoid": (lambda: LowRankDense(5, rank=2, activation="sigmoid"), 34),
    "gelu": (lambda: keras.layers.Activation("gelu"), 36),
    "tanh": (lambda: keras.layers.Activation("tanh"), 36),
    "linear": (lambda: keras.layers.Activation("linear"), 70),
    "batch normalisation": (lambda: keras.layers.BatchNormalization(), 66),
    "batch normalisation, plain": (lambda: keras.layers.BatchNormalization(scale=False, center=False), 66),
    "dropout": (lambda: keras.layers.Dropout(0.5), 70),
    "DSS": (lambda: DSS(4), 60),
    "DSS, softmax, bilinear": (lambda: DSS(4, kernel="softmax", discretization="bilinear"), 60),
    "DSS, clip, time steps of its own": (lambda: DSS(4, kernel="clip", separate_time_steps=True), 60),
    "DSS, other rate": (lambda: DSS(4, rate=2.0, per_channel_poles=True), 60),
    "S4 block": (lambda: S4Block(4), 38),
    "S4 block, silu": (lambda: S4Block(4, activation="silu"), 38),
    "S4 block, low rank": (lambda: S4Block(4, value_rank=2, gate_rank=1), 34),
    "S4 block, a gate a channel": (lambda: S4Block(4, gate="channel"), 36),
    "S4 block, no gate": (lambda: S4Block(4, gate=None), 38),
    "average pooling": (lambda: keras.layers.GlobalAveragePooling1D(), 60),
}


def model_of(layer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((LENGTH, CHANNELS)), layer])
    random = np.random.default_rng(2)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(random.normal(size=weight.shape))
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
    return model


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).normal(size=(8, LENGTH, CHANNELS))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_alone(name, signals):
    make, decibels = LAYERS[name]
    model = model_of(make())
    converted = convert(model, signals)
    integers = converted.quantize(signals)
    program = converted.program
    if program.operations:
        trace = Emulator(program).trace(integers, record=[state.after.name for state in program.states])
        outputs, states = runtimes.run_tflm(converted.tflite, integers, keep_states=True)
        np.testing.assert_array_equal(outputs, trace.outputs[0])
        for state, measured in zip(program.states, states, strict=True):
            np.testing.assert_array_equal(measured, trace.tensors[state.after.name])
        received = converted.dequantize(outputs)
    else:
        received = converted.dequantize(integers)
    expected = model.predict(signals, verbose=0)
    received = received if expected.ndim == 3 else received[:, -1]
    ratio = 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(received - expected))
    assert ratio > decibels


def test_layer_of_ones_own_can_be_registered(signals, registries):
    class Halve(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2

    @lowering.register(Halve)
    def lower_halve(layer, inputs, builder):
        return activation.add_table(
            layer.name,
            lambda x: x / 2,
            activation.as_int8(layer.name, keras.activations.linear, inputs[0], builder),
            builder,
        )

    converted = convert(model_of(Halve()), signals)
    outputs = converted.dequantize(Emulator(converted.program).run(converted.quantize(signals)))
    assert np.abs(outputs - signals / 2).max() < 0.5  # half a unit of 8 bits, beyond the chosen range more
    assert np.abs(outputs - signals / 2).mean() < 0.01


def test_a_layer_that_sees_the_future_is_refused(signals):
    with pytest.raises(NotImplementedError, match=r"cannot be exported: .* its output depends on future inputs"):
        convert(model_of(DSS(4, bidirectional=True)), signals)


def test_an_average_that_ends_before_its_first_step_is_refused():
    stack = [keras.layers.Conv1D(2, 4, 4, padding="causal", name=f"conv_{index}") for index in range(3)]
    model = keras.Sequential([keras.Input((20, 1)), *stack, keras.layers.GlobalAveragePooling1D(name="mean")])
    with pytest.raises(ValueError, match="'mean' averages over windows that end before a step comes through"):
        convert(model, np.ones((2, 20, 1)))


def test_sum_that_would_overflow_is_refused():
    model = keras.Sequential([keras.Input((70_000, 1)), keras.layers.GlobalAveragePooling1D()])
    with pytest.raises(ValueError, match=r"would sum 70000 steps in 32 bits, which holds 65536"):
        convert(model, np.ones((1, 70_000, 1)))


def test_a_channel_that_is_silent_in_calibration_neither_fails_nor_wraps():
    """A dead ReLU in front of a DSS layer, and data that wake it."""
    model = keras.Sequential([keras.Input((LENGTH, CHANNELS)), DSS(4)])
    x = np.random.default_rng(0).normal(size=(4, LENGTH, CHANNELS))
    x[..., 2] = 0.0
    converted = convert(model, x)
    loud = np.full((1, LENGTH, CHANNELS), 32_767, np.int16)
    np.testing.assert_array_equal(
        Emulator(converted.program, check_overflow=True).run(loud), runtimes.run_tflm(converted.tflite, loud)
    )
