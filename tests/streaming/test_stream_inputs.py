"""Streams of models with several inputs and outputs, and of layers that are called twice, against Keras."""

import keras
import numpy as np
import pytest
from conformance import shake
from keras import layers
from streams import assert_close, signal

from keras_s4.layers import DSS, LastStep
from keras_s4.streaming import StreamingModel
from keras_s4.testing.architectures import random_model

LENGTH, TOLERANCE = 12, 2e-5
FAST, SLOW = signal(2, LENGTH, 3), signal(2, LENGTH, 2, seed=1)


def listed(values):
    return [np.asarray(each) for each in keras.tree.flatten(values)]


def assert_is_keras(model, x, stream=None):
    """Sequences as a whole, in steps and in chunks are those of Keras where an output is due; the streaming model."""
    stream = stream or StreamingModel(model)
    whole = stream(x)
    keras.tree.assert_same_structure(whole, model.output)
    timings = zip(keras.tree.flatten(stream.period), keras.tree.flatten(stream.phase), strict=True)
    outputs, expected = listed(whole), listed(model(x))
    for output, wanted, (period, phase) in zip(outputs, expected, timings, strict=True):
        due = output[:, phase::period]
        assert_close(due if wanted.ndim == output.ndim else due[:, -1], wanted, TOLERANCE)
    states, steps = stream.initial_state(2), []
    for step in range(LENGTH // 2):
        given, states = stream.step(keras.tree.map_structure(lambda array, step=step: array[:, step], x), states)
        steps.append(listed(given))
    rest, _ = stream.chunk(keras.tree.map_structure(lambda array: array[:, LENGTH // 2 :], x), states)
    for index, (output, last) in enumerate(zip(outputs, listed(rest), strict=True)):
        pieces = np.concatenate([np.stack([step[index] for step in steps], axis=1), last], axis=1)
        assert_close(pieces, output, TOLERANCE)
    return stream


def two_inputs():
    """Branches with memory that meet; an output at half the rate, and a pooled one."""
    fast, slow = keras.Input((LENGTH, 3), name="wrist"), keras.Input((LENGTH, 2), name="ankle")
    hidden = layers.Concatenate()([DSS(2)(fast), layers.GRU(3, return_sequences=True)(slow)])
    half = layers.Conv1D(4, 2, padding="causal", strides=2)(hidden)
    return [fast, slow], [layers.Dense(2)(half), layers.GlobalAveragePooling1D()(hidden)]


@pytest.fixture(scope="module")
def both():
    """A stream of two inputs and two outputs."""
    keras.utils.set_random_seed(0)
    return StreamingModel(shake(keras.Model(*two_inputs())))


def test_lists(both):
    assert_is_keras(both.model, [FAST, SLOW], both)
    assert (both.period, both.phase) == ([2, 1], [0, 0])


def test_predict_and_inputs_by_name(both):
    by_list = both.predict([FAST, SLOW], verbose=0)
    by_name = both.predict({"ankle": SLOW, "wrist": FAST}, verbose=0)
    for found, same, expected in zip(by_list, by_name, both([FAST, SLOW]), strict=True):
        np.testing.assert_array_equal(found, same)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_dicts():
    """Keras sorts their keys, and gives outputs under theirs."""
    (fast, slow), (half, mean) = two_inputs()
    model = shake(keras.Model({"right": fast, "left": slow}, {"z": half, "a": mean}))
    stream = assert_is_keras(model, {"left": SLOW, "right": FAST})
    assert stream.period == {"z": 2, "a": 1}


def test_other_inputs_than_the_model_has(both):
    states = both.initial_state(2)
    with pytest.raises(ValueError, match=r"has 2 inputs \(wrist, ankle\) and got 1"):
        both.step(FAST[:, 0], states)
    with pytest.raises(ValueError, match=r"got inputs named \['wrist'\]; expected \['wrist', 'ankle'\]"):
        both.chunk({"wrist": FAST}, states)
    with pytest.raises(ValueError, match=r"of input 'wrist' of shape \(2, 2\); expected \[B, 3\]"):
        both.step([SLOW[:, 0], FAST[:, 0]], states)


def test_an_input_that_is_an_output_and_one_that_nobody_reads():
    fast, slow = keras.Input((LENGTH, 3)), keras.Input((LENGTH, 2))
    assert_is_keras(shake(keras.Model([fast, slow], [layers.GRU(2)(slow), slow])), [FAST, SLOW])


def test_tokens_beside_samples():
    tokens, samples = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH, 3))
    hidden = layers.Add()([layers.Embedding(5, 4)(tokens), layers.Dense(4)(samples)])
    model = shake(keras.Model([tokens, samples], layers.LSTM(3)(hidden)))
    numbers = np.random.default_rng(0).integers(0, 5, (2, LENGTH)).astype("int32")
    assert_is_keras(model, [numbers, FAST])


def test_a_compiled_step(both):
    step, states = both.compiled_step(), both.initial_state(2)
    found, _ = step([FAST[:, 0].tolist(), SLOW[:, 0].astype("float64")], states)
    expected, _ = both.step([FAST[:, 0], SLOW[:, 0]], states)
    for a, b in zip(listed(found), listed(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_save_and_load(both, tmp_path):
    both.save(tmp_path / "stream.keras")
    loaded = keras.models.load_model(tmp_path / "stream.keras")
    for a, b in zip(*(listed(stream([FAST, SLOW])) for stream in (both, loaded)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_layer_called_twice_has_a_state_for_each_call():
    fast, other = keras.Input((LENGTH, 3)), keras.Input((LENGTH, 3))
    memory = layers.GRU(4, return_sequences=True, name="memory")
    model = shake(keras.Model([fast, other], layers.Subtract()([memory(fast), memory(other)])))
    stream = assert_is_keras(model, [FAST, FAST[::-1]])
    assert {"memory", "call_2/memory"} <= set(stream.initial_state(1))


def test_nested_models_of_several_inputs_and_outputs():
    a, b = keras.Input((None, 2), name="a"), keras.Input((None, 3), name="b")
    joined = layers.Concatenate()([layers.GRU(2, return_sequences=True)(a), b])
    outputs = {"q": layers.Conv1D(4, 2, strides=2)(joined), "p": layers.GlobalMaxPooling1D()(joined)}
    inner = keras.Model({"b": b, "a": a}, outputs, name="inner")
    x, y = keras.Input((LENGTH, 3)), keras.Input((LENGTH, 2))
    found, again = inner({"b": x, "a": y}), inner({"b": layers.Dense(3)(x), "a": y})
    model = keras.Model([x, y], [layers.GRU(3)(found["q"]), layers.Add()([found["p"], again["p"]])])
    stream = assert_is_keras(shake(model), [FAST, SLOW])
    assert any(path.startswith("call_2/inner/") for path in stream.initial_state(1))


def test_poolings_of_branches_of_different_rates_meet():
    """Behind the poolings the latest values hold until the next."""
    inputs = keras.Input((LENGTH, 3))
    branches = [layers.MaxPooling1D(size)(inputs) for size in (2, 3)]
    pooled = [layers.GlobalAveragePooling1D()(branches[0]), LastStep()(branches[1])]
    outputs = layers.Dense(2)(layers.Concatenate()(pooled))
    stream = assert_is_keras(shake(keras.Model(inputs, outputs)), FAST)
    assert (stream.period, stream.phase) == (1, 2)
    np.testing.assert_array_equal(stream(FAST)[:, :2], 0.0)


@pytest.mark.parametrize("place", ["end", "front"])
def test_padded_sequences(place):
    """Of two inputs that are padded alike, one of which makes the mask of both."""
    tokens, samples = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH, 3))
    masked = layers.Embedding(5, 4, mask_zero=True)(tokens)
    hidden = layers.GRU(4, return_sequences=True)(layers.Add()([masked, layers.Dense(4)(layers.Masking()(samples))]))
    model = shake(keras.Model([tokens, samples], [layers.Dense(2)(hidden), layers.GlobalAveragePooling1D()(hidden)]))
    real = np.arange(LENGTH) < np.array([[LENGTH], [7], [3]])
    real = real[:, ::-1] if place == "front" else real
    x = [
        np.random.default_rng(0).integers(1, 5, real.shape).astype("int32") * real,
        signal(3, LENGTH, 3) * real[..., None],
    ]
    sequence, mean = StreamingModel(model).predict(x, verbose=0)
    wanted, wanted_mean = model.predict(x, verbose=0)
    np.testing.assert_allclose(sequence[real], wanted[real], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(mean[:, -1], wanted_mean, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", [2013])
def test_random_models(seed):
    keras.backend.clear_session()
    model, data, _ = random_model(seed)
    x = [array[:2] for array in data]
    x = x if len(x) > 1 else x[0]
    stream = StreamingModel(model)
    timings = zip(keras.tree.flatten(stream.period), keras.tree.flatten(stream.phase), strict=True)
    for output, wanted, (period, phase) in zip(listed(stream(x)), listed(model(x)), timings, strict=True):
        due = output[:, phase::period]
        assert_close(due if wanted.ndim == output.ndim else due[:, -1], wanted, 1e-4)
