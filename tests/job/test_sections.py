"""What the tables of a report say of streams, engines and thresholds."""

import copy

import pytest
from summaries import SUMMARY

from keras_s4.job.sections import sections_of

FIGURES = {
    "accuracy": 0.8,
    "settled_accuracy": 0.9,
    "delay": {"median": 1.5, "p90": 3.0},
    "false_alarms_per_hour": 12.0,
    "missed_share": 0.1,
}
ENGINES = {"engines": ["tflm", "c", "emulator"], "steps": 9000, "emulated": 4500, "first": 1500, "equal": True}


@pytest.fixture
def summary():
    found = copy.deepcopy(SUMMARY)
    found["streams"] = {
        "streams": 3,
        "every": 0.5,
        "tolerance": 2.0,
        "engines": ENGINES,
        **dict.fromkeys(("keras", "device", "resets"), FIGURES),
        "decided": dict.fromkeys(("keras", "device"), FIGURES),
        "equal_classes": 1.0,
        "decision": {"threshold": 0.7},
        "curve": [{"threshold": 0.7, "recall": 1.0, "f1": 1.0, "false_alarms_per_hour": 0.0, "delay": 1.0}],
    }
    return found


def text_of(summary, title):
    (section,) = [section for section in sections_of(summary) if section.title == title]
    return section.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "TFLM and C are equal in all 9,000 steps without a reset, and the emulator equals them in the first 1,500"
             " steps of each stream, 4,500 in all."),
        ({"emulated": 9000}, "TFLM, C and the emulator are equal in all 9,000 steps without a reset."),
        ({"engines": ["c", "emulator"]}, "C and the emulator are equal without a reset in the first 1,500 steps of each"
                                         " stream, 4,500 in all."),
        ({"engines": ["emulator"]}, "The emulator was compared with no other engine."),
        ({"equal": False}, "TFLM, C and the emulator DIFFER."),
    ],
)  # fmt: skip
def test_engines_are_said_to_be_equal_as_far_as_they_were_compared(summary, changes, words):
    summary["streams"]["engines"] = ENGINES | changes
    assert words in text_of(summary, "At any time, without a reset")


@pytest.mark.parametrize(
    ("decision", "curve", "words"),
    [
        ({}, True, "The threshold, 0.7, was chosen on validation streams."),
        ({}, False, "The threshold, 0.7, was not chosen, since the validation streams have no event."),
        ({"threshold": 0.7}, True, "The threshold, 0.7, is what the task says."),
    ],
)
def test_a_threshold_is_said_to_be_chosen_where_it_was(summary, decision, curve, words):
    summary["task"]["decision"] = decision
    summary["streams"]["curve"] *= curve
    (section,) = [section for section in sections_of(summary) if section.figures]
    assert words in section.text
    assert section.figures == (("streams", "threshold") if curve else ("streams",))


@pytest.mark.parametrize(
    ("decision", "of", "words"),
    [
        ({}, "windows", "1.5, lies above the scores of 99% of the normal validation windows: 75.0% of the anomalous"
                        " test windows and"),
        ({}, "decisions", "lies above the scores of 99% of the decisions in normal validation streams: 75.0% of the"
                          " anomalous test decisions and"),
        ({"threshold": 1.5}, "decisions", "1.5, is what the task says: 75.0%"),
    ],
)  # fmt: skip
def test_alarms_are_those_of_windows_or_of_streams(decision, of, words):
    summary = copy.deepcopy(SUMMARY)
    summary["task"]["decision"] = decision
    share = {"auc": 0.9, "partial_auc": 0.8}
    alarms = {"of": of, "threshold": 1.5, "detected": 0.75, "false_alarms": 0.01, "equal": 1.0}
    summary["details"] = {"windows": share, "recordings": share, "alarms": alarms}
    assert words in text_of(summary, "Anomalies")
