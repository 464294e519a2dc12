"""Parts inside of other layers: found, measured, reduced, counted; and what is no part is named."""

import keras
import numpy as np
import pytest
from conformance import shake
from nested_models import nested_model, sequences

import keras_s4
from keras_s4 import ranks
from keras_s4.compression.budgets import flash_outside
from keras_s4.compression.callbacks import HardLowRank, weight_matrices
from keras_s4.compression.kept import VECTORS, list_kept_weights
from keras_s4.compression.matrices import matrix_layers, owner_of
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.parts import KINDS, parts_of
from keras_s4.layers import LowRankDense, LowRankGRU, LowRankGRUCell, LowRankLSTMCell
from keras_s4.surgery.cloning import clone
from keras_s4.surgery.layer_inputs import measure, moment_of
from keras_s4.surgery.paths import layer_at

SHAPES = {
    "between/kernel": (6, 5),
    "outer/middle/deep/dense/kernel": (5, 7),
    "outer/middle/block/dss": (7, 3),
    "outer/middle/block/value/kernel": (7, 7),
    "outer/middle/block/gate/kernel": (7, 7),
    "outer/behind/kernel": (7, 6),
    "each/dense/kernel": (6, 8),
    "both/forward_gru/kernel": (8, 12),
    "both/forward_gru/recurrent_kernel": (4, 12),
    "both/backward_gru/kernel": (8, 12),
    "both/backward_gru/recurrent_kernel": (4, 12),
    "alone/cell/kernel": (8, 18),
    "alone/cell/recurrent_kernel": (6, 18),
    "stack/first/kernel": (6, 24),
    "stack/first/recurrent_kernel": (6, 24),
    "stack/second/kernel": (6, 5),
    "stack/second/recurrent_kernel": (5, 5),
    "dss_alone/step/dss": (5, 3),
    "head/kernel": (5, 3),
}


@pytest.fixture(scope="module")
def nested():
    return nested_model()


@pytest.fixture(scope="module")
def parts(nested):
    return parts_of(nested, KINDS)


def outputs_of(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs))


def test_every_matrix_and_every_state_is_a_part(parts):
    assert {name: part.shape for name, part in parts.items()} == SHAPES
    for name, part in parts.items():
        if part.kind == "matrix":
            np.testing.assert_allclose(part.spectrum, np.linalg.svd(part.matrix, compute_uv=False), err_msg=name)


def test_reducing_replaces_the_layer_inside_and_computes_what_numpy_truncates(nested, parts):
    chosen = {name: 2 for name, part in parts.items() if part.kind == "matrix" and 2 in part.choices}
    reduced = keras_s4.reduce(nested, chosen)
    kinds = {
        "outer/middle/deep/dense": LowRankDense,
        "outer/middle/block/value": LowRankDense,
        "each/dense": LowRankDense,
        "both/forward_gru": LowRankGRU,
        "both/backward_gru": LowRankGRU,
        "alone/cell": LowRankGRUCell,
        "stack/first": LowRankLSTMCell,
    }
    assert {path: type(layer_at(reduced, path)) for path in kinds} == kinds
    saved = sum(parts[name].cost(parts[name].max_rank).flash - parts[name].cost(2).flash for name in chosen)
    assert nested.count_params() - reduced.count_params() == saved > 0

    expected = clone(nested, {})
    for name in chosen:
        path, _, matrix_name = name.rpartition("/")
        weight = getattr(owner_of(layer_at(expected, path)), matrix_name)
        left, values, right = np.linalg.svd(np.asarray(weight, float), full_matrices=False)
        weight.assign((left[:, :2] * values[:2]) @ right[:2])
    truncated = outputs_of(expected, sequences())
    assert np.abs(truncated - outputs_of(nested, sequences())).max() > 0.1 * np.abs(truncated).max()
    np.testing.assert_allclose(outputs_of(reduced, sequences()), truncated, rtol=0, atol=1e-5)


