import itertools
import json
import re
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_parts import MadeUpPart, random_metric, total, whole

import keras_s4
from keras_s4 import layers, models
from keras_s4.compression.evaluations import Evaluations
from keras_s4.compression.fingerprints import model_digest
from keras_s4.compression.metrics import accuracy_on
from keras_s4.compression.padded import PaddedModel
from keras_s4.compression.parts import parts_of
from keras_s4.compression.rank_search import bisection, scan, search_each_part
from keras_s4.compression.rank_tuning import rank_tuning, tune_ranks


def parts_of_sizes(*sizes, **named):
    sizes = {**{f"part {index}": size for index, size in enumerate(sizes)}, **named}
    return {name: MadeUpPart((1.0,) * size) for name, size in sizes.items()}


def evaluations_of(parts, measure, **options):
    return Evaluations(measure, parts, **options)


# One part alone.


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.floats(0.0, 1.0))
def test_bisection_finds_what_a_scan_finds_where_the_metric_rises_with_the_rank(metrics, share):
    metrics = sorted(metrics)
    parts = parts_of_sizes(len(metrics), 3)
    target = metrics[-1] * share

    def measure(ranks):
        return metrics[ranks["part 0"] - 1]

    by_search = {
        search: search_each_part(parts, evaluations_of(parts, measure), target, search)
        for search in ("bisection", "scan")
    }
    assert by_search["bisection"] == by_search["scan"]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_no_search_returns_a_choice_that_fails_whatever_the_metric_does(holding):
    choices = tuple(3 * index + 1 for index in range(len(holding) + 1))
    holds = dict(zip(choices, [*holding, True], strict=True))
    asked = []

    def ask(choice):
        asked.append(choice)
        return holds[choice]

    found = bisection(choices, ask)
    assert holds[found]
    assert found == choices[0] or not holds[choices[choices.index(found) - 1]]
    assert len(asked) <= len(choices).bit_length() and len(set(asked)) == len(asked)
    assert scan(choices, holds.__getitem__) == min(choice for choice in choices if holds[choice])


# All parts together.


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 10**6), st.floats(0.05, 0.98))
def test_the_joint_model_holds_the_target_on_any_metric(sizes, seed, target):
    parts = parts_of_sizes(*sizes)
    measure = random_metric(parts, seed)
    unpolished = tune_ranks(parts, evaluations_of(parts, measure), target, polish=False)
    polished = tune_ranks(parts, evaluations_of(parts, measure), target)
    for found in (unpolished, polished):
        assert measure(found.ranks) == found.joint.metric >= target
        assert all(measure({**whole(parts), name: rank}) >= target for name, rank in found.individual.items())
    assert polished.joint.flash <= unpolished.joint.flash


@pytest.mark.parametrize("needed", [4, 20, 37, 48])
def test_parts_that_only_fail_together_are_repaired(needed):
    # Alone each part can go to rank 1 and nothing is lost; together they need a sum of ranks, below which all is lost:
    # no raise of one part shows any gain on the way there.
    parts = parts_of_sizes(16, 16, 16)
    evaluations = evaluations_of(parts, lambda ranks: float(sum(ranks.values()) >= needed))
    found = tune_ranks(parts, evaluations, relative_loss=0.0)
    assert found.individual == ({name: 1 for name in parts} if needed <= 33 else {name: needed - 32 for name in parts})
    assert sum(found.ranks.values()) == needed
    assert len(found.history) < 150


def test_the_repair_raises_where_a_byte_gains_most():
    cheap = MadeUpPart((1.0,) * 4, flash=(1, 2, 3, 4))
    dear = MadeUpPart((1.0,) * 4, flash=(100, 200, 300, 400))
    parts = {"dear": dear, "cheap": cheap}

    def measure(ranks):  # each part may be halved alone, both together lose too much
        return 1.0 - 0.01 * ((4 - ranks["dear"]) + (4 - ranks["cheap"]))

    found = tune_ranks(parts, evaluations_of(parts, measure), relative_loss=0.0301)
    assert found.individual == {"dear": 1, "cheap": 1}
    assert found.ranks == {"dear": 1, "cheap": 4}


@pytest.mark.parametrize("seed", range(5))
def test_no_single_rank_of_a_polished_result_can_be_lowered(seed):
    # Monotone: every rank that is raised helps, by an amount that depends on the others.
    generator = np.random.default_rng(seed)
    parts = parts_of_sizes(6, 6, 6)
    metrics = generator.uniform(size=(6, 6, 6))
    for axis in range(3):
        metrics = np.cumsum(metrics, axis)
    metrics /= metrics.max()

    def measure(ranks):
        return metrics[tuple(rank - 1 for rank in ranks.values())]

    found = tune_ranks(parts, evaluations_of(parts, measure), target=0.5)
    for name, rank in found.ranks.items():
        assert rank == 1 or measure({**found.ranks, name: rank - 1}) < 0.5


