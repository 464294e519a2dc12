"""Every supported layer: convolution mode against step mode, whole and in chunks."""

import keras
import numpy as np
import pytest
from keras import layers
from streams import assert_close, assert_streams, by_steps, sequential, signal, to_numpy

from keras_s4.layers import (
    DSS,
    DiagonalSSM,
    DSSCell,
    LastStep,
    LowRankDense,
    LowRankGRU,
    LowRankLSTM,
    LowRankSimpleRNN,
    RecentAverage,
    S4Block,
    SlidingAverage,
)
from keras_s4.streaming import StreamingModel

# name: layers on [B, 10, 4]
POINTWISE = {
    "dense": lambda: [layers.Dense(3, activation="softmax")],
    "low-rank dense": lambda: [LowRankDense(3, rank=2)],
    "batch normalization": lambda: [layers.BatchNormalization()],
    "layer normalization": lambda: [layers.LayerNormalization()],
    "layer normalization of two axes": lambda: [layers.Reshape((-1, 2, 2)), layers.LayerNormalization(axis=[-2, -1])],
    "RMS normalization": lambda: [layers.RMSNormalization()],
    "unit normalization": lambda: [layers.UnitNormalization()],
    "normalization": lambda: [layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 9.0, 16.0])],
    "rescaling": lambda: [layers.Rescaling([1.0, 2.0, 3.0, 4.0], offset=0.5)],
    "activation": lambda: [layers.Activation("tanh")],
    "softmax activation": lambda: [layers.Activation("softmax")],
    "softmax": lambda: [layers.Softmax()],
    "ReLU": lambda: [layers.ReLU(max_value=0.5)],
    "leaky ReLU": lambda: [layers.LeakyReLU(0.2)],
    "ELU": lambda: [layers.ELU()],
    "PReLU": lambda: [layers.PReLU(shared_axes=[1])],
    "dropouts": lambda: [layers.Dropout(0.5), layers.SpatialDropout1D(0.5), layers.AlphaDropout(0.5)],
    "noises": lambda: [layers.GaussianNoise(0.5), layers.GaussianDropout(0.5), layers.ActivityRegularization(l2=0.1)],
    "masking of real steps": lambda: [layers.Masking(), layers.Identity()],
    "reshape": lambda: [layers.Reshape((10, 2, -1)), layers.Permute((1, 3, 2)), layers.Reshape((-1, 4))],
    "time distributed": lambda: [layers.Reshape((-1, 2, 2)), layers.TimeDistributed(layers.Flatten())],
}
RECURRENT = {
    "DSS": lambda: [DSS(3)],
    "S4 block": lambda: [S4Block(3)],
    "diagonal SSM": lambda: [DiagonalSSM(5, 3), DiagonalSSM(None, 2, feedthrough="diagonal")],
    "GRU": lambda: [layers.GRU(3, return_sequences=True)],
    "GRU, reset before": lambda: [layers.GRU(3, return_sequences=True, reset_after=False)],
    "GRU, last": lambda: [layers.GRU(3)],
    "LSTM": lambda: [layers.LSTM(3, return_sequences=True)],
    "simple RNN with dropouts": lambda: [
        layers.SimpleRNN(3, return_sequences=True, dropout=0.5, recurrent_dropout=0.5)
    ],
    "stacked cells": lambda: [layers.RNN([layers.LSTMCell(3, dropout=0.3), layers.GRUCell(2)], return_sequences=True)],
    "DSS cell": lambda: [layers.RNN(DSSCell(DSS(3), channels=4), return_sequences=True)],
    "low-rank GRU": lambda: [LowRankGRU(3, rank=2, recurrent_rank=2, return_sequences=True)],
    "low-rank LSTM": lambda: [LowRankLSTM(3, rank=2, recurrent_rank=2)],
    "recent average": lambda: [RecentAverage([1.0, 2.0, 5.0, 30.0], 1.0, True, True, return_sequences=True)],
    "low-rank simple RNN": lambda: [LowRankSimpleRNN(3, rank=2, recurrent_rank=2, return_sequences=True)],
}
GLOBAL_POOLINGS = {
    "global average": lambda: [layers.GlobalAveragePooling1D()],
    "global maximum": lambda: [layers.GlobalMaxPooling1D()],
    "last step": lambda: [LastStep()],
    "recent average": lambda: [RecentAverage(4.0)],
    "anything behind a pooling": lambda: [
        LastStep(),
        layers.Dense(6),
        layers.Reshape((3, 2)),
        layers.Conv1D(2, 2, padding="same"),
        layers.LayerNormalization(axis=1),
        layers.Flatten(),
        layers.RepeatVector(2),
        layers.GRU(3),
        layers.Softmax(),
    ],
}
CAUSAL_CONVOLUTIONS = {
    "causal": lambda: [layers.Conv1D(3, 4, padding="causal", activation="relu")],
    "causal, no bias": lambda: [layers.Conv1D(3, 2, padding="causal", use_bias=False)],
    "causal, dilated": lambda: [layers.Conv1D(3, 3, padding="causal", dilation_rate=2)],
    "of one step": lambda: [layers.Conv1D(3, 1)],
    "behind padding": lambda: [layers.ZeroPadding1D((4, 0)), layers.Conv1D(3, 3, dilation_rate=2)],
    "depthwise behind padding": lambda: [layers.ZeroPadding1D((2, 0)), layers.DepthwiseConv1D(3, depth_multiplier=2)],
    "separable behind padding": lambda: [layers.ZeroPadding1D((2, 0)), layers.SeparableConv1D(5, 3)],
}
# name: layers, period, phase
DROPPING = {
    "causal": (lambda: [layers.Conv1D(3, 4, padding="causal", strides=3)], 3, 0),
    "valid": (lambda: [layers.Conv1D(3, 4)], 1, 3),
    "valid, dilated": (lambda: [layers.Conv1D(3, 3, dilation_rate=3)], 1, 6),
    "valid with strides": (lambda: [layers.Conv1D(3, 3, strides=2)], 2, 2),
    "behind less padding": (lambda: [layers.ZeroPadding1D((1, 0)), layers.Conv1D(3, 4, strides=2)], 2, 2),
    "padding behind a late start": (
        lambda: [layers.AveragePooling1D(2), layers.ZeroPadding1D((2, 0)), layers.Conv1D(3, 3)],
        2,
        1,
    ),
    "depthwise": (lambda: [layers.DepthwiseConv1D(3, strides=2)], 2, 2),
    "separable": (lambda: [layers.SeparableConv1D(5, 3, strides=2)], 2, 2),
    "average": (lambda: [layers.AveragePooling1D(3)], 3, 2),
    "average of overlapping windows": (lambda: [layers.AveragePooling1D(3, strides=1)], 1, 2),
    "average with gaps": (lambda: [layers.AveragePooling1D(2, strides=5)], 5, 1),
    "maximum": (lambda: [layers.MaxPooling1D(2)], 2, 1),
    "sliding average": (lambda: [SlidingAverage(6, 3, return_sequences=True)], 3, 2),
    "sliding average behind a late start": (
        lambda: [layers.Conv1D(3, 4), SlidingAverage(4, 2, return_sequences=True)],
        2,
        4,
    ),
    "sliding average of every other step": (
        lambda: [layers.MaxPooling1D(2), SlidingAverage(2, 1, return_sequences=True)],
        2,
        1,
    ),
    "cropping": (lambda: [layers.Cropping1D((3, 0))], 1, 3),
}


