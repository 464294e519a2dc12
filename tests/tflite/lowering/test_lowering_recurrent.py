"""Recurrent layers and embeddings: near their float64 values, and equal on emulator and TFLM in every bit."""

import functools

import keras
import numpy as np
import pytest

from keras_s4.layers import LowRankGRU, LowRankGRUCell, LowRankLSTM, LowRankSimpleRNN
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import convert, runtimes
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.lowering import ProgramBuilder, lower
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.program.tensors import Tensor

LENGTH, FEATURES, UNITS, VOCABULARY = 40, 4, 10, 11
SEQUENCES = {"return_sequences": True, "dtype": "float64"}

# Signal-to-noise ratio in dB to reach. Weights of 8 bits alone carry some 42: each is off by up to 1/254 of the
# largest, which is two or three times the typical one. A table's 8 bits in and out cost up to 10 more.
LAYERS = {
    "GRU": (lambda: keras.layers.GRU(UNITS, **SEQUENCES), 39),
    "GRU, reset before": (lambda: keras.layers.GRU(UNITS, reset_after=False, **SEQUENCES), 39),
    "GRU, no bias": (lambda: keras.layers.GRU(UNITS, use_bias=False, **SEQUENCES), 39),
    "GRU, tables": (
        lambda: keras.layers.GRU(UNITS, activation="softsign", recurrent_activation="hard_sigmoid", **SEQUENCES),
        31,
    ),
    "GRU, relu": (lambda: keras.layers.GRU(UNITS, activation="relu", **SEQUENCES), 31),
    "GRU, linear": (lambda: keras.layers.GRU(UNITS, activation="linear", **SEQUENCES), 39),
    "LSTM": (lambda: keras.layers.LSTM(UNITS, **SEQUENCES), 39),
    "LSTM, no bias": (lambda: keras.layers.LSTM(UNITS, use_bias=False, **SEQUENCES), 39),
    "LSTM, tables": (
        lambda: keras.layers.LSTM(UNITS, activation="softsign", recurrent_activation="hard_sigmoid", **SEQUENCES),
        31,
    ),
    "SimpleRNN": (lambda: keras.layers.SimpleRNN(UNITS, **SEQUENCES), 36),
    "SimpleRNN, linear": (lambda: keras.layers.SimpleRNN(UNITS, activation="linear", **SEQUENCES), 36),
    "SimpleRNN, table": (lambda: keras.layers.SimpleRNN(UNITS, activation="softsign", **SEQUENCES), 31),
    "low-rank GRU": (lambda: LowRankGRU(UNITS, 3, 6, **SEQUENCES), 36),
    "low-rank GRU, reset before": (lambda: LowRankGRU(UNITS, None, 6, reset_after=False, **SEQUENCES), 36),
    "low-rank LSTM": (lambda: LowRankLSTM(UNITS, 3, None, **SEQUENCES), 36),
    "low-rank SimpleRNN": (lambda: LowRankSimpleRNN(UNITS, 3, 6, **SEQUENCES), 36),
    "RNN around a cell": (lambda: keras.layers.RNN(LowRankGRUCell(UNITS, 3, 6, dtype="float64"), **SEQUENCES), 36),
    "stacked cells": (
        lambda: keras.layers.RNN(
            keras.layers.StackedRNNCells(
                [keras.layers.GRUCell(6, dtype="float64"), keras.layers.LSTMCell(UNITS, dtype="float64")],
                dtype="float64",
            ),
            **SEQUENCES,
        ),
        36,
    ),
}


def inputs(batch=6, length=LENGTH, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, FEATURES))


def model_of(*layers, length=LENGTH, gain=1.3):
    """Biases of 0.5, and input weights `gain` times what Keras draws, so that the gates move."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((length, FEATURES), dtype="float64"), *layers])
    random = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name == "bias":
            weight.assign(random.normal(0, 0.5, weight.shape))
        elif weight.name.startswith("kernel"):
            weight.assign(gain * weight)
        else:  # recurrent; orthogonal, so that a linear layer still forgets
            weight.assign(0.95 * weight)
    return model


@functools.cache
def exported(name):
    model = model_of(LAYERS[name][0]())
    return model, convert(model, inputs())


def in_decibels(expected, received):
    return 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(received - expected))


def recurrence(layer, x):
    """The layer's outputs in float64, as calibration computes them; a test compares them with Keras."""
    source = Signal(Tensor("input", (FEATURES,), "int16", 2.0**-12), x)
    return lower(layer, [source], ProgramBuilder(None)).values


def emulate(converted, x):
    """Outputs as real numbers and the trajectories of the states, with every 32-bit accumulator watched."""
    names = [state.after.name for state in converted.program.states]
    trace = Emulator(converted.program, check_overflow=True).trace(converted.quantize(x), record=names)
    return converted.dequantize(trace.outputs[0]), trace