def test_a_model_that_gives_nan_does_not_hold_the_target():
    parts = parts_of_sizes(8)
    found = tune_ranks(parts, evaluations_of(parts, lambda ranks: np.nan if ranks["part 0"] < 5 else 1.0), target=0.5)
    assert found.ranks == {"part 0": 5}
    json.dumps(found.figures(), allow_nan=False)


def test_negative_metrics_lose_a_share_of_their_size():
    parts = parts_of_sizes(8)
    found = tune_ranks(
        parts, evaluations_of(parts, lambda ranks: -2.0 - 0.1 * (8 - ranks["part 0"])), relative_loss=0.1501
    )
    assert found.ranks == {"part 0": 5}


# The cache.


class StoppedError(Exception):
    pass


def counted(measure, calls, last=None):
    def measure_and_count(ranks):
        if len(calls) == last:
            raise StoppedError
        calls.append(tuple(ranks.values()))
        return measure(ranks)

    return measure_and_count


@pytest.mark.parametrize("last", [1, 6, 11])
def test_an_interrupted_search_goes_on_without_repeating_anything(tmp_path, last):
    parts = parts_of_sizes(12, 12, 12)
    measure = random_metric(parts, 3)
    undisturbed = tune_ranks(parts, evaluations_of(parts, measure), target=0.8)
    calls, path = [], tmp_path / "cache.json"
    with pytest.raises(StoppedError):
        tune_ranks(parts, evaluations_of(parts, counted(measure, calls, last), path=path), target=0.8)
    resumed = tune_ranks(parts, evaluations_of(parts, counted(measure, calls), path=path), target=0.8)
    assert len(calls) == len(set(calls)) == len(undisturbed.history)
    assert resumed.computed == len(calls) - last
    assert (resumed.ranks, resumed.history) == (undisturbed.ranks, undisturbed.history)


def test_another_target_uses_what_is_known(tmp_path):
    parts = parts_of_sizes(12, 12)
    calls, path = [], tmp_path / "cache.json"
    measure = counted(lambda ranks: sum(ranks.values()) / 24, calls)
    for target in (0.9, 0.8, 0.9):
        tune_ranks(parts, evaluations_of(parts, measure, path=path), target=target)
    assert len(calls) == len(set(calls))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"fingerprint": {}}',
        '{"fingerprint": {}, "parts": [], "evaluations": 3}',
        '{"fingerprint": {}, "parts": ["a", "b"], "evaluations": [[[1, 1], NaN]]}',
        '{"fingerprint": {}, "parts": ["a", "b"], "evaluations": [[[1, 1], "0.5"]]}',
    ],
)
def test_a_damaged_cache_is_set_aside_and_all_is_evaluated_again(tmp_path, content):
    path, parts = tmp_path / "cache.json", parts_of_sizes(2)
    path.write_text(content)
    with pytest.warns(UserWarning, match=r"cache\.json is no cache of evaluations, or is damaged .* set aside"):
        evaluations = evaluations_of(parts, lambda ranks: 0.5, path=path)
    assert evaluations(whole(parts)).metric == 0.5 and evaluations.computed == 1
    assert (tmp_path / "cache.json.damaged").read_text() == content
    again = evaluations_of(parts, len, path=path)
    assert again(whole(parts)).metric == 0.5 and again.computed == 0


def test_a_cache_of_another_search_is_refused_by_what_differs(tmp_path):
    path = tmp_path / "cache.json"
    parts = parts_of_sizes(2)
    evaluations_of(parts, lambda ranks: 1.0, path=path, fingerprint={"weights": "a", "method": "balanced"})(
        whole(parts)
    )
    with pytest.raises(ValueError, match=r"holds evaluations with other weights, so"):
        evaluations_of(parts, len, path=path, fingerprint={"weights": "b", "method": "balanced"})
    with pytest.raises(ValueError, match=r"with other method, parts, so"):
        evaluations_of(parts_of_sizes(2, 2), len, path=path, fingerprint={"weights": "a", "method": "h2"})


# Models.


def dss_model(**arguments):
    return keras.Sequential(
        [keras.Input((20, 3)), layers.DSS(5, **arguments), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(4)]
    )


def recurrent_model():
    return keras.Sequential(
        [
            keras.Input((10, 6)),
            keras.layers.Conv1D(8, 3),
            keras.layers.GRU(8, return_sequences=True),
            keras.layers.LSTM(6),
            keras.layers.Dense(12, "relu"),
            layers.LowRankDense(9, 4),
        ]
    )


