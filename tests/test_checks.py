"""Numbers as arguments: numpy's work everywhere, truth values, texts and NaN are refused with a message."""

import keras
import numpy as np
import pytest

import keras_s4
from keras_s4 import checks, ranks
from keras_s4.compression import parts_of
from keras_s4.compression.callbacks import GrowingWeight, HardLowRank
from keras_s4.compression.rank_tuning import rank_tuning
from keras_s4.compression.search import RankHyperModel, search
from keras_s4.compression.search.scoring import check_budgets
from keras_s4.compression.state_truncation import TruncateStates
from keras_s4.layers import DSS, LowRankDense, LowRankGRU
from keras_s4.streaming import StreamingModel


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = [DSS(6, name="dss"), keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(8, name="head")]
    model = keras.Sequential([keras.Input((12, 8)), *layers])
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value):
    found = checks.whole_number(value, "n=")
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, "3", None, 0, -1, float("nan"), [3]])
def test_no_whole_numbers(value):
    with pytest.raises(ValueError, match=r"n=.*; expected a whole number of at least 1"):
        checks.whole_number(value, "n=")


@pytest.mark.parametrize("value", [float("nan"), True, "0.5", 0.0, -0.5, 1.5, None, 1j])
def test_no_fractions(value):
    with pytest.raises(ValueError, match=r"keep=.*; expected a number above 0 and at most 1"):
        checks.fraction(value, "keep=")


def test_ranks_from_numpy_are_ranks(model):
    for given in (np.int64(2), {"dss": np.int32(2)}):
        assert keras_s4.reduce(model, given).get_layer("dss").state_size == 2
    found = ranks.uniform(model, rank=np.int64(2))
    assert found == {"dss": 2} and type(found["dss"]) is int
    assert ranks.budget(model, flash=np.int64(10**6)) == {"dss": 6}
    assert ranks.energy(model, np.float32(1.0)) == {"dss": 6}
    assert RankHyperModel(model, choices={"dss": np.arange(1, 4)}).choices == {"dss": (1, 2, 3)}
    assert RankHyperModel(model, choices=np.int64(1)).choices == {"dss": (6,)}


def test_layers_with_ranks_from_numpy_are_saved(tmp_path):
    low_rank = [LowRankGRU(4, np.int64(2), np.int64(1)), LowRankDense(3, np.int64(2))]
    model = keras.Sequential([keras.Input((5, 3)), *low_rank])
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").layers[1].rank == 2


NO_RANKS = [True, np.True_, "2", 2.0, 0, 7, -1, float("nan"), None]


@pytest.mark.parametrize("rank", NO_RANKS)
def test_what_is_no_rank_is_refused(model, rank):
    with pytest.raises(ValueError, match=r"Part 'dss' got rank .*; expected a whole number from 1 to 6"):
        keras_s4.reduce(model, {"dss": rank})
    with pytest.raises(ValueError, match="choices gives part 'dss' the ranks"):
        RankHyperModel(model, choices={"dss": [rank]})
    with pytest.raises(ValueError, match="got rank"):
        parts_of(model)["dss"].truncate(rank)


def test_unknown_parts_are_refused(model):
    for name in ("dss/kernel", "other", 3):
        with pytest.raises(ValueError, match=f"No part is called {name}; the parts are dss"):
            keras_s4.reduce(model, {name: 2})


NO_LIMITS = [float("nan"), True, "1000", -5, 0, 1j]


@pytest.mark.parametrize("limit", NO_LIMITS)
@pytest.mark.parametrize("kind", ["flash", "ram", "multiply_accumulates"])
def test_budgets_that_are_no_positive_numbers_are_refused(model, kind, limit):
    with pytest.raises(ValueError, match=f"budget got {kind}=.*; expected a positive number"):
        ranks.budget(model, **{kind: limit})


@pytest.mark.parametrize("limit", [*NO_LIMITS, float("inf")])
def test_budgets_of_searches(limit):
    with pytest.raises(ValueError, match=r"budgets got bytes=.*; expected a positive number"):
        check_budgets({"bytes": limit}, ["bytes"])
    assert check_budgets({"bytes": np.int64(5)}, ["bytes"]) == {"bytes": 5}


@pytest.mark.parametrize("value", [float("nan"), True, "0.1"])
def test_numbers_of_choosers(model, value):
    for chooser, arguments, message in (
        (ranks.tolerance, {"relative": value}, "tolerance got relative="),
        (ranks.energy, {"keep": value}, "energy got keep="),
        (ranks.scores, {"fraction": value}, "scores got fraction="),
        (ranks.uniform, {"fraction": value}, "uniform got fraction="),
        (keras_s4.at_rate, {"rate": value}, "at_rate got rate="),
    ):
        with pytest.raises(ValueError, match=message):
            chooser(model, **arguments)
    for name in ("target", "relative_loss"):
        with pytest.raises(ValueError, match=f"rank_tuning got {name}="):
            rank_tuning(model, lambda model: 1.0, **{name: value})