@pytest.mark.parametrize("name", LAYERS)
class TestLayers:
    def test_emulator_is_tflm_in_every_bit(self, name):
        _, converted = exported(name)
        x = inputs(2, seed=1)
        _, trace = emulate(converted, x)
        outputs, states = runtimes.run_tflm(converted.tflite, converted.quantize(x), keep_states=True)
        np.testing.assert_array_equal(outputs, trace.outputs[0])
        assert len(states) == len(converted.program.states) > 0
        for state, measured in zip(converted.program.states, states, strict=True):
            assert np.any(measured)
            np.testing.assert_array_equal(measured, trace.tensors[state.after.name])

    def test_signal_to_noise(self, name):
        model, converted = exported(name)
        x = inputs(seed=2)
        received, _ = emulate(converted, x)
        assert in_decibels(np.asarray(model(x)), received) > LAYERS[name][1]

    def test_calibration_is_the_exact_recurrence(self, name):
        model, _ = exported(name)
        x = inputs()
        np.testing.assert_allclose(recurrence(model.layers[0], x), np.asarray(model(x)), rtol=0, atol=1e-12)


def test_last_step_of_a_window_is_the_latest_of_a_stream():
    model = model_of(keras.layers.GRU(UNITS))
    x = inputs()
    converted = convert(model, x)
    received, _ = emulate(converted, x)
    streamed = np.asarray(StreamingModel(model).predict(x, verbose=0))
    assert in_decibels(streamed, received) > 39
    np.testing.assert_array_equal(converted.predict(x), received[:, -1])
    assert in_decibels(np.asarray(model(x)), converted.predict(x)) > 36


class TestMemory:
    @pytest.mark.parametrize("name", ["GRU", "GRU, tables", "LSTM", "SimpleRNN"])
    def test_long_streams_neither_wrap_nor_drift(self, name):
        """2,000 steps from calibration on 40, the first half four times as loud as anything there."""
        model, converted = exported(name)
        x = inputs(1, 2000, seed=3)
        x[:, :1000] *= 4.0
        received, _ = emulate(converted, x)
        expected = recurrence(model.layers[0], x)
        assert in_decibels(expected[:, 1500:], received[:, 1500:]) > LAYERS[name][1] - 3

    def test_cell_that_grows_without_end_saturates(self):
        """Forget gates of 1: the cell adds up its input, to 600 in floating point."""
        layer = keras.layers.LSTM(UNITS, unit_forget_bias=False, **SEQUENCES)
        model = model_of(layer)
        bias = np.zeros((4, UNITS))
        bias[:2], bias[2] = 20.0, np.where(np.arange(UNITS) % 2, 5.0, -5.0)
        layer.cell.bias.assign(bias.ravel())
        converted = convert(model, inputs())
        _, trace = emulate(converted, inputs(1, 600))
        (cell,) = (state.after for state in converted.program.states if "memory" in state.after.name)
        cells = trace.tensors[cell.name][0] * cell.scale
        assert np.abs(cells).max() <= 128.0  # twice the 40 steps of calibration, as a power of two
        assert np.all(np.abs(cells[-1]) > 60.0)
        assert np.array_equal(cells[-1] > 0, bias[2] > 0)

    @pytest.mark.parametrize("kind", [keras.layers.GRU, keras.layers.LSTM])
    def test_small_memories_decay_to_nothing(self, kind):
        """A state that is rounded to 16 bits each step would stop at 64 units: half a unit over a leak of 1/128."""
        layer = kind(UNITS, **SEQUENCES)
        model = model_of(layer)
        gates, kept = (3, 0) if kind is keras.layers.GRU else (4, 1)
        bias = np.zeros((gates, UNITS))
        bias[kept] = np.log(127.0)
        layer.cell.recurrent_kernel.assign(np.zeros((UNITS, gates * UNITS)))
        layer.cell.bias.assign(bias.ravel() if gates == 4 else np.stack([bias.ravel(), 0 * bias.ravel()]))
        x = inputs(1, 2200)
        x[:, LENGTH:] = 0.0
        converted = convert(model, x[:, :LENGTH])
        _, trace = emulate(converted, x)
        largest = np.abs(trace.outputs[0]).max(axis=(0, 2))
        assert largest[LENGTH] > 500
        assert largest[-1] <= 1

    def test_slow_memory_keeps_its_resolution(self):
        """Update gates near 1, where 1 - z from a table of 8 bits has a handful of values: 22 to 24 dB."""
        layer = keras.layers.GRU(UNITS, **SEQUENCES)
        model = model_of(layer, length=300)
        bias = np.zeros((2, 3 * UNITS))
        bias[0, :UNITS] = np.linspace(1, 6, UNITS)
        layer.cell.bias.assign(bias)
        x = inputs(4, 300)
        received, _ = emulate(convert(model, x), x)
        assert in_decibels(recurrence(layer, x), received) > 36


