import functools

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4.compression.search import search
from keras_s4.tflite import measure


def test_measures_are_those_of_the_exported_file(converted, reduced_model, windows):
    manifest = converted.manifest
    assert measure(reduced_model, windows[0]) == {
        "tflite_bytes": len(converted.tflite),
        "arena_bytes": manifest["arena_bytes"],
        "multiply_accumulates": manifest["multiply_accumulates_per_step"],
        "operators": sum(manifest["operator_counts"].values()),
    }


def test_a_few_windows_measure_nearly_the_same(reduced_model, windows):
    few, all_of_them = (measure(reduced_model, data) for data in (windows[0][:4], windows[0]))
    for name, value in few.items():
        assert value == pytest.approx(all_of_them[name], rel=0.01)


def test_a_lower_rank_takes_less(trained_model, reduced_model, windows):
    large, small = (measure(model, windows[0][:4]) for model in (trained_model, reduced_model))
    for name in ("tflite_bytes", "multiply_accumulates"):
        assert small[name] < large[name]
    # The arena is measured to 16 bytes, and the largest operation may be one without states.
    assert small["arena_bytes"] <= large["arena_bytes"] + 16


def test_a_search_keeps_to_a_budget_on_the_exported_file(trained_model, windows, test_windows, tmp_path):
    data = windows[0][:4]
    budget = measure(keras_s4.reduce(trained_model, 4), data)["tflite_bytes"]
    model = keras.models.clone_model(trained_model)
    model.set_weights(trained_model.get_weights())
    # Eager, as its trials then are: a graph takes longer to trace than to run over these windows.
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    found = search(
        model, *windows, validation_data=test_windows, folder=tmp_path, tuner="grid", trials=None,
        choices={"block_1/dss": (2, 8), "block_2/dss": (4,)}, retrain=lambda model, epochs: None,
        measure=functools.partial(measure, representative_data=data), budgets={"tflite_bytes": budget},
    )  # fmt: skip
    assert found.measured_by == "measure"
    feasible = {tuple(trial.ranks.values()): trial.feasible for trial in found.trials}
    assert feasible == {(2, 4): True, (8, 4): False}
    best = found.best_model()
    assert measure(best, data) == found.best.measures
    assert found.best.measures["tflite_bytes"] <= budget


def test_a_model_that_cannot_be_exported_is_searched_by_its_weights(tmp_path):
    layers = [keras.layers.GRU(4, recurrent_activation="tanh"), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((6, 4)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    x, y = np.random.default_rng(0).normal(size=(8, 6, 4)), np.arange(8) % 2
    with pytest.warns(UserWarning, match="The search measures weight_bytes"):
        found = search(
            model, x, y, validation_data=(x, y), folder=tmp_path, tuner="random", trials=1,
            retrain=lambda model, epochs: None, measure=functools.partial(measure, representative_data=x),
        )  # fmt: skip
    assert found.measured_by == "weights"
    assert found.original.measures == {"weight_bytes": model.count_params()}
