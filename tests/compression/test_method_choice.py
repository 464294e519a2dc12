"""The method of reduction by measured error: that of the outputs on data, or of kernels."""

import itertools
import json

import keras
import numpy as np
import pytest
from conformance import shake

import keras_s4
from keras_s4.compression import choose_methods, parts_of
from keras_s4.compression.layer_states import CANDIDATES
from keras_s4.compression.method_choice import KERNELS, OUTPUTS
from keras_s4.compression.output_error import OutputError
from keras_s4.compression.padded import PaddedModel
from keras_s4.layers import DSS, S4Block

RANK = 2


@pytest.fixture(scope="module")
def windows():
    """Sequences with most of their power at low frequencies, of which input-weighted truncation knows."""
    steps = np.random.default_rng(1).normal(size=(24, 40, 3))
    return (0.3 * np.cumsum(steps, axis=1)).astype("float32")


@pytest.fixture(scope="module")
def outputs(trained_classifier, windows):
    """Of the model, by a call of its own."""
    return logits(trained_classifier, windows)


@pytest.fixture(scope="module")
def chosen(trained_classifier, windows):
    """The model reduced by the methods of its choice."""
    return keras_s4.reduce(trained_classifier, RANK, "auto", data=windows)


def logits(model, data):
    """In front of the softmax, but for what all classes have in common."""
    outputs = np.log(np.asarray(model(data, training=False), np.float64))
    return outputs - outputs.mean(axis=1, keepdims=True)


def distance(expected, reduced, data):
    """The relative error of a model's logits."""
    found = logits(reduced, data)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_errors_are_those_of_the_models_that_reduce_makes(trained_classifier, windows, outputs, chosen):
    choice = chosen.method_choice
    assert choice.of == OUTPUTS and list(choice.one_for_all) == list(CANDIDATES)
    for method, error in choice.one_for_all.items():
        reduced = keras_s4.reduce(trained_classifier, RANK, method, data=windows)
        assert error == pytest.approx(distance(outputs, reduced, windows), rel=1e-3)
    assert choice.error == pytest.approx(distance(outputs, chosen, windows), rel=1e-3)


def test_nothing_that_was_measured_is_better_than_what_is_chosen(chosen):
    choice = chosen.method_choice
    assert choice.error <= min(choice.one_for_all.values())
    for name, errors in choice.layers.items():
        assert choice.error == min(errors.values()) == errors[choice.methods[name]]


def test_of_two_layers_the_best_pair_is_hardly_better(trained_classifier, windows, outputs, chosen):
    """All 36 pairs; the search over single layers tries some of them."""
    names = list(chosen.method_choice.methods)
    pairs = [dict(zip(names, pair, strict=True)) for pair in itertools.product(CANDIDATES, repeat=2)]
    padded = PaddedModel(trained_classifier, parts_of(trained_classifier, data=windows))
    errors = [distance(outputs, padded.at(dict.fromkeys(names, RANK), methods), windows) for methods in pairs]
    assert chosen.method_choice.error == pytest.approx(min(errors), rel=0.02)


