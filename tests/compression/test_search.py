import errno
import json
import os

import keras
import numpy as np
import pytest
from search_models import matrix_model, no_training, state_model, windows

from keras_s4.compression.search import SearchResult, Trial, search
from keras_s4.compression.search.trials import TrialFolder, trial_name

DATA = {"validation_data": windows(16, 1)}
TRIAL = {
    "ranks": {"dss": 2}, "method": "balanced", "epochs": 1, "metric": 0.5, "measures": {"weight_bytes": 9},
    "excess": 0.0, "seconds": 1.0, "finished": 2.0, "error": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return state_model()


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    """All four choices of two parts; the largest is over the budget."""
    seen = []
    result = search(
        model, *windows(32, 0), **DATA, folder=tmp_path_factory.mktemp("search"), tuner="grid", trials=None, epochs=1,
        choices={"block_1/dss": (1, 3), "block_2/dss": (1, 2)}, budgets={"weight_bytes": 205}, on_trial=seen.append,
    )  # fmt: skip
    assert tuple(seen) == result.trials
    return result


@pytest.mark.parametrize("name", ["search.json", "pareto.png"])
def test_files_that_no_search_has_written_stay(model, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"holds {name}, which no search has written there"):
        search(model, *windows(32, 0), **DATA, folder=tmp_path, tuner="grid", trials=None, epochs=1)
    assert (tmp_path / name).read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_every_combination_is_trained_unless_it_is_over_the_budget(found):
    assert {tuple(trial.ranks.values()) for trial in found.trials} == {(1, 1), (1, 2), (3, 1), (3, 2)}
    for trial in found.trials:
        over = trial.measures["weight_bytes"] > 205
        assert trial.feasible == (not over) == (trial.metric is not None)
        assert trial.excess == pytest.approx(max(0.0, trial.measures["weight_bytes"] / 205 - 1))
    assert {trial.feasible for trial in found.trials} == {True, False}


def test_models_of_trials_are_what_was_measured(found, model):
    front = found.pareto()
    assert front
    for trial in front:
        reduced = found.best_model(trial)
        assert reduced.evaluate(*DATA["validation_data"], verbose=0, return_dict=True)["accuracy"] == trial.metric
        assert reduced.count_params() == trial.measures["weight_bytes"]
        assert reduced.optimizer.iterations == 1


def test_the_original_is_measured_but_no_trial(found, model):
    assert found.original.metric == pytest.approx(model.evaluate(*DATA["validation_data"], verbose=0)[1])
    assert found.original.ranks == {"block_1/dss": 4, "block_2/dss": 4}
    assert found.original not in found.trials


def test_files_tell_the_result(found):
    written = json.loads((found.folder / "search.json").read_text())
    assert written == json.loads(json.dumps(found.figures()))
    assert written["settings"]["measured_by"] == "weights"
    assert "measured by weights" in (found.folder / "search.txt").read_text()
    assert (found.folder / "pareto.svg").read_text().startswith("<?xml")
    assert (found.folder / "pareto.png").read_bytes()[1:4] == b"PNG"
    assert SearchResult.read(found.folder).trials == found.trials


def test_another_search_is_refused_in_the_folder(found, model):
    with pytest.raises(ValueError, match=r"holds the trials of another search with tuner='grid', .*tuner='random'"):
        search(model, *windows(32, 0), **DATA, folder=found.folder, tuner="random")


def result_of(points, direction="max", budgets=None):
    """A result with the given (metric, cost) pairs; a cost above 100 is over the budget."""
    settings = {"metric": "accuracy", "direction": direction, "budgets": budgets or {}, "measured_by": "measure"}
    trials = [
        Trial({"dss": rank}, "balanced", 1, metric, {"bytes": cost}, max(0.0, cost / 100 - 1), 1.0, float(rank))
        for rank, (metric, cost) in enumerate(points, start=1)
    ]
    original = Trial({"dss": 99}, "", 0, 0.9, {"bytes": 500}, 4.0, 0.0, 0.0)
    return SearchResult(None, settings, original, tuple(trials))


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_front_is_what_no_other_trial_beats(direction):
    random = np.random.default_rng(3)
    points = list(zip(random.random(40).tolist(), random.integers(1, 140, 40).tolist(), strict=True))
    result = result_of(points, direction)
    sign = 1 if direction == "max" else -1
    within = [point for point in points if point[1] <= 100]
    expected = {
        (metric, cost)
        for metric, cost in within
        if not any(
            (sign * other >= sign * metric and price < cost) or (sign * other > sign * metric and price <= cost)
            for other, price in within
        )
    }
    front = [(trial.metric, trial.measures["bytes"]) for trial in result.pareto("bytes")]
    assert set(front) == expected and len(front) == len(expected) > 2
    assert front == sorted(front, key=lambda point: point[1])
    assert (result.best.metric, result.best.measures["bytes"]) == max(within, key=lambda point: sign * point[0])


def test_of_equal_metrics_the_cheaper_is_best():
    assert result_of([(0.5, 20), (0.5, 10), (0.5, 30)]).best.measures == {"bytes": 10}


def test_without_a_trial_within_the_budgets_the_nearest_is_named():
    result = result_of([(None, 300), (None, 150)], budgets={"bytes": 100})
    with pytest.raises(ValueError, match=r"None of 2 trials is within bytes=100. The nearest, dss=2, takes bytes=150"):
        _ = result.best
    assert result.pareto() == [] and result.figures()["best"] is None
    assert "over by 50%" in str(result)


def test_the_figure_shows_front_budget_and_original():
    figure = result_of([(0.5, 20), (0.4, 30), (0.7, 90), (0.8, 150)], budgets={"bytes": 100}).figure()
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    assert list(lines["front"]) == [20, 90]
    assert list(lines["other trials"]) == [30]
    assert list(lines["over a budget"]) == [150]
    assert list(lines["before the reduction"]) == [500]
    assert "budget: 100" in lines


def test_unknown_costs_are_refused():
    with pytest.raises(ValueError, match="cost is 'ram'; measured were bytes"):
        result_of([(0.5, 20)]).pareto("ram")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tuner": "magic"}, "tuner is 'magic'; expected one of bayesian, hyperband, random, grid"),
        ({"trials": 0}, "trials is 0; expected a whole number of at least 1"),
        ({"trials": None}, "trials is None"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"validation_data": None}, "search needs validation_data"),
        ({"budgets": {"tflite_bytes": 1}}, "limits tflite_bytes, but what is measured is weight_bytes"),
        ({"metric": "luck"}, "metric is 'luck'; the model's are loss, accuracy|accuracy, loss"),
        ({"direction": "up"}, 'direction is \'up\'; expected "min", "max" or None'),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(model, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        search(model, *windows(8, 0), **(DATA | {"folder": tmp_path / "new"} | arguments))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y + 1), "the model knows 2, from 0 to 1"),
        (lambda x, y: (x, y[:-1]), "got 8 of x, 7 of y"),
        (lambda x, y: (x * np.nan, y), "NaN or infinite"),
        (lambda x, y: (x, np.zeros((8, 8))), r"targets of shape \[8, 8\]"),
    ],
)
def test_data_is_checked_before_anything_is_trained(model, change, message, tmp_path):
    x, y = change(*windows(8, 0))
    with pytest.raises(ValueError, match=f"search.*{message}"):
        search(model, x, y, **(DATA | {"folder": tmp_path / "new"}))
    with pytest.raises(ValueError, match=f"search, validation_data.*{message}"):
        search(model, *windows(8, 0), **(DATA | {"folder": tmp_path / "new", "validation_data": (x, y)}))
    assert not (tmp_path / "new").exists()