MODELS = {
    "dss, exp": dss_model,
    "dss, softmax": lambda: dss_model(kernel="softmax"),
    "dss, clip, bilinear": lambda: dss_model(kernel="clip", discretization="bilinear", per_channel_poles=True),
    "dss, two directions": lambda: dss_model(bidirectional=True, separate_time_steps=True),
    "blocks": lambda: models.classifier((20, 3), classes=4, channels=6, states=4, blocks=2),
    "recurrent": recurrent_model,
}


@pytest.mark.parametrize("name", MODELS)
def test_padded_model_gives_the_outputs_of_the_reduced_model(name):
    model = MODELS[name]()
    kinds = ("states", "matrix") if name == "blocks" else None
    parts = parts_of(model, kinds=kinds)
    x = np.random.default_rng(0).normal(size=(7, *model.input_shape[1:])).astype("float32")
    padded = PaddedModel(model, parts)
    intact = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(padded.at(whole(parts))(x), intact, rtol=1e-6, atol=1e-6)
    generator = np.random.default_rng(1)
    random_ranks = [{part: int(generator.choice(parts[part].choices)) for part in parts} for _ in range(2)]
    for ranks in ({part: parts[part].choices[0] for part in parts}, *random_ranks):
        expected = keras.ops.convert_to_numpy(keras_s4.reduce(model, ranks)(x))
        assert np.abs(expected - intact).max() > 1e-3
        np.testing.assert_allclose(padded.at(ranks)(x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(padded.at(whole(parts))(x), intact, rtol=1e-6, atol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
class CountsTraces(keras.layers.Layer):
    calls = 0

    def call(self, inputs):
        CountsTraces.calls += 1
        return inputs


@pytest.fixture(scope="module")
def task():
    """A model with the classes that it finds itself, so that its accuracy is 1."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16, 4)),
            keras.layers.GRU(8),
            CountsTraces(),
            keras.layers.Dense(12, "relu"),
            keras.layers.Dense(5, "softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    x = np.random.default_rng(0).normal(size=(200, 16, 4)).astype("float32")
    return model, x, keras.ops.convert_to_numpy(model(x)).argmax(axis=1)


def test_rank_tuning_of_a_model(task, tmp_path):
    model, x, y = task
    path = tmp_path / "cache.json"
    evaluate = accuracy_on(x, y, batch_size=100)
    found = rank_tuning(model, evaluate, relative_loss=0.1, cache=path, progress=False)
    reduced = keras_s4.reduce(model, found.ranks)
    assert evaluate(reduced) == found.joint.metric >= 0.9 == found.target
    assert found.intact.metric == 1.0
    assert found.joint.flash < found.intact.flash
    assert found.computed == len(found.history)

    again = rank_tuning(model, evaluate, relative_loss=0.1, cache=path, progress=False)
    assert (again.computed, again.ranks, again.history) == (0, found.ranks, found.history)
    first = dict(itertools.islice(parts_of(model).items(), 1))
    rebuilt = rank_tuning(model, evaluate, relative_loss=0.1, parts=first, rebuild=True, progress=False)
    assert rebuilt.individual == {name: found.individual[name] for name in rebuilt.individual}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="without XLA only TensorFlow traces a graph")
def test_all_evaluations_share_one_trace(task):
    model, x, y = task
    padded, parts = PaddedModel(model, parts_of(model)), parts_of(model)
    evaluate = accuracy_on(x, y, batch_size=100)
    evaluate(padded.at(whole(parts)))
    CountsTraces.calls = 0
    accuracies = {evaluate(padded.at({**whole(parts), name: part.choices[0]})) for name, part in parts.items()}
    assert CountsTraces.calls == 0
    assert len(accuracies) > 1


def test_a_cache_of_other_weights_or_data_is_refused(task, tmp_path):
    model, x, y = task
    path = tmp_path / "cache.json"
    parts = dict(itertools.islice(parts_of(model).items(), 1))
    rank_tuning(model, accuracy_on(x, y), target=0.5, parts=parts, cache=path, progress=False)
    with pytest.raises(ValueError, match="with other validation data, so"):
        rank_tuning(model, accuracy_on(x[:50], y[:50]), target=0.5, parts=parts, cache=path, progress=False)
    trained = keras.models.clone_model(model)
    with pytest.raises(ValueError, match=r"with other weights"):
        rank_tuning(trained, accuracy_on(x, y), target=0.5, parts=parts, cache=path, progress=False)


def test_result_as_table_figures_and_frontier():
    parts = parts_of_sizes(encoder=4, head=4)
    found = tune_ranks(parts, evaluations_of(parts, lambda ranks: sum(ranks.values()) / 8, outside=1000), target=0.7)
    text = str(found)
    assert re.search(r"encoder\s*│\s*4 │", text) and re.search(r"bytes\s*│\s*1,080 │", text)
    figures = json.loads(json.dumps(found.figures(), allow_nan=False))
    assert figures["ranks"] == found.ranks and figures["evaluations"] == len(found.history) == len(figures["history"])
    assert figures["joint"] == {
        "ranks": found.ranks,
        "metric": 0.75,
        "flash": 1000 + total(parts, found.ranks, "flash"),
    }
    sizes, metrics = zip(*((model.flash, model.metric) for model in found.frontier), strict=True)
    assert list(sizes) == sorted(set(sizes)) and list(metrics) == sorted(set(metrics))
    assert all(
        any(best.flash <= model.flash and best.metric >= model.metric for best in found.frontier)
        for model in found.history
    )


def test_digest_of_a_model_survives_saving_and_tells_weights_and_activations_apart(task, tmp_path):
    model = dss_model()
    model.save(tmp_path / "model.keras")
    assert model_digest(keras.saving.load_model(tmp_path / "model.keras")) == model_digest(model)
    before = model_digest(model)
    model.layers[-1].activation = keras.activations.relu
    assert model_digest(model) != before
    before = model_digest(model)
    model.layers[-1].bias.assign([0.0, 0.0, 0.0, 1e-6])
    assert model_digest(model) != before


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "target=None, relative_loss=None; give exactly one"),
        ({"target": 0.5, "relative_loss": 0.1}, "give exactly one"),
        ({"target": np.nan}, "target=nan; expected a finite number"),
        ({"relative_loss": -0.1}, "relative_loss=-0.1; expected a number of at least 0"),
        ({"target": 0.5, "search": "random"}, "search='random'; expected one of 'bisection', 'scan'"),
        ({"target": 0.5, "parts": {}}, "`parts` is empty"),
        ({"target": 0.5, "evaluate": 3}, "evaluate=3; expected a function of a model"),
        ({"target": 0.5, "evaluate": lambda model: [0.1, 0.9]}, "evaluate returned [0.1, 0.9]; expected one number"),
        ({"target": 0.5, "evaluate": lambda model: np.nan}, "The intact model has no finite metric"),
        ({"target": 1.01}, "The intact model reaches a metric of 1, less than the target of 1.01"),
    ],
)
def test_refusals(task, arguments, message):
    model, x, y = task
    with pytest.raises(ValueError, match=re.escape(message)):
        rank_tuning(model, **{"evaluate": accuracy_on(x, y), "progress": False, **arguments})


@pytest.mark.parametrize("shift", [1, -5])
def test_labels_that_the_model_does_not_have_are_refused_at_once(task, shift, monkeypatch):
    """They gave rank 1 with an accuracy of 0 as a success."""
    model, x, y = task
    module = sys.modules["keras_s4.compression.rank_tuning"]
    monkeypatch.setattr(module, "parts_of", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(ValueError, match="the model knows 5, from 0 to 4"):
        rank_tuning(model, accuracy_on(x, y + shift), relative_loss=0.1, progress=False)


def test_of_a_metric_of_nothing_nothing_can_be_lost(task):
    with pytest.raises(ValueError, match="metric of 0, of which nothing can be lost"):
        rank_tuning(task[0], lambda model: 0.0, relative_loss=0.1, progress=False)


def test_a_model_that_is_no_better_than_a_single_answer_is_warned_of(task):
    model, x, y = task
    shuffled = np.random.default_rng(0).permutation(y)
    with pytest.warns(UserWarning, match=r"no more than the 1 of always giving the same answer"):
        rank_tuning(model, accuracy_on(x, np.full_like(shuffled, shuffled[0])), target=0.0, progress=False)
    frequent = np.where(np.arange(len(y)) < 120, 3, shuffled)
    with pytest.warns(UserWarning, match="See whether the targets belong to the inputs"):
        rank_tuning(model, accuracy_on(x, frequent), relative_loss=0.1, progress=False)


def test_arguments_in_the_wrong_order_or_of_another_kind_are_refused(task):
    model, x, y = task
    with pytest.raises(TypeError, match=r"arguments in the wrong order; expected rank_tuning\(model"):
        rank_tuning(accuracy_on(x, y), model, target=0.5)
    with pytest.raises(TypeError, match=r"parts=\['gru'\]; expected a dict of parts by name"):
        rank_tuning(model, accuracy_on(x, y), target=0.5, parts=["gru"])
    with pytest.raises(ValueError, match="method='best'; expected one of 'balanced'"):
        rank_tuning(model, accuracy_on(x, y), target=0.5, method="best")
