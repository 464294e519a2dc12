"""Mixtures of layers in depth: branches, several stages that drop steps, models within models."""

import backends
import keras
import numpy as np
import pytest
from conformance import shake
from keras import layers
from streams import TOLERANCES, assert_close, assert_streams, by_steps, sequential, signal, to_numpy

from keras_s4.layers import DSS, LastStep, S4Block
from keras_s4.streaming import StreamingModel

LENGTH = 18


def deep_model():
    """Residual branches, a GRU behind a DSS layer, a causal convolution: an output at every step."""
    inputs = keras.Input((LENGTH, 2))
    hidden = layers.Conv1D(4, 3, padding="causal", activation="gelu")(inputs)
    hidden = layers.Add()([hidden, layers.Dropout(0.2)(layers.LayerNormalization()(DSS(3)(hidden)))])
    hidden = layers.GRU(4, return_sequences=True)(S4Block(3)(hidden))
    hidden = layers.Concatenate()([inputs, hidden])
    return keras.Model(inputs, layers.Dense(3)(hidden))


def dropping_model():
    """Three stages that drop steps, state between them, a residual branch, and an average at the end."""
    inputs = keras.Input((LENGTH, 2))
    hidden = layers.Conv1D(4, 3, padding="causal", strides=2)(inputs)
    hidden = layers.MaxPooling1D(2)(S4Block(3)(hidden))
    branch = layers.Conv1D(4, 2, padding="causal")(layers.GRU(3, return_sequences=True)(hidden))
    hidden = layers.Add()([hidden, branch])
    hidden = layers.SeparableConv1D(5, 2, strides=1)(hidden)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden)))


def branches_that_meet_late():
    """Two branches with one stride; one has seen two more samples than the other, which must wait."""
    inputs = keras.Input((LENGTH + 1, 2))
    early = layers.Conv1D(3, 2, padding="causal", strides=4)(inputs)
    late = layers.Conv1D(3, 3, strides=4)(inputs)
    return keras.Model(inputs, DSS(2)(layers.Subtract()([layers.Activation("tanh")(early), late])))


def text_model():
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Conv1D(4, 3, strides=2)(layers.ZeroPadding1D((2, 0))(layers.Embedding(7, 3)(inputs)))
    hidden = layers.LSTM(4, return_sequences=True)(hidden)
    return keras.Model(inputs, LastStep()(layers.AveragePooling1D(3, strides=2)(hidden)))


def valid_residual_model():
    """Convolutions without padding, and a residual path that is cropped to what they give."""
    inputs = keras.Input((LENGTH, 2))
    hidden = layers.Conv1D(2, 3, dilation_rate=2)(layers.Conv1D(3, 2)(inputs))
    return keras.Model(inputs, layers.GRU(2)(layers.Add()([hidden, layers.Cropping1D((5, 0))(inputs)])))


def model_of_models():
    front = keras.Sequential(
        [keras.Input((None, 2)), layers.Conv1D(3, 3, strides=2), layers.GRU(3, return_sequences=True)]
    )
    back = keras.Sequential([keras.Input((None, 3)), DSS(2), layers.AveragePooling1D(2)])
    head = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    return keras.Sequential([keras.Input((LENGTH, 2)), front, back, layers.GlobalMaxPooling1D(), head])


# name: (model, period, phase)
MODELS = {
    "deep": (deep_model, 1, 0),
    "dropping": (dropping_model, 4, 6),
    "text": (text_model, 4, 4),
    "valid residual": (valid_residual_model, 1, 5),
    "model of models": (model_of_models, 4, 4),
    "branches that meet late": (branches_that_meet_late, 4, 2),
}


def samples_for(model, batch=2):
    if len(model.input_shape) == 2:
        return np.random.default_rng(0).integers(0, 7, size=(batch, LENGTH)).astype("int32")
    return signal(batch, *model.input_shape[1:])


@pytest.fixture(params=MODELS)
def mixture(request):
    make, period, phase = MODELS[request.param]
    return shake(make()), period, phase


def test_all_modes_are_equal(double_precision, mixture):
    """`double_precision` comes first: it sets the types that the model is made in."""
    model, period, phase = mixture
    stream = assert_streams(model, samples_for(model), double_precision)
    assert (stream.period, stream.phase) == (period, phase)


