"""What a search over architectures proposes, trains, repeats and finds, mostly without trainings."""

import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest
from networks import CLASSES, FEATURES, LENGTH, MODES, SPACES, Untrained, counted, figures_of, quality, search, windows

from keras_s4 import datasets, tflite
from keras_s4.architecture_search import ArchitectureResult, ArchitectureTrial, search_architectures, searching
from keras_s4.architectures import Architecture
from keras_s4.costs.architectures import architecture_cost, model_cost
from keras_s4.layers import DSS, DiagonalSSM

LIMIT = 400.0


@pytest.mark.parametrize("tuner", ["hyperband", "random"])
def test_all_kinds_have_as_many_trials_and_none_is_over_the_budget(tuner, trainings, tmp_path):
    seen = []
    found = search(tmp_path, tuner=tuner, trials=7, on_trial=seen.append)
    assert tuple(seen) == found.trials
    kinds = [trial.network.kind for trial in found.trials]
    assert kinds == ["gru", "cnn"] * 7
    assert len(trainings) == 14
    for trial in found.trials:
        assert trial.measures == counted(trial.network) and trial.measures["work"] <= LIMIT
    networks = [str(trial.architecture) for trial in found.trials if tuner != "hyperband" or trial.epochs < 4]
    assert len(networks) == len(set(networks))


def test_proposals_fill_their_share_of_the_budget(trainings, tmp_path):
    spaces = {kind: {**SPACES[kind], "width": tuple(range(1, 65))} for kind in SPACES}
    found = search(tmp_path, trials=8, budgets={"work": 2000.0}, spaces=spaces, shares=(1.0, 0.25))
    for index, kind in enumerate(SPACES):
        loads = [trial.measures["work"] / 2000.0 for trial in found.trials[index::2]]
        assert all(trial.network.kind == kind for trial in found.trials[index::2])
        assert all(0.7 < load <= 1.0 for load in loads[::2])
        assert all(0.15 < load <= 0.25 for load in loads[1::2])