@pytest.fixture(autouse=True)
def tolerance(double_precision):
    """That of double precision: what is not equal there is no rounding."""
    return double_precision


@pytest.mark.parametrize("make", [*POINTWISE.values(), *RECURRENT.values()], ids=[*POINTWISE, *RECURRENT])
def test_layers_of_every_step(make, tolerance):
    stream = assert_streams(sequential(*make()), signal(2, 10, 4), tolerance)
    assert (stream.period, stream.phase) == (1, 0)
    assert not any(name.startswith("/") for name in stream.initial_state(1)), "a clock costs time and memory"


@pytest.mark.parametrize("make", CAUSAL_CONVOLUTIONS.values(), ids=CAUSAL_CONVOLUTIONS)
def test_convolutions_with_an_output_at_every_step(make, tolerance):
    stream = assert_streams(sequential(*make()), signal(2, 10, 4), tolerance)
    assert (stream.period, stream.phase) == (1, 0)


@pytest.mark.parametrize("make", GLOBAL_POOLINGS.values(), ids=GLOBAL_POOLINGS)
def test_poolings_over_time_are_exact_at_every_length(make, tolerance):
    """What a stream gives after t steps is what the layer gives for a sequence of t steps."""
    samples = signal(2, 10, 4)
    model = sequential(*make())
    assert_streams(model, samples, tolerance)
    outputs = to_numpy(StreamingModel(model, length=5)(samples))
    open_length = sequential(*make(), shape=(None, 4))
    open_length.set_weights(model.get_weights())
    assert_close(outputs[:, 4], to_numpy(open_length(samples[:, :5])), tolerance)


def test_a_sliding_average_holds_between_hops(tolerance):
    samples, layer = signal(2, 10, 4), SlidingAverage(6, 3)
    stream = assert_streams(sequential(layer, layers.Dense(2)), samples, tolerance)
    assert (stream.period, stream.phase) == (1, 2)
    outputs, _ = by_steps(StreamingModel(sequential(layer)), samples)
    assert not outputs[:, :2].any()
    for t in range(2, 10):
        assert_close(outputs[:, t], to_numpy(layer(samples[:, : t + 1])), tolerance)


