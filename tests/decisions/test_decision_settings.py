"""Settings of decisions: JSON and TOML, times in seconds, and what contradicts itself is refused."""

import json
import tomllib

import numpy as np
import pytest

from keras_s4.decisions import Decider, Decision, Scores

FULL = Decision(
    kind="wake word",
    every=80,
    rate=16000,
    smoothing=0.25,
    threshold=(0.5, 0.75),
    release=0.25,
    confirmations=2,
    refractory=1.5,
    settling=0.5,
    background="silence",
    classes=("silence", "yes"),
    output="head",
)


@pytest.mark.parametrize(
    "decision",
    [Decision(), FULL, Decision(threshold=np.float32(0.5)), Decision(kind="labels", threshold=np.array([0.5, 0.25]))],
)
def test_settings_survive_json(decision):
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_settings_are_read_from_toml():
    text = 'kind = "class"\nevery = 12\nrate = 25\nrelease = [0.25, 0.5]\nclasses = ["a", "b"]\nbackground = 1\n'
    expected = Decision(every=12, rate=25.0, release=(0.25, 0.5), classes=("a", "b"), background=1)
    assert Decision.from_dict(tomllib.loads(text)) == expected


def test_names_become_numbers_and_seconds_become_decisions():
    integers = Decider(FULL, Scores(count=2)).integers
    assert (integers.background, integers.refractory, integers.settling) == (0, 300, 100)
    assert integers.weight == round(-np.expm1(-80 / 16000 / 0.25) * 2**31)
    assert FULL.seconds == 0.005
    plain = Decider(Decision(refractory=3, settling=2, smoothing=4), Scores(count=2)).integers
    assert (plain.refractory, plain.settling, plain.weight) == (3, 2, round(-np.expm1(-1 / 4) * 2**31))


@pytest.mark.parametrize(
    ("every", "rate", "time", "decisions"), [(1, 10, 0.3, 3), (3, 10, 0.3, 1), (3, 10, 0.4, 2), (7, 50, 0.7, 5)]
)
def test_a_refractory_time_is_never_cut_short(every, rate, time, decisions):
    decider = Decider(Decision(every=every, rate=rate, refractory=time), Scores(count=2))
    assert decider.integers.refractory == decisions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "vote"}, "'vote'; expected one of 'class', 'wake word', 'labels'"),
        ({"every": 0}, "every=0; expected a whole number of at least 1"),
        ({"every": 0.5}, "every=0.5; expected a whole number"),
        ({"rate": 0}, "rate=0.0; expected steps a second"),
        ({"rate": "fast"}, "rate='fast'"),
        ({"smoothing": -1.0}, "smoothing=-1.0; expected a finite number of at least 0"),
        ({"smoothing": float("nan")}, "smoothing=nan"),
        ({"refractory": 1e9, "rate": 16000}, "refractory=1e\\+09, which is 1.6e\\+13 decisions"),
        ({"confirmations": 0}, "confirmations=0"),
        ({"confirmations": 70000}, "confirmations=70000; expected 65535 at most"),
        ({"threshold": float("inf")}, "threshold=inf"),
        ({"threshold": ()}, "threshold=\\(\\); expected a number, or one for each class"),
        ({"threshold": "0.5"}, "threshold='0.5'"),
        ({"kind": "labels", "threshold": 0.5, "release": 0.6}, "release=0.6 above threshold=0.5"),
        ({"kind": "labels", "threshold": (0.5, 0.2), "release": 0.3}, "release=0.3 above threshold=0.2"),
        ({"kind": "labels", "threshold": (0.5, 0.2), "release": (0.1,)}, "1 releases and 2 thresholds"),
        ({"background": "noise"}, "background='noise'; expected one of the classes: none are given"),
        ({"background": "noise", "classes": ("a", "b")}, "background='noise'; expected one of the classes: 'a', 'b'"),
        ({"background": -1}, "background=-1"),
        ({"classes": "ab"}, "classes='ab'; expected names"),
        ({"classes": ("a", "a")}, "expected different texts"),
        ({"output": 1}, "output=1; expected the name"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Decision(**settings)


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match="no setting treshold; it has kind, every"):
        Decision.from_dict({"treshold": 0.5})
    with pytest.raises(TypeError, match="expected a dict"):
        Decision.from_dict("class")


@pytest.mark.parametrize(
    ("decision", "count", "message"),
    [
        (Decision(), 1, 'For a score above a threshold use kind="labels"'),
        (Decision(threshold=(0.5, 0.5)), 3, "2 thresholds, the model 3 outputs"),
        (Decision(release=(0.5, 0.5)), 3, "2 releases, the model 3 outputs"),
        (Decision(classes=("a", "b")), 3, "2 classes, the model 3 outputs"),
        (Decision(background=3), 3, "background=3; the model's classes are 0 to 2"),
    ],
)
def test_decisions_that_do_not_fit_the_outputs_are_refused(decision, count, message):
    with pytest.raises(ValueError, match=message):
        Decider(decision, Scores(count=count))