@pytest.mark.parametrize("tuner", ["hyperband", "random"])
def test_equal_seeds_give_equal_proposals(tuner, trainings, tmp_path):
    spaces = {kind: {**SPACES[kind], "kernel": (2, 3, 4, 5), "blocks": (1, 2, 3, 4)} for kind in SPACES}
    seeds = {"first": 1, "again": 1, "other": 2}
    runs = [search(tmp_path / name, tuner=tuner, trials=5, seed=seed, spaces=spaces) for name, seed in seeds.items()]
    first, again, other = map(figures_of, runs)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("tuner", "stop", "kind"),
    [
        ("bayesian", 4, "cnn"),
        ("hyperband", 6, "cnn"),
        ("random", 3, "cnn"),
        ("bayesian", 4, "dss"),
        ("random", 3, "dss"),
    ],
)
def test_an_interrupted_search_trains_what_is_missing_alone(tuner, stop, kind, trainings, tmp_path, monkeypatch):
    trials = {"bayesian": 5 if kind == "cnn" else 8}.get(tuner, 7)
    arguments = {"tuner": tuner, "trials": trials, "kinds": (kind,), "spaces": {kind: {**SPACES, "dss": MODES}[kind]}}
    whole = search(tmp_path / "whole", **arguments)
    assert {trial.network.shared_modes for trial in whole.trials} == ({False, True} if kind == "dss" else {False})
    expected = list(trainings)
    trainings.clear()

    def interrupt(self, model, past, epochs, train=Untrained.train):
        if len(trainings) == stop:
            raise KeyboardInterrupt
        train(self, model, past, epochs)

    with monkeypatch.context() as patched:
        patched.setattr(Untrained, "train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "parts", **arguments)
    assert len(ArchitectureResult.read(tmp_path / "parts").trials) == stop
    parts = search(tmp_path / "parts", **arguments)
    assert trainings == expected
    assert [trial.name for trial in parts.trials] == [trial.name for trial in whole.trials]
    assert not (tmp_path / "parts" / ".keras-tuner" / "alone").exists()


def test_damaged_trials_are_set_aside_and_run_again(trainings, tmp_path):
    first = search(tmp_path)
    names = [trial.name for trial in first.trials]
    record, model = (
        tmp_path / "trials" / f"{name}{end}" for name, end in zip(names, (".json", ".keras"), strict=False)
    )
    record.write_bytes(record.read_bytes()[:-9])
    model.write_bytes(model.read_bytes()[:-9])
    trainings.clear()
    with pytest.warns(UserWarning, match="is set aside, and its trial is run again"):
        again = search(tmp_path)
    assert len(trainings) == 2
    assert {trial.name: trial.metric for trial in again.trials} == {trial.name: trial.metric for trial in first.trials}


def test_hyperband_goes_on_with_the_better_ones_and_lets_equals_compete(trainings, tmp_path):
    found = search(tmp_path, tuner="hyperband", trials=14, kinds=("cnn",), shares=(1.0, 0.5))
    first, second = found.trials[:7], found.trials[7:]
    for bracket, share in ((first, 1.0), (second[:3], 0.5)):
        assert all(trial.measures["work"] <= share * LIMIT for trial in bracket)
    begun = [trial for trial in first if trial.epochs == 2]
    longer = [trial for trial in first if trial.epochs == 4]
    assert (len(begun), len(longer)) == (5, 2)
    best = sorted(begun, key=lambda trial: -trial.metric)[:2]
    assert [trial.architecture for trial in longer] == [trial.architecture for trial in best]
    assert [past for _, past, epochs in trainings[:7] if epochs == 4] == [2, 2]
    assert "stopped" in str(found)


def test_files_tell_the_result(trainings, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(searching, "Trainer", Untrained)
    found = search(tmp_path, trials=3)
    written = json.loads((tmp_path / "search.json").read_text())
    assert written == json.loads(json.dumps(found.figures()))
    assert (tmp_path / "pareto.svg").read_text().startswith("<?xml")
    assert str(found.best.network) in (tmp_path / "search.txt").read_text()
    chosen = json.loads((tmp_path / "architecture.json").read_text())
    assert Architecture.of(chosen["architecture"]) == found.best.network
    model = keras.saving.load_model(tmp_path / "model.keras")
    assert model.get_weights()[0] == pytest.approx(quality(found.best.network))
    assert ArchitectureResult.read(tmp_path).trials == found.trials
    with pytest.raises(
        ValueError, match=r"trials of another search with tuner='random'; asked for was tuner='hyperband'"
    ):
        search(tmp_path, tuner="hyperband")


def test_modes_are_shared_where_no_other_network_within_the_budget_is_as_good(trainings, tmp_path):
    """By the costs of the cost model, beside all networks there are."""
    space = {**MODES, "blocks": (1,), "width": (8, 12, 16, 20, 24)}
    costs = {}
    for width in space["width"]:
        for shared, states in ((False, space["states"]), (True, space["shared_states"])):
            for count in states:
                network = Architecture("dss", width, 1, count, gate=None, shared_modes=shared, feedthrough="diagonal")
                network = network if shared else dataclasses.replace(network, feedthrough="full")
                costs[network] = architecture_cost(network, (LENGTH, FEATURES), CLASSES).ram_bytes
    limit = costs[Architecture("dss", 12, 1, 2, gate=None)]
    best = {
        shared: max((n for n, cost in costs.items() if cost <= limit and n.shared_modes is shared), key=quality)
        for shared in (False, True)
    }
    assert quality(best[True]) > quality(best[False])

    arguments = {"kinds": ("dss",), "trials": 12, "measure": None, "shares": (1.0,), "budgets": {"ram_bytes": limit}}
    found = search(tmp_path / "both", spaces={"dss": space}, **arguments)
    assert found.best.network == best[True]
    assert found.best.measures["ram_bytes"] == costs[best[True]] <= limit
    assert "shared modes" in str(found) and found.best.architecture["shared_modes"] is True
    assert ArchitectureResult.read(tmp_path / "both").trials == found.trials
    labels = found.figure().axes[0].get_legend_handles_labels()[1]
    assert {"dss", "dss, shared modes"} <= set(labels)

    choices = {name: values for name, values in space.items() if name not in ("shared_states", "feedthrough")}
    own = search(tmp_path / "own", spaces={"dss": {**choices, "shared_modes": (False,)}}, **arguments)
    assert own.best.network == best[False] and own.best.metric < found.best.metric
    assert "dss, shared modes" not in own.figure().axes[0].get_legend_handles_labels()[1]


def result_of(points, direction="max"):
    """A result of the given (metric, work, bytes)."""
    settings = {"metric": "accuracy", "direction": direction, "budgets": {}, "measures": ["work", "bytes"], "epochs": 1}
    settings |= {"left_out": {}, "spaces": {"gru": {}}, "measured_by": "measure"}
    trials = [
        ArchitectureTrial(Architecture("gru", width=w).figures(), "nothing", 1, m, {"work": a, "bytes": b}, 0.0, 1.0, w)
        for w, (m, a, b) in enumerate(points, start=1)
    ]
    return ArchitectureResult(None, settings, tuple(trials))


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("cost", ["work", "bytes"])
def test_no_trial_beats_one_of_the_front(direction, cost):
    random = np.random.default_rng(5)
    metrics, costs = random.random(60).tolist(), random.integers(1, 90, (60, 2)).tolist()
    points = [(metric, *pair) for metric, pair in zip(metrics, costs, strict=True)]
    result, sign = result_of(points, direction), 1 if direction == "max" else -1
    pairs = [(sign * trial.metric, trial.measures[cost], trial) for trial in result.trials]

    def beaten(metric, price):
        return any((m >= metric and p < price) or (m > metric and p <= price) for m, p, _ in pairs)

    assert [trial.name for *_, trial in sorted(pairs, key=lambda pair: pair[1]) if not beaten(*_)] == [
        trial.name for trial in result.pareto(cost)
    ]
    assert len(result.pareto(cost)) >= 2


def test_the_network_for_tighter_budgets():
    result = result_of([(0.5, 20, 9), (0.9, 80, 5), (0.9, 70, 30), (0.7, 40, 30)])
    assert result.best.measures["work"] == 70
    assert result.best_within({"bytes": 10}).measures["work"] == 80
    assert result.best_within({"work": 50}).metric == 0.7
    with pytest.raises(
        ValueError, match=r"None of 4 networks is within work=10. The nearest, GRU, 2 x 1, takes work=20"
    ):
        result.best_within({"work": 10})
    with pytest.raises(ValueError, match="cost is 'ram'; measured were work, bytes"):
        result.best_within({"ram": 10})


def test_impossible_budgets_say_what_the_smallest_network_takes(trainings, tmp_path):
    words = r"work=10, but the smallest network of kind gru \(GRU, 1 x 4, front 8/4\) takes work=16; the smallest"
    with pytest.raises(ValueError, match=words):
        search(tmp_path / "new", budgets={"work": 10.0})
    assert not (tmp_path / "new").exists()


def test_a_kind_that_is_too_large_is_left_out(trainings, tmp_path):
    with pytest.warns(UserWarning, match="A kind is left out: the smallest network of kind cnn .* takes work=28"):
        found = search(tmp_path, budgets={"work": 20.0}, trials=2)
    assert {trial.network.kind for trial in found.trials} == {"gru"}
    assert "cnn is left out" in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tuner": "grid"}, "tuner='grid'; expected one of 'bayesian', 'hyperband', 'random'"),
        ({"trials": 0}, "trials=0"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"start": "middle"}, "start='middle'"),
        ({"shares": (1.5,)}, "shares with 1.5"),
        ({"shares": 1.0}, "shares=1.0"),
        ({"metric": "rmse"}, "metric='rmse'; expected one of 'accuracy', 'loss'"),
        ({"rate": -1}, "rate=-1"),
        ({"budgets": {"luck": 1}}, "budgets limits luck"),
        ({"validation_data": None}, "needs y and validation_data"),
        ({"validation_data": (np.zeros((4, 15, 2)), np.arange(4) % 2)}, r"windows \[15, 2\]"),
        ({"validation_data": (np.zeros((4, 16, 2)), np.arange(4))}, "from 0 to 3; the model knows 2"),
        ({"validation_data": (np.full((4, 16, 2), np.nan), np.arange(4) % 2)}, "NaN or infinite"),
        ({"validation_data": (np.zeros((4, 16, 2)), np.zeros((4, 2)))}, "targets"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        search(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_tasks_whose_networks_are_not_searched_are_refused(tmp_path):
    with pytest.raises(NotImplementedError, match="'appliances' with recordings of mixed lengths"):
        search_architectures(datasets.appliances_task(), folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def task():
    x, y = windows(40, 0)
    return datasets.task_of_arrays(x, y, np.arange(40) % 10)


def test_a_task_brings_its_own_data(trainings, tmp_path):
    arguments = {
        "kinds": ("cnn",),
        "spaces": {"cnn": SPACES["cnn"]},
        "tuner": "random",
        "trials": 2,
        "measure": counted,
    }
    found = search_architectures(task(), folder=tmp_path, **arguments)
    assert len(found.trials) == len(trainings) == 2
    assert found.settings["budgets"] == {}
    with pytest.raises(ValueError, match="got a Task, and y, validation_data or head besides"):
        search_architectures(task(), np.zeros(3), folder=tmp_path, **arguments)


def test_quantities_are_judged_by_their_error(eager, tmp_path):
    x, y = windows(16, 0)
    targets = np.stack([y * 4.0 + 100.0, y - 7.0], axis=1)
    found = search_architectures(
        x, targets, validation_data=(x[:8], targets[:8]), folder=tmp_path, kinds=("cnn",), trials=1, epochs=1,
        spaces={"cnn": {**SPACES["cnn"], "blocks": (1,)}}, measure=counted, tuner="random",
    )  # fmt: skip
    (trial,) = found.trials
    outputs = found.best_model().predict(x[:8], verbose=0)
    assert found.metric == "rmse" and found.settings["direction"] == "min"
    assert trial.metric == pytest.approx(np.sqrt(np.mean((outputs - targets[:8]) ** 2)), rel=1e-4)
    assert abs(outputs[:, 0].mean() - 102.0) < 20.0


SMALL = {**MODES, "width": (4,), "blocks": (1,), "dropout": (0.2,)}
OWN = {name: SMALL[name] for name in SMALL if name not in ("shared_states", "feedthrough")} | {"shared_modes": (False,)}
SHARED = {name: SMALL[name] for name in SMALL if name != "states"} | {"shared_modes": (True,), "shared_states": (3, 6)}


def small_training(folder, space=OWN, **arguments):
    """Real trainings of DSS networks on 40 windows."""
    usual = {"validation_data": windows(8, 1), "kinds": ("dss",), "trials": 2, "metric": "loss", "measure": counted}
    return search_architectures(*windows(40, 0), folder=folder, spaces={"dss": space}, **(usual | arguments))


def test_a_network_of_shared_modes_takes_on_the_device_what_was_estimated(eager, tmp_path):
    measuring = pytest.importorskip("keras_s4.costs.counted")
    found = small_training(tmp_path, SHARED, epochs=1, tuner="random", measure=None, budgets={"ram_bytes": 2000})
    program = tflite.convert(found.best_model(), windows(40, 0)[0]).program
    try:
        true = measuring.measure_on_cortex_m(program, "m4", "gcc")
    except RuntimeError as error:
        pytest.skip(str(error))
    estimated = found.best.measures
    assert estimated["instructions"] == pytest.approx(true.instructions, rel=0.05)
    assert estimated["flash_bytes"] == pytest.approx(true.flash_bytes, rel=0.05)
    assert estimated["ram_bytes"] == true.ram_bytes


def test_a_training_that_is_stopped_and_gone_on_with_is_that_of_one_go(eager, tmp_path):
    parts = small_training(tmp_path / "parts", tuner="hyperband", epochs=3, trials=9)
    longest = [trial for trial in parts.trials if trial.epochs == 3]
    assert longest and any(trial.epochs == 1 for trial in parts.trials)
    whole = {
        str(trial.architecture): trial for trial in small_training(tmp_path / "whole", tuner="random", epochs=3).trials
    }
    for trial in longest:
        once = whole[str(trial.architecture)]
        assert trial.metric == pytest.approx(once.metric, rel=1e-5)


@pytest.mark.parametrize(
    ("space", "states", "whole", "method", "off"),
    [
        pytest.param(OWN, {2, 4}, 32, "auto", 0.02, id="own"),
        # Slower modes than those of untrained layers, of which more are fed back.
        *(pytest.param(SHARED, {3, 6}, 64, each, 0.05, id=f"shared {each}") for each in ("balanced", "h2", "auto")),
    ],
)
def test_networks_are_cut_from_one_large_trained_one(space, states, whole, method, off, eager, tmp_path):
    arguments = {"tuner": "random", "epochs": 1, "start": "reduction", "parent_epochs": 2, "method": method}
    found = small_training(tmp_path, space, **arguments)
    assert {trial.network.states for trial in found.trials} == states
    (parent,) = [ArchitectureTrial(**json.loads(path.read_text())) for path in (tmp_path / "parents").glob("*.json")]
    assert (parent.network.states, parent.epochs, parent.network.width) == (whole, 2, 4)
    assert parent.network.shared_modes is (space is SHARED)
    for trial in found.trials:
        assert trial.start == "reduction" and trial.epochs == 1
        model = found.best_model(trial)
        (block,) = [layer for layer in model.layers if hasattr(layer, "dss")]
        assert type(block.dss) is (DiagonalSSM if space is SHARED else DSS)
        assert block.dss.state_size == trial.network.states
        known, cut = architecture_cost(trial.network, (16, 2), 2, normalization=True), model_cost(model)
        assert cut.instructions == pytest.approx(known.instructions, rel=off)
        assert cut.flash_bytes == pytest.approx(known.flash_bytes, rel=off)
        assert cut.ram_bytes == known.ram_bytes
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parents").iterdir()}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is set aside.*")
        small_training(tmp_path, space, **arguments)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parents").iterdir()} == before


def test_singular_perturbation_cuts_shared_modes_with_a_full_feedthrough_alone(eager, tmp_path):
    space = {**SHARED, "shared_states": (3,), "feedthrough": ("diagonal", "full")}
    arguments = {"tuner": "random", "epochs": 1, "start": "reduction", "method": "singular_perturbation"}
    found = small_training(tmp_path, space, **arguments)
    starts = {trial.network.feedthrough: trial.start for trial in found.trials}
    assert starts == {"diagonal": "nothing", "full": "reduction"}
    assert all(trial.error is None for trial in found.trials)
