"""What a task says of its decisions, and what it cannot say."""

import pytest
from tasks import sines

from keras_s4.datasets import Live
from keras_s4.datasets.deciding import decision_of

LIVE = {"live": Live(every=0.5, background="A")}
LABELS = {"multi_label": True}
ANOMALY = {"classes": (), "horizon": 1, "anomaly": True, "meanings": {}}


def test_what_the_task_knows_is_in_the_decision():
    decision = decision_of(sines(**LIVE, decision={"kind": "wake word", "refractory": 2.0}), smoothing=0.25)
    assert (decision.every, decision.rate, decision.background, decision.classes) == (10, 20.0, "A", tuple("ABCDEFG"))
    assert (decision.kind, decision.refractory, decision.smoothing) == ("wake word", 2.0, 0.25)
    assert decision_of(sines(**LABELS, decision={"threshold": 0.7})).kind == "labels"
    alarm = decision_of(sines(**ANOMALY, decision={"confirmations": 2}), threshold=3.5)
    assert (alarm.kind, alarm.classes, alarm.threshold, alarm.every) == ("labels", ("anomaly",), 3.5, 60)


def test_what_the_task_says_comes_first():
    said = {"threshold": 0.8, "release": 0.6, "smoothing": 0.1}
    decision = decision_of(sines(**LIVE, decision=said), threshold=0.3, smoothing=2.0)
    assert {name: getattr(decision, name) for name in said} == said


def test_events_have_no_threshold_below_the_release_of_the_task():
    task = sines(**LIVE, decision={"kind": "wake word", "release": 0.6})
    assert decision_of(task, threshold=0.4).threshold == 0.6
    assert decision_of(task, threshold=0.9).threshold == 0.9
    assert decision_of(sines(**LIVE, decision={"release": 0.6}), threshold=0.4).threshold == 0.4


@pytest.mark.parametrize(
    ("changes", "decision", "message"),
    [
        (LIVE, {"confirm": 2}, "A decision has no setting confirm; it has"),
        (LIVE, {"smoothing": -1.0}, "Decision got smoothing=-1"),
        (LIVE, {"smoothing": "long"}, "Decision got smoothing='long'"),
        (LIVE, {"threshold": 1.5}, "expected a threshold from 0 to 1, of a probability"),
        (LIVE, {"release": -0.5}, "expected a release from 0 to 1"),
        (LIVE, {"threshold": [0.5, 0.6]}, "has 2 thresholds, the model 7 outputs"),
        (LIVE, {"kind": "wake word", "threshold": 0.4, "release": 0.6}, "release=0.6 above threshold=0.4"),
        (LIVE, {"kind": "labels"}, "expected kind='class' or 'wake word' for the outputs of this task"),
        (LIVE, {"every": 5, "background": "B"}, r"itself says every \(\[live\] every\), background \(\[live\] back"),
        ({}, {"every": 5}, "the length of windows, at whose ends it decides"),
        ({}, {"classes": ["A"], "rate": 3.0}, r"itself says classes \(its classes\), rate \(the rate of the task\)"),
        ({}, {"output": "head"}, "of which a model has one"),
        (LABELS, {"kind": "class"}, "expected kind='labels' for the outputs"),
        (ANOMALY, {"kind": "labels", "classes": ["odd"]}, "itself says classes"),
        (ANOMALY, {"kind": "class"}, "expected kind='labels'"),
        (ANOMALY, {"release": "low"}, "section \\[decision\\]"),
        ({"targets": ("speed",), "meanings": {}}, {"threshold": 0.5}, "expected none: it is made between classes"),
        ({**ANOMALY, "anomaly": False}, {"threshold": 0.5}, "expected none: it is made between classes"),
    ],
)
def test_what_no_task_can_say_of_its_decision_is_refused(changes, decision, message):
    with pytest.raises(ValueError, match=message):
        sines(**changes, decision=decision)