@pytest.mark.parametrize("name", ["trials", "epochs", "seed", "batch_size", "time_limit", "learning_rate", "choices"])
@pytest.mark.parametrize("value", [True, "3", float("nan"), -1])
def test_numbers_of_searches(model, tmp_path, name, value):
    x = np.zeros((4, 12, 8), "float32")
    with pytest.raises(ValueError, match=f"{name} is "):
        search(model, x, x[:, 0], validation_data=(x, x[:, 0]), folder=tmp_path, **{name: value})
    assert not list(tmp_path.iterdir())


def test_numbers_of_callbacks_and_streams(model):
    assert GrowingWeight(0.0, 1.0, np.int64(3)).weight(1) == 0.5
    assert HardLowRank(np.int64(2), every=np.int64(1)).every == 1
    assert StreamingModel(model, np.int64(12)).length == 12
    for make, message in (
        (lambda: GrowingWeight(0.0, True, 3), "GrowingWeight got end=True"),
        (lambda: GrowingWeight(0.0, 1.0, True), "GrowingWeight got epochs=True"),
        (lambda: HardLowRank(True), "HardLowRank got the rank True"),
        (lambda: TruncateStates([True], energy=0.9), r"TruncateStates got epochs=\[True\]"),
        (lambda: TruncateStates([1], energy="0.9"), "TruncateStates got energy='0.9'"),
        (lambda: StreamingModel(model, True), "StreamingModel got length=True"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("value", [None, "m.keras", 3, {}, keras.Sequential])
def test_what_is_no_model_is_one_message_everywhere(model, value):
    x = np.zeros((4, 12, 8), "float32")
    for act in (
        lambda: keras_s4.reduce(value, 2),
        lambda: keras_s4.spectrum(value),
        lambda: keras_s4.at_length(value, 10),
        lambda: keras_s4.at_rate(value, 2.0),
        lambda: keras_s4.error_bound(value, model, x),
        lambda: keras_s4.error_bound(model, value, x),
        lambda: keras_s4.quantize_aware(value, x),
        lambda: ranks.energy(value),
        lambda: StreamingModel(value),
        lambda: rank_tuning(value, len, target=0.5),
    ):
        with pytest.raises(TypeError, match=r"received .* as its model; expected a"):
            act()


@pytest.mark.parametrize("value", [None, "False", 2, -1, float("nan"), [], np.zeros(3)])
def test_no_truth_values(value):
    with pytest.raises(ValueError, match="expected True or False"):
        checks.truth_value(value, "f=")
    with pytest.raises(ValueError, match=r"bidirectional=.* expected True or False"):
        DSS(4, bidirectional=value)
    with pytest.raises(ValueError, match=r"mask_zero=.* expected True or False"):
        keras_s4.models.classifier((12,), 3, vocabulary=5, mask_zero=value)


def test_truth_values():
    assert [checks.truth_value(value, "") for value in (True, np.False_, 1, np.int8(0))] == [True, False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": 12}, "input_shape=12; expected a tuple"),
        ({"input_shape": "ab"}, "input_shape='ab'; expected a tuple"),
        ({"classes": True}, "classes=True; expected a whole number"),
        ({"mask_value": "0"}, "mask_value='0'; expected a finite number"),
        ({"mask_value": np.nan}, "mask_value=nan; expected a finite number"),
        ({"pooling": ["average"]}, r"pooling=\['average'\]; expected one of 'average', 'max', 'last'"),
    ],
)
def test_models_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_s4.models.classifier(**{"input_shape": (12, 2), "classes": 3, "channels": 4, "states": 2, **arguments})
    if "classes" not in arguments:
        keras_s4.models.classifier((np.int64(12), np.int64(2)), np.int64(3), channels=4, states=2)


def test_values_in_messages_are_one_line():
    assert checks.quote("a") == "'a'"
    assert len(checks.quote(np.ones((20, 20)))) < 120 and checks.quote(np.ones((20, 20))).endswith("(ndarray)")


@pytest.mark.parametrize(("name", "value"), [("gain", -1.0), ("gain", np.nan), ("rotation", np.inf), ("windows", 2.5),
                                             ("warp", 0.5), ("seed", "3"), ("recordings", None)])  # fmt: skip
def test_random_windows_refuse(name, value):
    recordings = keras_s4.datasets.Recordings([np.zeros((60, 6), "float32")], np.zeros(1), np.zeros(1))
    with pytest.raises((TypeError, ValueError), match=f"RandomWindows got {name}="):
        keras_s4.augmentation.RandomWindows(**{"recordings": recordings, "length": 20, name: value})