def test_a_diverged_training_is_a_failed_trial(tmp_path):
    def diverge(model, epochs):
        model.layers[-1].bias.assign([np.nan, np.nan])

    with pytest.raises(ArithmeticError, match="the metric is nan after training"):
        search(matrix_model(), *windows(8, 0), **DATA, folder=tmp_path, tuner="random", metric="loss", retrain=diverge)
    failed = SearchResult.read(tmp_path)
    assert len(failed.trials) == 3
    assert not any(trial.feasible for trial in failed.trials)
    assert "ArithmeticError" in str(failed)
    with pytest.raises(ValueError, match="No trial of the search succeeded"):
        _ = failed.best


def test_a_full_disk_is_reported_and_what_is_finished_stays(tmp_path, monkeypatch):
    def fill(model, epochs):
        def no_space(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if len(list((tmp_path / "trials").glob("*.keras"))) == 1:
            monkeypatch.setattr(os, "fsync", no_space)

    with pytest.raises(OSError, match="No space left on device"):
        search(matrix_model(), *windows(8, 0), **DATA, folder=tmp_path, tuner="random", trials=3, retrain=fill)
    assert len(SearchResult.read(tmp_path).trials) == 1


def test_a_trial_without_its_record_is_not_finished(tmp_path):
    folder = TrialFolder(tmp_path)
    trial = Trial({"a": 2}, "modal", 3, 0.5, {"bytes": 7}, 0.0, 1.5, 10.0)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / f"{trial.name}.keras")
    assert folder.read(trial.name) is None
    folder.write(trial)
    assert folder.read(trial.name) == trial
    assert folder.all() == [trial]


