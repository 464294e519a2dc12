import copy
import statistics

import pytest
from summaries import SUMMARY

from keras_s4.job.folds import summarize_folds


def test_folds_have_their_mean_and_their_deviation():
    values = [0.5, 0.7, 0.6]
    summaries = [copy.deepcopy(SUMMARY) for _ in values]
    for summary, value in zip(summaries, values, strict=True):
        summary["table"][1]["accuracy"] = value
        summary["streams"] = {"decided": {"device": {"accuracy": value, "settled_accuracy": None}}}
    found = {(row["row"], row["figure"]): row for row in summarize_folds(summaries)["rows"]}
    assert found["TFLM", "accuracy"]["values"] == values
    assert found["TFLM", "accuracy"]["mean"] == pytest.approx(0.6)
    assert found["TFLM", "accuracy"]["deviation"] == pytest.approx(statistics.stdev(values))
    assert found["device in streams", "accuracy"]["mean"] == pytest.approx(0.6)
    assert found["device in streams", "settled_accuracy"]["mean"] is None
