"""Whatever is done to models layer by layer is done inside of a user's block as well: as in a functional model."""

import keras
import numpy as np
import pytest
from made_up_block import LENGTH, PLAIN_NAMES, Mixer, functional_twin, model_of_blocks, plain, sequences

import keras_s4
from keras_s4.compression.kept import list_kept_weights
from keras_s4.compression.parts import KINDS, parts_of
from keras_s4.layers import LowRankDense
from keras_s4.streaming import StreamingModel
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.graph import graph_of, walk
from keras_s4.surgery.paths import layer_at, layers_by_path


@pytest.fixture(scope="module")
def blocks():
    return model_of_blocks()


@pytest.fixture(scope="module")
def twin(blocks):
    return functional_twin(blocks)


def check_equal(model, other, rtol=0.0):
    expected = other.predict(sequences(), verbose=0)
    np.testing.assert_allclose(model.predict(sequences(), verbose=0), expected, rtol=0, atol=rtol * np.ptp(expected))


def test_it_computes_what_its_layers_do(blocks, twin):
    check_equal(blocks, twin, 1e-6)


def test_its_graph_is_that_of_its_layers(blocks):
    assert list(layers_by_path(blocks.get_layer("inner")))[:3] == ["both", "both/first", "both/first/dense"]
    nodes = {node.layer.name: [key[0] for key in node.inputs] for node in graph_of(blocks.get_layer("alone")).nodes}
    assert nodes == {
        "dense": ["input"],
        "dss": ["dense"],
        "rectified": ["dss"],
        "gate": ["input"],
        "product": ["rectified", "gate"],
        "total": ["dense", "product"],
    }
    seen = []
    walk(blocks, lambda path, layer, inputs: seen.append(path), [None])
    assert sorted(map(plain, seen)) == sorted(node.layer.name for node in graph_of(functional_twin(blocks)).nodes)


def test_copies_with_other_arguments_and_layers(blocks, tmp_path):
    check_equal(clone(blocks, {}), blocks)
    low_rank = LowRankDense(6, 2, activation="tanh", name="dense")
    copy = clone(blocks, {"alone/dss": {"rate": 2.0}}, replacements={"inner/both/second/dense": low_rank})
    assert layer_at(copy, "alone/dss").rate == 2.0 and layer_at(copy, "inner/both/first/dss").rate == 1.0
    assert layer_at(copy, "inner/both/second/dense") is low_rank
    assert isinstance(copy.get_layer("alone"), Mixer)
    assert [weight.shape for weight in blocks.get_layer("alone").weights] == [
        weight.shape for weight in copy.get_layer("alone").weights
    ]
    copy.save(tmp_path / "copy.keras")
    check_equal(keras.models.load_model(tmp_path / "copy.keras"), copy)
    check_equal(clone(copy, {}), copy)


def test_parts_and_what_is_kept_are_those_of_its_layers(blocks, twin):
    parts, expected = (parts_of(model, KINDS, sequences()) for model in (blocks, twin))
    assert [plain(name) for name in parts] == list(expected)
    for name, part in parts.items():
        np.testing.assert_allclose(part.spectrum, expected[plain(name)].spectrum, rtol=1e-4, atol=1e-6)
    kept = [(plain(item.name), item.reason, item.flash) for item in list_kept_weights(blocks, parts)]
    assert kept == [(item.name, item.reason, item.flash) for item in list_kept_weights(twin, expected)]


def ranks_of(model):
    return {name: part.choices[0] for name, part in parts_of(model, KINDS).items()}


def test_it_is_reduced_and_its_error_is_bounded(blocks, twin, tmp_path):
    reduced, expected = (keras_s4.reduce(model, ranks_of(model)) for model in (blocks, twin))
    check_equal(reduced, expected, 1e-5)
    assert reduced.count_params() == expected.count_params() < blocks.count_params()
    bound, of_twin = (
        keras_s4.error_bound(blocks, reduced, sequences()),
        keras_s4.error_bound(twin, expected, sequences()),
    )
    assert np.all(bound.measured <= bound.bound)
    np.testing.assert_allclose(bound.bound, of_twin.bound, rtol=1e-4)
    assert {plain(name) for name in bound.layers} == set(of_twin.layers)
    reduced.save(tmp_path / "reduced.keras")
    check_equal(keras.models.load_model(tmp_path / "reduced.keras"), reduced)


def test_another_rate_reaches_it(blocks, twin):
    with pytest.raises(ValueError, match="'inner' is a model inside the model"):
        keras_s4.at_rate(blocks, 2.0)
    inputs = keras.Input((LENGTH, 3))
    model = keras.Model(inputs, Mixer(6, name="block")(inputs))
    slower = keras_s4.at_rate(model, 2.0)
    assert layer_at(slower, "block/dss").rate == 2.0 and slower.output_shape == (None, LENGTH // 2, 6)
    counting = keras.Model(inputs, Mixer(6, sublayers={"gate": keras.layers.GRU(6, return_sequences=True)})(inputs))
    with pytest.raises(ValueError, match=r"'gate' \(GRU\) counts its memory in samples"):
        keras_s4.at_rate(counting, 2.0)


def test_a_stream_of_it_is_the_model(blocks):
    streamed = StreamingModel(blocks).predict(sequences())[:, -1]
    expected = blocks.predict(sequences(), verbose=0)
    np.testing.assert_allclose(streamed, expected, rtol=0, atol=1e-4 * np.ptp(expected))


def test_its_program_is_that_of_its_layers(blocks, twin):
    converted, expected = (keras_s4.tflite.convert(model, sequences()) for model in (blocks, twin))
    np.testing.assert_array_equal(
        converted.predict(sequences(), engine="emulator"), expected.predict(sequences(), engine="emulator")
    )
    names = {tensor.name for tensor in converted.program.tensors()}
    assert {f"{start}dense/product" for start in PLAIN_NAMES} <= names


def test_what_each_of_its_layers_loses_is_told(blocks, twin):
    from keras_s4.tflite.analysis.layers import layer_ratios

    ratios, expected = (
        layer_ratios(keras_s4.tflite.convert(model, sequences()), model, sequences()) for model in (blocks, twin)
    )
    ratios = {plain(path): ratio for path, ratio in ratios.items()}
    assert {"alone_dense", "first_gate", "second_total", "head"} <= set(ratios)
    for path, ratio in expected.items():
        if not path.endswith("_dss"):  # in a block what an activation alone reads may be clipped
            np.testing.assert_allclose(ratios[path], ratio, rtol=0, atol=0.1, err_msg=path)


def test_it_is_trained_on_the_grids_of_the_device(blocks, twin):
    pytest.importorskip("tensorflow_model_optimization")
    aware, expected = (keras_s4.quantize_aware(model, sequences()) for model in (blocks, twin))
    for path in ("alone/dense", "inner/both/second/gate"):
        layer, of_twin = layer_at(aware, path), expected.get_layer(plain(path))
        assert type(layer) is type(of_twin) and layer.ranges == of_twin.ranges
    check_equal(aware, expected, 1e-5)
    programs = [keras_s4.tflite.convert(model, sequences()) for model in (aware, expected)]
    integers = [program.predict(sequences(), engine="emulator") for program in programs]
    np.testing.assert_array_equal(*integers)