def test_names_of_trials_do_not_depend_on_the_order_of_parts():
    assert trial_name({"a": 1, "b": 2}, "h2", 3) == trial_name({"b": 2, "a": 1}, "h2", 3)
    others = [trial_name({"a": 1}, "h2", 3), trial_name({"a": 2}, "h2", 3), trial_name({"a": 1}, "h2", 4)]
    assert len({*others, trial_name({"a": 1}, "modal", 3)}) == 4


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "{}", '{"ranks": {}}', json.dumps({**TRIAL, "measures": []}), json.dumps({**TRIAL, "excess": "0"})],
)
def test_a_record_of_another_form_is_named(tmp_path, content):
    (tmp_path / "abc.json").write_text(content)
    with pytest.raises(ValueError, match=r"abc\.json is damaged .* Delete it: its trial is run again"):
        TrialFolder(tmp_path).read("abc")


@pytest.mark.parametrize("content", ["[]", "3", '"text"'])
def test_settings_of_another_form_are_named(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json is damaged"):
        TrialFolder(tmp_path).open({"seed": 0})


def test_a_damaged_record_is_named(tmp_path):
    folder = TrialFolder(tmp_path)
    (tmp_path / "abc.json").write_text('{"ranks": ')
    with pytest.raises(ValueError, match=r"abc\.json is damaged .* Delete it: its trial is run again"):
        folder.all()


def test_a_folder_without_a_search_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No search was begun in"):
        SearchResult.read(tmp_path)


def test_a_model_without_training_cannot_give_its_model(found):
    over = next(trial for trial in found.trials if not trial.feasible)
    with pytest.raises(ValueError, match="the trial was not trained"):
        found.best_model(over)


def test_methods_are_searched_as_well(model, tmp_path):
    result = search(
        model, *windows(8, 0), **DATA, folder=tmp_path, tuner="grid", trials=None, retrain=no_training,
        choices={"block_1/dss": (2,), "block_2/dss": (2,)}, methods=("balanced", "singular_perturbation"),
    )  # fmt: skip
    assert {trial.method for trial in result.trials} == {"balanced", "singular_perturbation"}
    first, second = (result.best_model(trial).predict(windows(8, 1)[0], verbose=0) for trial in result.trials)
    assert np.abs(first - second).max() > 1e-4