def test_jax_gives_the_outputs_and_gradients_of_tensorflow(request):
    """Compiled there as a whole."""
    stream = StreamingModel(shake(dropping_model()))
    samples = samples_for(stream.model)
    cotangents = signal(*stream(samples).shape, seed=2)
    task = backends.task_of(stream, samples, cotangents, training=False, module="keras_s4.streaming")
    actual, expected = backends.backend_process(request.config, "jax").evaluate(task), backends.evaluate(task)
    assert_close(actual.outputs, expected.outputs, TOLERANCES["float32"])
    # Sums over all steps of what is within the tolerance at each.
    assert_close(actual.input_gradient, expected.input_gradient, 1e-4)


@pytest.fixture(scope="module")
def dropping():
    """A model that drops steps, streaming."""
    keras.utils.set_random_seed(0)
    return StreamingModel(shake(dropping_model()))


def test_streams_of_a_batch_do_not_mix(dropping):
    samples = signal(3, 14, 2)
    together, _ = by_steps(dropping, samples)
    alone, _ = by_steps(dropping, samples[1:2])
    np.testing.assert_allclose(together[1:2], alone, rtol=0, atol=1e-6)
    samples[0] = np.nan
    np.testing.assert_array_equal(by_steps(dropping, samples)[0][1:], together[1:])


def test_streams_of_a_batch_may_have_started_at_different_steps(dropping):
    """One stream is reset in the middle of the other: each has its own clock."""
    first, second = signal(1, 16, 2), signal(1, 11, 2, seed=1)
    whole, _ = by_steps(dropping, first)
    head, old = by_steps(dropping, first[:, :5])
    states = keras.tree.map_structure(lambda *parts: np.concatenate(parts), old, dropping.initial_state(1))
    tail, _ = by_steps(dropping, np.concatenate([first[:, 5:], second]), states)
    np.testing.assert_allclose(np.concatenate([head, tail[:1]], axis=1), whole, rtol=0, atol=1e-6)
    np.testing.assert_allclose(tail[1:], by_steps(dropping, second)[0], rtol=0, atol=1e-6)


def test_the_initial_state_starts_anew(dropping):
    samples = signal(2, 14, 2)
    outputs, states = by_steps(dropping, samples)
    assert np.abs(by_steps(dropping, samples, states)[0] - outputs).max() > 1e-3
    np.testing.assert_array_equal(by_steps(dropping, samples)[0], outputs)


def test_an_average_counts_the_values_that_reach_it(dropping):
    """14 steps are 2 values behind three stages; the model was built for 18, which are 3."""
    model = dropping.model
    short = keras.Model.from_config(_with_length(model.get_config(), 14))
    short.set_weights(model.get_weights())
    samples = signal(2, 14, 2)
    outputs = StreamingModel(model, length=14).predict(samples, verbose=0)
    assert_close(outputs[:, -1], to_numpy(short(samples)), TOLERANCES["float32"])


def _with_length(config, length):
    config["layers"][0]["config"]["batch_shape"] = (None, length, 2)
    return config


@pytest.mark.parametrize("make", [deep_model, dropping_model])
def test_single_precision_and_other_splits(make):
    model = shake(make())
    for seed in (1, 2):
        assert_streams(model, samples_for(model, batch=1), TOLERANCES["float32"], seed=seed)


def test_a_long_chunk_takes_the_fast_way(monkeypatch):
    """Convolution mode, and no loop."""
    stream = StreamingModel(shake(sequential(S4Block(3), layers.Conv1D(3, 4, padding="causal"), DSS(2))))
    expected = to_numpy(stream(signal(2, 50, 4)))
    monkeypatch.setattr("keras_s4.streaming.loop.StepLoop.__call__", None)
    outputs, _ = stream.chunk(signal(2, 50, 4), stream.initial_state(2))
    assert_close(to_numpy(outputs), expected, TOLERANCES["float32"])


def test_save_and_load(dropping, tmp_path):
    dropping.save(tmp_path / "stream.keras")
    loaded = keras.models.load_model(tmp_path / "stream.keras")
    assert (loaded.period, loaded.phase, loaded.length) == (dropping.period, dropping.phase, dropping.length)
    samples = signal(1, 9, 2)
    np.testing.assert_array_equal(by_steps(loaded, samples)[0], by_steps(dropping, samples)[0])
