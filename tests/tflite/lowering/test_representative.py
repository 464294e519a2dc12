"""What `convert`, `analyse`, `measure` and `quantize_aware` take as models, data and numbers, and what they refuse."""

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s4 import quantize_aware
from keras_s4.tflite import analyse, compare_formats, convert, measure
from keras_s4.tflite.lowering.representative import MOST_WINDOWS

X = np.random.default_rng(0).normal(size=(40, 10, 3)).astype("float32")
Y = np.zeros(40)


def dense(*shapes):
    """A model of one layer behind its inputs."""
    inputs = [keras.Input(shape, name=f"in_{index}") for index, shape in enumerate(shapes)]
    joined = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], keras.layers.Dense(2)(joined), name="small")


@pytest.fixture(scope="module")
def model():
    return dense((10, 3))


@pytest.fixture(scope="module")
def expected(model):
    return convert(model, X).tflite


TAKEN = {
    "data set of batches": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(8),
    "data set of windows": lambda: tf.data.Dataset.from_tensor_slices(X),
    "generator of (x, y)": lambda: ((X[i : i + 4], Y[i : i + 4]) for i in range(0, 40, 4)),
    "generator of TensorFlow Lite": lambda: ([X[i : i + 1]] for i in range(40)),
    "function that gives a generator": lambda: lambda: iter([X[:30], X[30:]]),
    "lists of lists": X.tolist,
    "list of windows": lambda: list(X),
    "list of the only input": lambda: [X],
    "tensor": lambda: tf.constant(X),
    "dict": lambda: {"in_0": X},
    "dicts of a data set": lambda: tf.data.Dataset.from_tensor_slices({"in_0": X}).batch(16),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_forms_of_the_same_data_give_the_same_program(model, expected, kind):
    assert convert(model, TAKEN[kind]()).tflite == expected


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int64", "float64"])
def test_numbers_are_taken_as_what_they_are(model, dtype):
    x = np.clip(X * 20 + 100, 0, 255).astype(dtype)
    converted = convert(model, x)
    assert converted.tflite == convert(model, x.astype("float64")).tflite
    np.testing.assert_array_equal(converted.quantize(x), converted.quantize(x.astype("float64")))


def test_data_without_end_are_taken_in_part(model):
    with pytest.warns(UserWarning, match=f"the first {MOST_WINDOWS} windows were taken"):
        converted = convert(model, ((X, Y) for _ in itertools.count()))
    many = np.concatenate([X] * 13)[:MOST_WINDOWS]
    assert converted.tflite == convert(model, many).tflite
    assert f"first {MOST_WINDOWS} windows" in converted.manifest["warnings"][0]


def test_batches_of_several_inputs():
    model, data = dense((10, 3), (10, 2)), [X, X[..., :2]]
    expected = convert(model, data).tflite
    batches = tf.data.Dataset.from_tensor_slices(((X, X[..., :2]), Y)).batch(8)
    assert convert(model, batches).tflite == expected
    assert convert(model, ([X[i : i + 8], X[i : i + 8, :, :2]] for i in range(0, 40, 8))).tflite == expected
    by_name = tf.data.Dataset.from_tensor_slices({"in_0": X, "in_1": X[..., :2]}).batch(8)
    assert convert(model, by_name).tflite == expected


REFUSED = {
    "path": (
        lambda: "x.npy",
        TypeError,
        r"received 'x.npy' as data; expected an array. Load it first: np.load\(path\)",
    ),
    "archive": (lambda: Path("x.npz"), TypeError, r"np.load\(path\)\['x'\]"),
    "(x, y)": (lambda: (X, Y), ValueError, "without labels: pass x of"),
    "nothing": (lambda: None, TypeError, "received None as data"),
    "number": (lambda: 3.0, TypeError, "received 3.0 as data"),
    "empty list": (list, ValueError, "an empty list"),
    "generator at its end": (lambda: iter(()), ValueError, "Make a new one"),
    "no sequence": (lambda: X[:0], ValueError, "is empty"),
    "complex": (lambda: X + 1j, TypeError, "The imaginary part would be lost"),
    "complex in batches": (lambda: iter([X + 1j]), TypeError, "The imaginary part would be lost"),
    "objects": (lambda: X.astype(object), TypeError, "of type object"),
    "texts": (lambda: X.astype(str), TypeError, "texts"),
    "truth values": (lambda: X > 0, TypeError, "of type bool"),
    "masked": (lambda: np.ma.masked_array(X, X > 1), TypeError, "masked values"),
    "NaN": (lambda: np.where(X > 2, np.nan, X), ValueError, "NaN or infinite values, the first at"),
    "axes": (lambda: X.swapaxes(1, 2), ValueError, r"Steps come before features: np.swapaxes\(x, 1, 2\)"),
    "features": (lambda: X[..., :2], ValueError, "A step must have 3 features"),
    "one window": (lambda: X[0], ValueError, r"a single one is x\[None\]"),
    "lengths": (lambda: [X[0], X[1, :5]], ValueError, "rows of different lengths"),
    "lengths of batches": (lambda: iter([X[:4], X[:4, :5]]), ValueError, "expected windows of one length"),
    "fill values": (lambda: np.where(X > 2, 1e30, X), ValueError, "Replace fill values"),
    "tiny": (lambda: X * 1e-20, ValueError, "Give it in other units"),
    "names": (lambda: {"x": X}, ValueError, r"got inputs named \['x'\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_data_are_refused_with_what_to_do(model, kind):
    data, error, message = REFUSED[kind]
    with pytest.raises(error, match=message):
        convert(model, data())


@pytest.mark.parametrize("call", [convert, measure, quantize_aware])
def test_what_is_no_model_is_refused(model, call):
    with pytest.raises(TypeError, match=rf"wrong order; expected {call.__name__}\(model, data\)"):
        call(X, model)
    with pytest.raises(TypeError, match=r"received 'm.keras' as its model.*keras.models.load_model\(path\)"):
        call("m.keras", X)
    with pytest.raises(TypeError, match="received the class Sequential"):
        call(keras.Sequential, X)
    with pytest.raises(ValueError, match="is not built yet"):
        call(keras.Sequential([keras.layers.Dense(2)]), X)


@pytest.mark.parametrize("name", ["length", "steps"])
@pytest.mark.parametrize("value", [0, -3, True, "10", 10.0, np.float32(10)])
def test_numbers_that_are_no_counts_are_refused(model, name, value):
    error = ValueError if type(value) is int else TypeError
    with pytest.raises(error, match=rf"received {name}=.*; expected a whole number, 1 or more"):
        convert(model, X, **{name: value})


def test_numpy_integers_are_counts(model, expected):
    assert convert(model, X, length=np.int64(10), steps=np.int32(1)).tflite == expected


def test_analyse_refuses_models_and_numbers_that_are_none(model):
    converted = convert(model, X)
    with pytest.raises(TypeError, match=r"analyse received a Functional; expected what convert returned"):
        analyse(model, X)
    with pytest.raises(TypeError, match=r"received 'm.keras' as its model"):
        analyse(converted, X, "m.keras")
    with pytest.raises(TypeError, match="steps=True"):
        analyse(converted, X, model, steps=True)
    with pytest.raises(TypeError, match="imaginary part"):
        analyse(converted, X + 1j, model)


def test_formats_of_a_model_with_several_inputs_are_compared():
    formats = compare_formats(dense((10, 3), (10, 2)), [X, X[..., :2]])
    assert formats.measured > 30