def test_methods_by_part_make_the_same_model_again(trained_classifier, windows, chosen):
    methods = json.loads(json.dumps(chosen.method_choice.figures()))["methods"]
    again = keras_s4.reduce(trained_classifier, RANK, methods, windows)
    for one, other in zip(again.weights, chosen.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_chosen_model_is_saved_and_loaded(chosen, windows, tmp_path):
    chosen.save(tmp_path / "reduced.keras")
    loaded = keras.saving.load_model(tmp_path / "reduced.keras")
    np.testing.assert_array_equal(np.asarray(loaded(windows)), np.asarray(chosen(windows)))


def test_without_data_kernels_decide_over_the_steps_of_the_model(trained_classifier):
    choice = keras_s4.reduce(trained_classifier, RANK, "auto").method_choice
    assert choice.of == KERNELS and set(choice.left_out) == {"input_weighted"}
    for name, part in parts_of(trained_classifier).items():
        kernel = part.system.impulse_response(40)
        errors = {
            method: np.linalg.norm(part.truncate(RANK, method).system.impulse_response(40) - kernel)
            / np.linalg.norm(kernel)
            for method in CANDIDATES
            if method != "input_weighted"
        }
        assert choice.layers[name] == pytest.approx(errors)
        assert choice.methods[name] == min(errors, key=errors.get)


def test_short_sequences_call_for_the_finite_horizon_and_open_ones_for_h2():
    keras.utils.set_random_seed(3)
    layer = DSS(16, per_channel_poles=True)
    short = keras.Sequential([keras.Input((12, 2)), layer])
    shake(short)
    open_ended = keras.Sequential([keras.Input((None, 2)), layer])
    (method,) = choose_methods(short, 4).methods.values()
    assert method == "finite_horizon"
    choice = choose_methods(open_ended, 4)
    assert [*choice.methods.values()] == ["h2"]
    assert choice.left_out == {
        "finite_horizon": "its horizon is not known",
        "input_weighted": "its power_spectrum is not known",
    }
    assert "finite_horizon" in choose_methods(open_ended, 4, horizon=12).one_for_all
    part = parts_of(open_ended)[layer.name]
    error = part.truncate(4, "h2").h2_error
    assert choice.error == pytest.approx(np.linalg.norm(error) / np.linalg.norm(part.system.h2_norm()))


def test_a_layer_behind_strides_knows_its_own_steps():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((40, 3)), keras.layers.Conv1D(4, 4, strides=4), S4Block(4, name="block")])
    assert parts_of(model)["block/dss"].length == 10
    open_ended = keras.Sequential([keras.Input((None, 3)), keras.layers.Conv1D(4, 4, strides=4), S4Block(4, name="b")])
    assert parts_of(open_ended)["b/dss"].length is None
    assert parts_of(open_ended, data=np.ones((2, 24, 3), "float32"))["b/dss"].length == 6


def test_layer_errors_are_those_of_its_outputs_on_its_inputs():
    """The power spectrum stands for sequences that end, with what rings on behind them."""
    keras.utils.set_random_seed(5)
    layer = DSS(8, per_channel_poles=True)
    model = keras.Sequential([keras.Input((64, 2)), layer])
    shake(model)
    data = np.cumsum(np.random.default_rng(0).normal(size=(50, 64, 2)), axis=1).astype("float32")
    part = parts_of(model, data=data)[layer.name]
    reduced = part.truncate(3, "balanced").system
    ended = np.concatenate([data, np.zeros_like(data)], axis=1).astype(np.float64).transpose(0, 2, 1)
    kernels = (
        np.pad(system.impulse_response(64), ((0, 0), (0, 64))) for system in (part.system - reduced, part.system)
    )
    powers = [
        np.sum(np.fft.irfft(np.fft.rfft(ended, axis=2) * np.fft.rfft(kernel, axis=1), 128, axis=2) ** 2)
        for kernel in kernels
    ]
    assert part.relative_error(reduced) == pytest.approx(np.sqrt(powers[0] / powers[1]))
    best = part.truncate(3, "auto")
    assert part.relative_error(best.system) == min(
        part.relative_error(part.truncate(3, method).system) for method in CANDIDATES
    )


def test_several_inputs_and_outputs_and_matrices_beside_states():
    keras.utils.set_random_seed(2)
    left, right = keras.Input((20, 2), name="left"), keras.Input((20, 2), name="right")
    joined = S4Block(6, name="block")(keras.layers.Concatenate()([left, right]))
    outputs = [keras.layers.Dense(3, name="steps")(joined), keras.layers.GlobalAveragePooling1D(name="mean")(joined)]
    model = shake(keras.Model([left, right], outputs))
    random = np.random.default_rng(0)
    data = [random.normal(size=(6, 20, 2)).astype("float32") for _ in range(2)]
    ranks = {"block/dss": 2, "block/value/kernel": 1}
    reduced = keras_s4.reduce(model, ranks, "auto", data)
    pairs = zip(map(np.asarray, reduced(data)), map(np.asarray, model(data)), strict=True)
    squares = [np.sum((found - expected) ** 2) / np.sum(expected**2) for found, expected in pairs]
    assert reduced.method_choice.error == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-3)