def test_reduced_and_padded_models_agree_in_all_kinds_of_parts(nested, parts, tmp_path):
    lowest = {name: part.choices[0] for name, part in parts.items()}
    reduced = keras_s4.reduce(nested, lowest)
    padded = PaddedModel(nested, parts).at(lowest)
    found = outputs_of(reduced, sequences())
    np.testing.assert_allclose(outputs_of(padded, sequences()), found, rtol=0, atol=1e-5)
    assert layer_at(reduced, "outer/middle/block/dss").state_size == 1
    assert layer_at(reduced, "dss_alone/step/dss").state_size == 1
    reduced.save(tmp_path / "reduced.keras")
    again = keras.models.load_model(tmp_path / "reduced.keras")
    np.testing.assert_array_equal(outputs_of(again, sequences()), found)
    assert layer_at(again, "both/forward_gru").ranks == {"kernel": 1, "recurrent_kernel": 1}


def mean_of_squares(rows):
    rows = np.asarray(rows, float).reshape(-1, np.shape(rows)[-1])
    return rows.T @ rows / len(rows)


def test_cells_are_measured_at_their_own_steps():
    """Of a stack the second cell receives the outputs of the first, from a masked sequence only at real steps."""
    data = sequences(3)
    data[0, 8:] = data[2, 3] = 0.0
    mask = np.any(data != 0.0, axis=2)
    cells = [keras.layers.LSTMCell(4, name="first"), keras.layers.GRUCell(3, name="second")]
    stack = keras.layers.RNN(cells, go_backwards=True, name="stack")
    model = shake(keras.Sequential([keras.Input((12, 5)), keras.layers.Masking(), stack]))
    received = {name: [] for name in ("first", "first state", "second", "second state")}
    for sequence, valid in zip(data, mask, strict=True):
        states = [cell.get_initial_state(1) for cell in cells]
        states = [list(state) if isinstance(state, (list, tuple)) else [state] for state in states]
        for t in reversed(np.flatnonzero(valid)):
            values = sequence[None, t]
            for index, cell in enumerate(cells):
                received[cell.name].append(np.asarray(values)[0])
                received[f"{cell.name} state"].append(np.asarray(states[index][0])[0])
                values, states[index] = cell(values, states[index])
    meters = {path: moment_of(layer) for path, layer in matrix_layers(model).items()}
    measure(model, meters, data)
    assert list(meters) == ["stack/first", "stack/second"]
    for path, meter in meters.items():
        name = path.removeprefix("stack/")
        np.testing.assert_allclose(meter.values["kernel"], mean_of_squares(received[name]), rtol=0, atol=1e-6)
        expected = mean_of_squares(received[f"{name} state"])
        np.testing.assert_allclose(meter.values["recurrent_kernel"], expected, rtol=0, atol=1e-6)


def test_a_recurrent_layer_is_measured_from_the_state_that_it_is_handed():
    inputs, start = keras.Input((12, 5)), keras.Input((4,))
    model = shake(keras.Model([inputs, start], keras.layers.SimpleRNN(4, name="rnn")(inputs, initial_state=[start])))
    data, first = sequences(3), np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    meter = moment_of(model.get_layer("rnn"))
    measure(model, {"rnn": meter}, [data, first])
    cell, states, state = model.get_layer("rnn").cell, [], first
    for t in range(12):
        states.append(np.asarray(state))
        state, _ = cell(data[:, t], [state])
    np.testing.assert_allclose(meter.values["recurrent_kernel"], mean_of_squares(states), rtol=0, atol=1e-6)


def test_data_reaches_both_directions_and_the_dss_layer_inside_a_cell(nested):
    data = sequences(20)
    weighted, plain = parts_of(nested, KINDS, data), parts_of(nested, KINDS)
    for name, part in weighted.items():
        assert np.all(np.isfinite(part.spectrum)) and part.spectrum[0] > 0.0
        assert not np.allclose(part.spectrum, plain[name].spectrum, rtol=1e-3), name
    # A DSS layer in a loop receives what the same layer alone would.
    cell = layer_at(nested, "dss_alone/step")
    before = keras.Model(nested.input, nested.get_layer("dss_alone").input)
    signal = keras.Input((12, 5))
    alone = keras.Model(signal, cell.layer(signal))
    expected = parts_of(alone, data=outputs_of(before, data))[cell.layer.name].power_spectrum
    np.testing.assert_allclose(weighted["dss_alone/step/dss"].power_spectrum, expected, rtol=1e-5, atol=1e-9)


