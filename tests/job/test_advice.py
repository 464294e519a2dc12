"""Each rule speaks where it should, and is silent where nothing stands out."""

import copy

import pytest
from summaries import ROW, SUMMARY

from keras_s4.job.advice import advise

NAMES = ("Keras trained", "Keras retrained", "Keras aware", "emulator", "TFLM")


@pytest.fixture
def good():
    """A run in which nothing stands out."""
    summary = copy.deepcopy(SUMMARY)
    summary["training"] = {"score": "accuracy", "train": {"accuracy": 0.95}, "validation": {"accuracy": 0.93}}
    summary["table"] = [{"row": name, **ROW, "accuracy": 0.92, "agreement": 1.0} for name in NAMES]
    summary["details"] = {
        "classes": [{"name": name, "precision": 0.9, "recall": 0.9, "f1": 0.9, "support": 50} for name in "AB"],
        "confusion": [[48, 2], [1, 49]],
    }
    return summary


def test_nothing_is_said_of_a_good_run(good):
    assert advise(good) == []


def change(summary, path, value):
    *way, last = path
    for key in way:
        summary = summary[key]
    summary[last] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            ("training", "validation", "accuracy"),
            0.7,
            "95% right on training data, 70% on validation data: overfitting",
        ),
        (("training", "train", "accuracy"), 0.6, "underfitting"),
        (("table", 1, "accuracy"), 0.85, "reduction to 25% of the states cost 7.0%"),
        (("table", 4, "accuracy"), 0.9, "The device loses 2.0% against Keras"),
        (("table", 4, "agreement"), 0.97, "97.0% of the labels on the device are those of Keras, fewer than 99%"),
        (("aware",), {"trained": False, "why_not": "no package"}, "not trained on the device's grids: no package"),
        (("details", "classes", 1, "support"), 5, "fewer than 20, so that figures are rough: B (5)"),
        (("details", "classes", 0, "recall"), 0.3, "few are found: 30% of A"),
        (("details", "confusion"), [[30, 20], [1, 49]], "40% of class A are taken for B"),
        (("details", "quantities"), [{"name": "flow", "rmse": 1.0, "r2": 0.1}], "flow: the model explains 10%"),
        (
            ("details", "quantities"),
            [{"name": "flow", "rmse": 2.0, "r2": 0.1, "persistence_rmse": 1.0}],
            "worse than saying that nothing changes",
        ),
        (("details", "alarms"), {"of": "windows", "detected": 0.2}, "20% of the anomalous windows raise an alarm"),
        (
            ("streams",),
            {"decided": {"device": {"settled_accuracy": 0.8, "missed_share": 0.1}}},
            "In streams 80% of the decisions are right, of whole windows 92%",
        ),
        (
            ("costs",),
            {"microseconds_a_step": 60_000.0, "clock_mhz": 80.0},
            "A step takes about 60,000 microseconds on a Cortex-M4 at 80 MHz, and one comes every 50,000",
        ),
    ],
)
def test_what_stands_out_is_said(good, path, value, words):
    change(good, path, value)
    assert any(words in sentence for sentence in advise(good)), advise(good)


def test_errors_that_grow_on_validation_data_are_overfitting(good):
    good["training"] = {"score": "rmse", "train": {"rmse": 1.0}, "validation": {"rmse": 2.0}}
    assert "2.0 times that on training data: overfitting" in advise(good)[0]