def test_masked_steps_do_not_count():
    keras.utils.set_random_seed(2)
    layers = [keras.Input((12, 2)), keras.layers.Masking(), DSS(4, per_channel_poles=True)]
    model = shake(keras.Sequential(layers))
    data = np.random.default_rng(0).normal(size=(4, 12, 2)).astype("float32")
    data[:, 5:] = 0.0
    found = keras_s4.reduce(model, 1, "auto", data)
    expected, outputs = (np.asarray(each(data))[:, :5] for each in (model, found))
    error = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
    assert found.method_choice.error == pytest.approx(error, rel=1e-3)


def test_states_that_are_carried_begin_anew_for_every_candidate():
    keras.utils.set_random_seed(2)
    model = shake(keras.Sequential([keras.Input(batch_shape=(4, 12, 2)), DSS(4, stateful=True, name="dss")]))
    data = np.random.default_rng(0).normal(size=(8, 12, 2)).astype("float32")
    assert OutputError(model, data)(model) == 0.0
    choice = choose_methods(model, 2, data)
    assert choice.error == min(choice.one_for_all.values()) < 1.0


def test_models_without_states_and_full_ranks_have_nothing_to_choose(trained_classifier, dense_model, windows):
    assert keras_s4.reduce(dense_model, 1, "auto").method_choice.methods == {}
    whole = keras_s4.reduce(trained_classifier, 6, "auto", data=windows)
    assert whole.method_choice.figures()["error"] == 0.0
    str(whole.method_choice)


def test_table_marks_what_is_chosen(chosen):
    rows = str(chosen.method_choice).splitlines()
    for name, method in chosen.method_choice.methods.items():
        assert any(name in row for row in rows)
        assert any(method in row and "*" in row for row in rows)
    assert any(row.strip("│ ").startswith("chosen") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "best"}, "method='best'; expected one of .*'modal', 'auto'"),
        ({"method": "auto", "order": 3}, "Received order for method 'auto'; the options of its methods are iterations"),
        ({"method": "auto", "data": np.ones((4, 39, 3))}, r"takes data of shape \[B, 40, 3\]"),
        ({"method": "auto", "data": np.full((4, 40, 3), np.nan)}, "480 NaN"),
        ({"method": {"block_9/dss": "h2"}}, "reduce got methods for block_9/dss; the parts are block_1/dss, block_2"),
        ({"method": {"block_1/dss": "auto"}}, "for part 'block_1/dss' the method 'auto'; expected one of 'balanced'"),
        ({"method": {"block_1/dss": "h2"}, "order": 3}, "Received order"),
        ({"method": "auto", "horizon": 0}, "horizon=0"),
    ],
)
def test_refusals(trained_classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_s4.reduce(trained_classifier, RANK, **arguments)


def test_no_finite_output_is_refused(windows):
    model = keras.Sequential([keras.Input((40, 3)), DSS(4, name="dss"), keras.layers.Lambda(lambda x: x * np.inf)])
    with pytest.raises(ValueError, match=r"no method for which model .* gives finite outputs"):
        keras_s4.reduce(model, 2, "auto", data=windows)


def test_rank_tuning_tells_the_methods_that_it_measured_with(trained_classifier, windows, outputs):
    tuned = {
        rebuild: keras_s4.rank_tuning(
            trained_classifier,
            lambda model: -distance(outputs, model, windows),
            target=-0.2,
            parts={"block_2/dss": parts_of(trained_classifier, data=windows)["block_2/dss"]},
            data=windows,
            method="auto",
            rebuild=rebuild,
            progress=False,
        )
        for rebuild in (False, True)
    }
    assert tuned[False].ranks == tuned[True].ranks and tuned[False].ranks["block_2/dss"] < 6
    reduced = keras_s4.reduce(trained_classifier, tuned[False].ranks, tuned[False].methods, windows)
    assert -distance(outputs, reduced, windows) == pytest.approx(tuned[False].joint.metric, rel=1e-3)
    assert json.loads(json.dumps(tuned[False].figures()))["methods"] == tuned[False].methods