def test_bytes_of_parts_and_of_what_is_kept_are_those_of_the_whole_model(nested):
    for kinds in (None, "matrix", KINDS):
        chosen = parts_of(nested, kinds)
        kept = list_kept_weights(nested, chosen)
        assert sum(item.flash for item in kept) == flash_outside(nested, chosen)
    names = [item.name for item in list_kept_weights(nested, parts_of(nested))]
    assert set(names) == {name for name in SHAPES if not name.endswith("dss")} | {VECTORS}
    least = flash_outside(nested, chosen) + sum(part.cost(part.choices[0]).flash for part in chosen.values())
    with pytest.raises(ValueError, match=rf"already takes {least} .*, {flash_outside(nested, chosen)} of them outside"):
        ranks.budget(nested, flash=least - 1, parts=chosen)
    found = ranks.budget(nested, flash=least, parts=chosen)
    assert found == {name: part.choices[0] for name, part in chosen.items()}


class Own(keras.layers.Dense):
    """Nothing says what it does with its kernel."""


def test_what_is_no_part_is_named_with_its_reason_and_its_bytes():
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            keras.layers.Embedding(20, 8, name="words"),
            keras.layers.SeparableConv1D(6, 3, name="separable"),
            keras.layers.DepthwiseConv1D(3, name="depthwise"),
            keras.layers.Conv1D(6, 3, groups=2, name="grouped"),
            keras.layers.Dense(9, name="dense"),
            Own(5, name="own"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1, name="head"),
        ]
    )
    spectrum = keras_s4.spectrum(model)
    assert list(spectrum.parts) == ["dense/kernel"]
    kept = {item["name"]: (item["bytes"], item["reason"]) for item in spectrum.figures()["kept as they are"]}
    expected = {
        "words/embeddings": (160, "a table is looked up"),
        "separable/depthwise_kernel": (24, "no depthwise or separable convolutions of low rank"),
        "separable/pointwise_kernel": (48, "no depthwise or separable convolutions of low rank"),
        "depthwise/kernel": (18, "no depthwise or separable convolutions of low rank"),
        "grouped/kernel": (54, "a Conv1D that has groups"),
        "own/kernel": (45, "Own is a class of its own"),
        "head/kernel": (5, "no rank of it takes less than the matrix"),
        VECTORS: (4 * (6 + 6 + 6 + 9 + 5 + 1), "have no rank"),
    }
    assert list(kept) == list(expected)
    for name, (flash, reason) in expected.items():
        assert kept[name][0] == flash and reason in kept[name][1], name
    text = " ".join(str(spectrum).split())
    assert "separable/depthwise_kernel, separable/pointwise_kernel, depthwise/kernel: 90 bytes" in text


def test_weights_inside_of_what_stays_are_told_apart():
    inputs = keras.Input((12, 8))
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dense(8, name="head")(attended))
    names = [item["name"] for item in keras_s4.spectrum(model, "matrix").figures()["kept as they are"]]
    kernels = ("query", "key", "value", "attention_output")
    assert names == [*(f"attention/{part}/kernel" for part in kernels), VECTORS]


def test_callbacks_reach_matrices_inside_of_others(nested):
    model = clone(nested, {})
    matrices = weight_matrices(model)
    assert set(matrices) == {name for name in SHAPES if not name.endswith("dss")}
    callback = HardLowRank({"each/dense/kernel": 2, "stack/first/recurrent_kernel": 3})
    callback.set_model(model)
    callback.on_train_begin()
    callback.project()
    for name, rank in callback.ranks.items():
        assert np.linalg.matrix_rank(np.asarray(matrices[name]), 1e-5) == rank