@pytest.mark.parametrize(("make", "period", "phase"), DROPPING.values(), ids=DROPPING)
def test_layers_that_drop_steps(make, period, phase, tolerance):
    samples = signal(2, 10, 4)
    model = sequential(*make())
    stream = assert_streams(model, samples, tolerance)
    assert (stream.period, stream.phase) == (period, phase)
    outputs, _ = by_steps(stream, samples)
    assert not outputs[:, :phase].any(), "zeros before the first output"
    for t in range(phase, 10):
        np.testing.assert_array_equal(outputs[:, t], outputs[:, t - (t - phase) % period], err_msg="held in between")


@pytest.mark.parametrize(
    "layer", [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum]
)
def test_merging(layer, tolerance):
    inputs = keras.Input((10, 4))
    model = keras.Model(inputs, layer()([inputs, layers.Dense(1)(inputs)]))
    assert_streams(model, signal(2, 10, 4), tolerance)


def test_concatenation(tolerance):
    inputs = keras.Input((10, 4))
    branches = [inputs, layers.Dense(2)(inputs), DSS(2)(inputs)]
    assert_streams(keras.Model(inputs, layers.Concatenate()(branches)), signal(2, 10, 4), tolerance)


def test_merging_behind_a_pooling(tolerance):
    inputs = keras.Input((10, 4))
    pooled = [layers.GlobalAveragePooling1D()(inputs), layers.GlobalMaxPooling1D()(inputs)]
    outputs = layers.Dense(2)(layers.Concatenate(axis=1)([*pooled, layers.Dot(axes=1)(pooled)]))
    assert_streams(keras.Model(inputs, outputs), signal(2, 10, 4), tolerance)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_tokens(mask_zero, tolerance):
    """Token 0 is padding to Keras if `mask_zero`; a stream has none."""
    model = sequential(
        layers.Embedding(5, 3, mask_zero=mask_zero), layers.GRU(4, return_sequences=True), shape=(10,), dtype="int32"
    )
    tokens = np.random.default_rng(0).integers(1, 5, size=(2, 10)).astype("int32")
    assert_streams(model, tokens, tolerance)
    if mask_zero:
        tokens[:, 3] = 0
        stream = StreamingModel(model)
        chunk, _ = stream.chunk(tokens, stream.initial_state(2))
        assert_close(to_numpy(chunk), by_steps(stream, tokens)[0], tolerance)


def test_steps_of_one_number(tolerance):
    model = sequential(
        layers.ReLU(), layers.Rescaling(2.0), layers.Reshape((-1, 1)), layers.GRU(3, return_sequences=True), shape=(10,)
    )
    assert_streams(model, signal(2, 10), tolerance)


def test_steps_that_are_pictures(tolerance):
    """Further axes of a step go through, as does a sequence of open length."""
    model = sequential(
        layers.TimeDistributed(layers.Conv2D(2, 2)),
        layers.BatchNormalization(),
        layers.TimeDistributed(layers.Flatten()),
        layers.Dense(3),
        shape=(None, 4, 4, 1),
    )
    assert_streams(model, signal(2, 6, 4, 4, 1), tolerance)


def test_convolutions_in_groups(tolerance):
    """Compiled, because Keras compiles them anew at each call on TensorFlow."""
    samples = signal(2, 6, 4)
    model = sequential(
        layers.Conv1D(4, 3, padding="causal", groups=2), layers.Conv1D(6, 2, strides=2, groups=2), shape=(6, 4)
    )
    stream = StreamingModel(model)
    outputs = stream.predict(samples, verbose=0)[:, stream.phase :: stream.period]
    assert_close(outputs, model.predict(samples, verbose=0), tolerance)


def test_half_precision(dtype_policy):
    dtype_policy("mixed_bfloat16")
    model = sequential(
        layers.Conv1D(4, 3, padding="causal"),
        S4Block(3),
        layers.MaxPooling1D(2),
        layers.LSTM(3, return_sequences=True),
        layers.GlobalAveragePooling1D(),
    )
    # bfloat16 keeps 8 bits.
    assert_streams(model, signal(2, 10, 4), 0.05)


@pytest.mark.parametrize("layer", [layers.GRU(3, return_state=True, return_sequences=True), DSS(3, return_state=True)])
def test_a_state_that_nobody_reads_does_no_harm(layer):
    inputs = keras.Input((7, 2))
    outputs, _ = layer(inputs)
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(2, 7, 2)).astype("float32")
    np.testing.assert_allclose(StreamingModel(model)(data), model(data), rtol=0, atol=1e-5)
