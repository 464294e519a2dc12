"""Names of layers inside of layers, and copies of models that have such."""

import keras
import numpy as np
import pytest
from conformance import shake
from nested_models import PATHS, nested_model, sequences

from keras_s4.layers import DSS
from keras_s4.surgery.cloning import clone, dss_layers
from keras_s4.surgery.paths import layer_at, layers_by_path


@pytest.fixture(scope="module")
def nested():
    return nested_model()


def outputs_of(model, inputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs))


def test_layers_are_found_in_everything_that_holds_layers(nested):
    found = layers_by_path(nested)
    assert {path: type(found[path]) for path in PATHS} == PATHS
    assert len({id(layer) for layer in found.values()}) == len(found)
    assert list(dss_layers(nested)) == ["outer/middle/block/dss", "dss_alone/step/dss"]
    # Every weight belongs to exactly one of the layers that hold no others.
    leaves = [layer for path, layer in found.items() if not any(other.startswith(f"{path}/") for other in found)]
    assert {id(weight) for layer in leaves for weight in layer.weights} == {id(weight) for weight in nested.weights}
    assert sum(len(layer.weights) for layer in leaves) == len(nested.weights)


def test_an_unknown_path_is_refused_with_those_that_there_are(nested):
    assert layer_at(nested, "outer/behind") is nested.get_layer("outer").get_layer("behind")
    with pytest.raises(ValueError, match=r"has no layer 'outer/head'; it has outer, outer/middle, "):
        layer_at(nested, "outer/head")


def test_a_copy_computes_the_same_with_weights_of_its_own(nested):
    copy = clone(nested, {})
    np.testing.assert_array_equal(outputs_of(copy, sequences()), outputs_of(nested, sequences()))
    assert list(layers_by_path(copy)) == list(layers_by_path(nested))
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in nested.weights}


def test_changes_and_replacements_reach_layers_inside_of_others(nested):
    dense = keras.layers.Dense(8, "linear", name="dense")
    copy = clone(
        nested,
        {"both/forward_gru": {"dropout": 0.25}, "outer/middle/block/dss": {"rate": 2.0}},
        None,
        {"each/dense": dense},
    )
    assert layer_at(copy, "both/forward_gru").dropout == 0.25
    assert layer_at(copy, "both/backward_gru").dropout == 0.0
    assert layer_at(copy, "outer/middle/block/dss").rate == 2.0
    assert layer_at(copy, "each/dense") is dense
    np.testing.assert_array_equal(dense.kernel, layer_at(nested, "each/dense").kernel)


def test_cells_of_one_name_are_told_apart_by_their_places():
    cells = [keras.layers.GRUCell(4, name="cell"), keras.layers.GRUCell(3, name="cell")]
    model = keras.Sequential([keras.Input((12, 5)), keras.layers.RNN(cells, name="rnn")])
    paths = layers_by_path(model)
    assert [paths[f"rnn/{index}"].units for index in (0, 1)] == [4, 3]


def test_what_is_shared_by_two_nested_models_is_shared_in_the_copy():
    shared = keras.layers.Dense(5, name="shared")
    first = keras.Sequential([keras.Input((12, 5)), shared, keras.layers.ReLU()], name="first")
    second = keras.Sequential([keras.Input((12, 5)), keras.layers.LayerNormalization(), shared], name="second")
    model = shake(keras.Sequential([keras.Input((12, 5)), first, second]))
    copy = clone(model, {})
    assert copy.count_params() == model.count_params()
    assert copy.get_layer("first").get_layer("shared") is copy.get_layer("second").get_layer("shared")
    np.testing.assert_array_equal(outputs_of(copy, sequences()), outputs_of(model, sequences()))


class Both(keras.layers.Layer):
    """Gives two tensors, and has an argument at its call."""

    def call(self, inputs, scale=1.0):
        return scale * inputs, inputs + 1.0


def test_a_copy_keeps_states_that_are_handed_over_operations_arguments_and_dicts():
    a, b, start = keras.Input((12, 4), name="a"), keras.Input((12, 5), name="b"), keras.Input((6,), name="start")
    encoded, state = keras.layers.GRU(6, return_state=True)(a)
    decoded = keras.layers.GRU(6, return_sequences=True)(b, initial_state=state)
    other = keras.layers.GRU(6, return_sequences=True)(b, initial_state=start)
    hidden, dss_state = DSS(3, return_state=True)(keras.ops.tanh(a))
    scaled, plus = Both()(decoded + other, scale=2.0)
    outputs = {"scaled": scaled, "plus": plus, "state": state, "dss": dss_state, "hidden": hidden, "b": b}
    model = shake(keras.Model({"start": start, "b": b, "a": a}, outputs | {"encoded": encoded}))
    generator = np.random.default_rng(0)
    data = {
        name: generator.normal(size=(2, *tensor.shape[1:])).astype("float32") for name, tensor in model.input.items()
    }
    expected, found = outputs_of(model, data), outputs_of(clone(model, {}), data)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
