import keras
import keras_tuner
import numpy as np
import pytest
from search_models import matrix_model, windows

from keras_s4.compression import parts_of
from keras_s4.compression.search import RankHyperModel
from keras_s4.compression.search.hypermodel import ranks_to_try
from keras_s4.compression.search.scoring import (
    check_budgets,
    direction_of,
    excess,
    measure_checked,
    score,
    weight_bytes,
)


@pytest.fixture(scope="module")
def model():
    return matrix_model()


class States:
    """A part with the ranks 1 to 64."""

    name, max_rank, choices = "dss", 64, tuple(range(1, 65))


def test_ranks_to_try_are_spread_over_orders_of_magnitude():
    ranks = ranks_to_try(States(), 7)
    assert ranks == (1, 2, 4, 8, 16, 32, 64)
    assert ranks_to_try(States(), 1) == (64,)
    assert ranks_to_try(States(), 1000) == States.choices


def test_ranks_to_try_can_be_given():
    assert ranks_to_try(States(), {"dss": [8, 3, 3]}) == (3, 8)
    assert ranks_to_try(States(), {"other": [1]}) == ranks_to_try(States(), 8)


@pytest.mark.parametrize("choices", [0, {"dss": [65]}, {"dss": []}, {"dss": [1.5]}])
def test_impossible_ranks_are_refused(choices):
    with pytest.raises(ValueError, match="expected"):
        ranks_to_try(States(), choices)


def test_any_tuner_of_keras_tuner_takes_the_hypermodel(model, tmp_path):
    space = RankHyperModel(model, choices=2, learning_rate=0.25)
    tuner = keras_tuner.RandomSearch(space, objective="val_loss", max_trials=1, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search(*windows(8, 0), validation_data=windows(8, 1), epochs=1, verbose=0)
    (found,) = tuner.get_best_hyperparameters()
    ranks, method = space.read_ranks(found)
    assert set(ranks) == set(parts_of(model)) and method == "balanced"
    built = space.build(found)
    assert built.optimizer.iterations == 0
    assert float(built.optimizer.learning_rate) == 0.25
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ("magic",)}, r"methods is \('magic',\); expected one or more of balanced, "),
        ({"methods": ()}, "expected one or more of"),
        ({"choices": {"nothing": [1]}}, "choices names nothing, but the parts are first/kernel"),
    ],
)
def test_impossible_spaces_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        RankHyperModel(model, **arguments)


def test_models_that_cannot_be_trained_are_refused():
    with pytest.raises(ValueError, match="not built yet; train it"):
        RankHyperModel(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="not compiled, so its reduced copies cannot be trained"):
        RankHyperModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))


def test_every_trial_within_the_budgets_scores_below_all_others():
    losses = np.array([-1e6, -1.0, 0.0, 0.3, 1.0, 1e6])
    within = [score(loss, "min", 0.0) for loss in losses]
    over = [score(None, "min", by) for by in (1e-9, 0.01, 1.0, 1e6)]
    assert np.all(np.diff(within + over) > 0)
    assert [score(-loss, "max", 0.0) for loss in losses] == within


def test_near_the_budget_the_score_follows_the_excess():
    assert score(None, "min", 0.02) - score(None, "min", 0.01) == pytest.approx(0.01, rel=0.05)


def test_excess_is_a_fraction_of_each_budget():
    assert excess({"bytes": 150, "ram": 30, "steps": 1}, {"bytes": 100, "ram": 40}) == pytest.approx(0.5)
    assert excess({"bytes": 150, "ram": 60}, {"bytes": 100, "ram": 40}) == pytest.approx(1.0)
    assert excess({"bytes": 100}, {"bytes": 100}) == 0.0


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({}, "budgets is empty; limit one or more of weight_bytes"),
        ({"tflite_bytes": 10}, "limits tflite_bytes, but what is measured is weight_bytes. Give `measure`"),
        ({"weight_bytes": 0}, "weight_bytes=0; expected a positive number"),
        ({"weight_bytes": "20k"}, "expected a positive number"),
    ],
)
def test_impossible_budgets_are_refused(budgets, message):
    with pytest.raises(ValueError, match=message):
        check_budgets(budgets, ["weight_bytes"])


def test_directions_of_metrics():
    assert (direction_of("accuracy"), direction_of("loss")) == ("max", "min")
    with pytest.raises(ValueError, match="give direction"):
        direction_of("luck")


def test_weights_are_counted_without_those_that_only_training_needs():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dropout(0.1), keras.layers.Dense(3)])
    assert weight_bytes(model) == {"weight_bytes": 5 * 3 + 3}


@pytest.mark.parametrize("found", [None, {}, {"bytes": "many"}, {"bytes": float("nan")}])
def test_a_measure_must_give_numbers(found):
    with pytest.raises(ValueError, match="measure returned"):
        measure_checked(lambda model: found, None)


def test_numbers_of_numpy_are_measures():
    assert measure_checked(lambda model: {"bytes": np.int64(3)}, None) == {"bytes": 3}
