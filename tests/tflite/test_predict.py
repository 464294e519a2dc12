"""`Converted.predict` returns what `keras.Model.predict` does, in the same shapes, and refuses what it cannot read."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from keras_s4 import models
from keras_s4.layers import LastStep
from keras_s4.tflite import convert

L, F = 24, 3
X = np.random.default_rng(0).normal(size=(16, L, F)).astype("float32")
SMALL = {"channels": 6, "states": 4, "blocks": 1}


def chain(*stack, length=L):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((length, F)), *stack])


def several(ends):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((L, F))
    return keras.Model(inputs, ends(layers.Conv1D(6, 3, activation="relu")(inputs), inputs))


MODELS = {
    "classes": lambda: models.classifier((L, F), 4, **SMALL),
    "yes or no": lambda: chain(layers.GRU(5), layers.Dense(1, "sigmoid")),
    "class of each step": lambda: models.sequence_to_sequence((L, F), 3, output_activation="softmax", **SMALL),
    "quantities of each step": lambda: models.sequence_to_sequence((L, F), 2, **SMALL),
    "forecast": lambda: models.forecaster((L, F), 5, **SMALL),
    "forecast from each step": lambda: models.forecaster((None, F), 5, every_step=True, **SMALL),
    "valid convolution": lambda: chain(layers.Conv1D(6, 5), layers.Dense(2)),
    "strides": lambda: chain(layers.Conv1D(6, 4, strides=2, padding="causal"), layers.Dense(2)),
    "valid strides": lambda: chain(layers.Conv1D(6, 5, strides=2), layers.Conv1D(4, 3), layers.Dense(2)),
    "pooling of steps": lambda: chain(layers.MaxPooling1D(2), layers.AveragePooling1D(3, strides=2), layers.Dense(2)),
    "cropping": lambda: chain(layers.Conv1D(6, 3, padding="causal"), layers.Cropping1D((2, 0)), layers.Dense(2)),
    "padding": lambda: chain(layers.ZeroPadding1D((2, 0)), layers.Conv1D(6, 3), layers.Dense(2)),
    "valid, then average": lambda: chain(layers.Conv1D(6, 3), layers.GlobalAveragePooling1D(), layers.Dense(2)),
    "list": lambda: several(lambda h, x: [layers.GlobalAveragePooling1D()(h), layers.Dense(1)(h), layers.Dense(2)(x)]),
    "dict": lambda: several(lambda h, x: {"z": LastStep()(h), "a": layers.Dense(1)(x)}),
    "dict of one": lambda: several(lambda h, x: {"only": layers.Dense(2)(h)}),
    "step of several axes": lambda: chain(layers.GRU(4), layers.Reshape((2, 2))),
}


@functools.cache
def model_and_outputs(name):
    model = MODELS[name]()
    return model, model.predict(X, verbose=0)


@pytest.mark.parametrize("steps", [None, 8])
@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_values_are_those_of_keras(name, steps):
    model, expected = model_and_outputs(name)
    received = convert(model, X, steps=steps, length=L).predict(X, engine="emulator")
    assert type(received) is type(expected)
    if isinstance(expected, dict):
        assert list(received) == list(expected)
    for wanted, found in zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True):
        assert found.shape == wanted.shape
        ratio = 10 * np.log10(np.var(wanted) / np.mean((wanted - found) ** 2))
        assert ratio > 30, f"{ratio:.1f} dB"


def test_engines_agree():
    converted = convert(chain(layers.Conv1D(6, 5, strides=2), layers.Dense(2)), X)
    expected = converted.predict(X, engine="emulator")
    for engine in ("tflm", "c", None):
        np.testing.assert_array_equal(converted.predict(X, engine=engine), expected)
    with pytest.raises(ValueError, match="engine='gpu'; expected one of 'tflm', 'c', 'emulator', or None"):
        converted.predict(X, engine="gpu")


@pytest.fixture(scope="module")
def averaging():
    return convert(chain(layers.Conv1D(4, 3), layers.GlobalAveragePooling1D(), layers.Dense(2)), X)


@pytest.fixture(scope="module")
def last_step():
    return convert(chain(layers.Conv1D(4, 5), LastStep(), layers.Dense(2)), X)


@pytest.mark.parametrize("length", [12, 23, 25, 48])
def test_an_average_takes_windows_of_its_own_length(averaging, length):
    x = np.zeros((2, length, F))
    for method in (averaging.predict, averaging.quantize):
        with pytest.raises(ValueError, match=f"sequences of {length} steps; it averages over windows of 24. Cut"):
            method(x)
    assert averaging.quantize(x, whole=False).shape == x.shape


@pytest.mark.parametrize("length", [5, 12, 48])
def test_a_last_step_comes_after_any_number_of_steps(last_step, length):
    """The reference is the same layers over an open length."""
    model = chain(layers.Conv1D(4, 5), LastStep(), layers.Dense(2), length=None)
    x = np.random.default_rng(1).uniform(-1, 1, size=(8, length, F))
    expected = model.predict(x, verbose=0)
    error = last_step.predict(x, engine="emulator") - expected
    assert 10 * np.log10(np.var(expected) / np.mean(error**2)) > 30


@pytest.mark.parametrize("length", [1, 4])
def test_sequences_shorter_than_a_convolution_have_no_output(last_step, length):
    with pytest.raises(ValueError, match=f"sequences of {length} steps; its convolutions need at least 5"):
        last_step.predict(np.zeros((2, length, F)))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X[0], ValueError, r"shape \[24, 3\]; expected \[B, L, 3\]. A single sequence needs a batch axis: x\[None\]"),
        (X.swapaxes(1, 2), ValueError, r"shape \[16, 3, 24\].* Steps come before features: np.swapaxes"),
        (X[..., :2], ValueError, r"shape \[16, 24, 2\]; expected \[B, L, 3\]"),
        (X[:0], ValueError, "at least one sequence and one step"),
        (X[:, :0], ValueError, "at least one sequence and one step"),
        (X * np.nan, ValueError, "1,152 NaN or infinite values"),
        (X * 1j, TypeError, "complex64; expected real numbers. The imaginary part"),
        (X > 0, TypeError, "type bool"),
        (X.astype(object), TypeError, "type object"),
        (X.astype(str), TypeError, "Turn texts into numbers"),
        ("x.npz", TypeError, "str; expected an array"),
        ((row for row in X), TypeError, "generator"),
        ([X, X], ValueError, r"shape \[2, 16, 24, 3\]; expected"),
        ({"a": X, "b": X}, ValueError, "expected"),
    ],
)
def test_what_is_no_batch_of_samples_is_refused(averaging, x, error, message):
    for method in (averaging.predict, averaging.quantize, averaging.clipped):
        with pytest.raises(error, match=message):
            method(x)


def test_a_single_input_may_come_in_a_list_or_dict(averaging):
    expected = averaging.quantize(X)
    for x in ([X], {"samples": X}, X.tolist(), list(X), X.astype("float64")):
        np.testing.assert_array_equal(averaging.quantize(x), expected)
    np.testing.assert_array_equal(averaging.quantize([X[0]]), expected[:1])


def test_sequences_of_one_feature_without_an_axis_for_it():
    model = keras.Sequential([keras.Input((L, 1)), layers.GRU(3)])
    converted = convert(model, X[..., :1])
    with pytest.raises(ValueError, match=r"shape \[16, 24\]; .*of one feature need an axis for it: x\[..., None\]"):
        converted.predict(X[..., 0])


def test_inputs_of_different_lengths():
    first, second = keras.Input((None, 2), name="a"), keras.Input((None, 1), name="b")
    model = keras.Model([first, second], layers.Dense(2)(layers.Concatenate()([first, second])))
    converted = convert(model, [X[..., :2], X[..., 2:]])
    with pytest.raises(ValueError, match=r"\{'a': \[16, 24, 2\], 'b': \[16, 20, 1\]\}; expected as many sequences"):
        converted.predict({"a": X[..., :2], "b": X[:, :20, 2:]})


def test_clipped_samples_are_counted_and_warned_of(averaging, recwarn):
    averaging.predict(X)
    assert not [warning for warning in recwarn if "clips" in str(warning.message)]
    loud = X.copy()
    loud[0, :6, 1] = 100.0
    np.testing.assert_allclose(averaging.clipped(loud)["input"], [0.0, 6 / (16 * 24), 0.0])
    with pytest.warns(UserWarning, match=r"clips samples beyond its range: 1.56% of feature 1 of 'input'") as caught:
        averaging.predict(loud)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_at_a_prompt_a_model_is_one_line(averaging):
    assert "\n" not in repr(averaging)
    assert f"{len(averaging.tflite):,} bytes of .tflite" in repr(averaging)
    assert "inputs input int16[3]" in repr(averaging)
    assert "1 an invoke" in repr(averaging)
    assert len(repr(averaging)) < 300
