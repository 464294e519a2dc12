"""Inputs as users write them: without names, in dicts, in any order, read often, never, or by nested models."""

import keras
import numpy as np
import pytest
from conformance import shake

from keras_s4 import quantize_aware
from keras_s4.layers.quantized import QuantizedDense
from keras_s4.surgery.calls import input_names
from keras_s4.surgery.paths import layer_at
from keras_s4.tflite import convert, measure

LENGTH = 12
RANDOM = np.random.default_rng(3)
A, B, C = (RANDOM.normal(size=(20, LENGTH, features)).astype("float32") for features in (2, 3, 1))
TOKENS = RANDOM.integers(0, 9, (20, LENGTH))


def signal_to_noise(reference, received):
    reference, received = np.asarray(reference, float), np.asarray(received, float)
    assert reference.shape == received.shape
    power = np.mean((reference - reference.mean(axis=0)) ** 2)
    return 10.0 * np.log10(power / np.mean((reference - received) ** 2))


def check(model, data, least=25.0):
    converted = convert(model, data)
    wanted, received = model.predict(data, verbose=0), converted.predict(data)
    for reference, found in zip(keras.tree.flatten(wanted), keras.tree.flatten(received), strict=True):
        assert signal_to_noise(reference, found) > least
    return converted


def read(inputs):
    """Reads the inputs in another order than they are given in; they differ in size."""
    hidden = [keras.layers.Dense(4, "tanh")(tensor) for tensor in reversed(inputs)]
    return keras.layers.Dense(2)(keras.layers.GRU(5)(keras.layers.Concatenate()(hidden)))


def sources(**arguments):
    return [keras.Input((LENGTH, array.shape[-1]), **arguments) for array in (A, B, C)]


def test_unnamed_inputs_in_a_list():
    inputs = sources()
    model = shake(keras.Model(inputs, read(inputs)))
    converted = check(model, [A, B, C])
    assert [tensor.shape for tensor in converted.program.inputs] == [(2,), (3,), (1,)]
    assert measure(model, [A, B, C])["tflite_bytes"] == len(converted.tflite)
    by_name = converted.predict(dict(zip(input_names(model), (A, B, C), strict=True)))
    np.testing.assert_array_equal(by_name, converted.predict([A, B, C]))
    assert signal_to_noise(quantize_aware(model, [A, B, C]).predict([A, B, C], verbose=0), by_name) > 15.0


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_unnamed_inputs_in_a_dict_are_called_by_its_keys():
    c, b, a = reversed(sources())
    model = shake(keras.Model({"third": c, "second": b, "first": a}, read([a, b, c])))
    data = {"second": B, "third": C, "first": A}
    converted = check(model, data)
    assert [tensor.name for tensor in converted.program.inputs] == ["first", "second", "third"]
    np.testing.assert_array_equal(converted.predict([A, B, C]), converted.predict(data))
    with pytest.raises(ValueError, match=r"\['first', 'second', 'third'\]"):
        convert(model, {"a": A, "b": B, "c": C})


def test_an_input_that_several_layers_read_and_one_that_no_layer_reads():
    a, b = keras.Input((LENGTH, 2)), keras.Input((LENGTH, 3))
    both = keras.layers.Concatenate()([keras.layers.Dense(3)(a), keras.layers.Conv1D(3, 2, padding="causal")(a), a])
    model = shake(keras.Model([b, a], keras.layers.Dense(2)(keras.layers.GRU(5)(both))))
    converted = check(model, [B, A])
    np.testing.assert_array_equal(converted.predict([B, A]), converted.predict([0.0 * B, A]))


def test_an_input_that_is_an_output_as_well():
    inputs = keras.Input((LENGTH, 2))
    model = shake(keras.Model(inputs, [keras.layers.GRU(3, return_sequences=True)(inputs), inputs]))
    check(model, A)


def test_tokens_are_read_inside_of_nested_models():
    tokens = keras.Input((LENGTH,), dtype="int32")
    deep = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), keras.layers.Embedding(9, 6)], name="deep")
    inner = keras.Model(tokens, keras.layers.Dense(4)(deep(tokens)), name="inner")
    outer = keras.Input((LENGTH,), dtype="int32")
    model = shake(keras.Model(outer, keras.layers.Dense(2)(keras.layers.GRU(5)(inner(outer)))))
    converted = check(model, TOKENS)
    assert converted.program.inputs[0].type == "int32"
    with pytest.raises(ValueError, match="the vocabulary has 9"):
        convert(model, TOKENS + 1)


def test_nested_models_of_several_inputs_and_outputs():
    a, b = keras.Input((LENGTH, 2), name="a"), keras.Input((LENGTH, 3), name="b")
    joined = keras.layers.Concatenate()([a, b])
    outputs = {"q": keras.layers.Dense(4, "tanh")(joined), "p": keras.layers.Dense(3)(joined)}
    inner = keras.Model({"b": b, "a": a}, outputs, name="inner")
    x, y = keras.Input((LENGTH, 3)), keras.Input((LENGTH, 2))
    found = inner({"b": x, "a": y})
    model = shake(keras.Model([x, y], [keras.layers.GRU(4)(found["q"]), keras.layers.GRU(3)(found["p"])]))
    check(model, [B, A])


def test_calls_of_a_shared_model_as_outputs_are_not_mixed_up():
    inputs = keras.Input((LENGTH, 2))
    inner = keras.Model(inputs, keras.layers.GRU(4)(inputs), name="inner")
    x, y = keras.Input((LENGTH, 2)), keras.Input((LENGTH, 2))
    model = shake(keras.Model([x, y], [inner(x), inner(y)]))
    check(model, [A, A[::-1]])


def test_layers_inside_of_others_are_rounded_in_training_as_on_the_device():
    inner = keras.Input((LENGTH, 2))
    nested = keras.Model(inner, keras.layers.Dense(6, "tanh", name="dense")(inner), name="inner")
    each = keras.layers.TimeDistributed(keras.layers.Dense(5, name="dense"), name="each")
    model = shake(keras.Sequential([keras.Input((LENGTH, 2)), nested, each, keras.layers.GRU(4)]))
    aware = quantize_aware(model, A)
    for path, point in (("inner/dense", "output"), ("each/dense", "product")):
        assert isinstance(layer_at(aware, path), QuantizedDense)
        assert point in layer_at(aware, path).ranges
    check(aware, A)