@pytest.mark.parametrize(
    ("low_rank", "whole"),
    [(LowRankGRU, keras.layers.GRU), (LowRankLSTM, keras.layers.LSTM), (LowRankSimpleRNN, keras.layers.SimpleRNN)],
)
def test_layers_of_low_rank_are_their_full_products(low_rank, whole):
    factored = low_rank(UNITS, 2, 5, **SEQUENCES)
    model, full = model_of(factored), whole(UNITS, **SEQUENCES)
    twin = model_of(full)
    for name, matrix in factored.matrices().items():
        getattr(full.cell, name).assign(matrix)
    full.cell.bias.assign(factored.cell.bias)
    x = inputs()
    results = [emulate(convert(part, x), x)[0] for part in (model, twin)]
    assert in_decibels(*results) > 33  # each has the noise of 8-bit weights


@pytest.fixture(scope="module")
def token_model():
    keras.utils.set_random_seed(0)
    normal = keras.initializers.RandomNormal
    layers = [
        keras.layers.Embedding(VOCABULARY, 5, embeddings_initializer=normal(0, 1)),
        keras.layers.GRU(8),
        keras.layers.Dense(3, activation="softmax", kernel_initializer=normal(0, 3)),
    ]
    return keras.Sequential([keras.Input((12,), dtype="int32"), *layers])


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(0, VOCABULARY, (24, 12))


@pytest.fixture(scope="module")
def token_program(token_model, tokens):
    return convert(token_model, tokens)


class TestTokens:
    def test_whole_model_predicts_and_verifies(self, token_model, tokens, token_program):
        expected = np.asarray(token_model(tokens))
        received = token_program.predict(tokens)
        np.testing.assert_allclose(received, expected, atol=0.1)  # logits of 8 bits
        report = token_program.verify(token_model, tokens, expected.argmax(axis=1))
        assert report.bit_exact
        assert report.accuracy["tflm"] >= 0.9

    def test_rows_are_those_of_the_table(self):
        layer = keras.layers.Embedding(VOCABULARY, 5)
        model = keras.Sequential([keras.Input((4,), dtype="int32"), layer])
        tokens = np.arange(12).reshape(3, 4) % VOCABULARY
        received, _ = emulate(convert(model, tokens), tokens)
        table = np.asarray(layer.embeddings)
        assert np.abs(received - table[tokens]).max() <= 0.51 * np.abs(table).max() / 127

    def test_token_outside_the_vocabulary_fails_on_the_device_and_in_the_emulator(self, token_program):
        runners = [kind(token_program.tflite) for kind in (runtimes.TflmRunner, runtimes.TensorFlowRunner)]
        for token in (VOCABULARY, -1):
            for runner in runners:
                with pytest.raises(ValueError, match="is a token number outside its table"):
                    runner.step(np.array([token], np.int32))
            with pytest.raises(ValueError, match=r"its table has rows 0 to 10"):
                Emulator(token_program.program).step(np.array([[token]]))

    @pytest.mark.parametrize("strange", [[[0, 11]], [[-1, 3]]])
    def test_tokens_outside_the_vocabulary_are_refused(self, token_model, token_program, strange):
        message = r"the vocabulary has 11, from 0 to 10\. Give unknown tokens a number of their own"
        with pytest.raises(ValueError, match=message):
            token_program.quantize(np.array(strange))
        with pytest.raises(ValueError, match=message):
            convert(token_model, np.repeat(strange, 6, axis=1))

    def test_tokens_that_are_no_whole_numbers_are_refused(self, token_program):
        with pytest.raises(ValueError, match="no whole numbers; pass the numbers that the tokeniser gives"):
            token_program.quantize(np.array([[0.5, 1.0]]))

    def test_embedding_of_what_a_layer_computes_is_refused(self):
        layers = [keras.layers.Activation("relu"), keras.layers.Embedding(5, 3)]
        model = keras.Sequential([keras.Input((12, 1)), *layers])
        with pytest.raises(NotImplementedError, match="only the token numbers of an input of the model can be looked"):
            convert(model, np.ones((2, 12, 1)))


class MyCell(keras.layers.GRUCell):
    """A subclass may compute something else."""


def own_gate(x):
    return keras.ops.sigmoid(x - 1)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (lambda: keras.layers.GRU(4, go_backwards=True), NotImplementedError, "starts at the end of a sequence"),
        (lambda: keras.layers.GRU(4, stateful=True), ValueError, "is stateful, .* build it with stateful=False"),
        (lambda: keras.layers.RNN(MyCell(4)), NotImplementedError, "cell of type MyCell.* Supported: GRUCell, LSTM"),
        (
            lambda: keras.layers.GRU(4, recurrent_activation="tanh"),
            NotImplementedError,
            "recurrent activation 'tanh'; gates can be exported that lie between 0 and 1",
        ),
        (
            lambda: keras.layers.LSTM(4, recurrent_activation=own_gate),
            NotImplementedError,
            r"recurrent activation 'own_gate'; .* f\(-x\) = 1 - f\(x\)",
        ),
    ],
    ids=["go_backwards", "stateful", "cell", "gate", "crooked gate"],
)
def test_what_a_stream_cannot_do_is_refused(layer, error, message):
    model = keras.Sequential([keras.Input((LENGTH, FEATURES), batch_size=2), layer()])
    with pytest.raises(error, match=message):
        convert(model, inputs(2))
