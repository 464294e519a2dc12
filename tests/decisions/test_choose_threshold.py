"""Thresholds chosen on validation streams: the curve counts what a count by hand counts, and the choice is the best."""

import dataclasses

import numpy as np
import pytest

from keras_s4.decisions import Decider, Decision, Scores, choose_threshold

RATE = {"every": 50, "rate": 100}


def stretches(labels, c):
    """`[start, end)` of each stretch of a class."""
    found, start = [], None
    for now, label in enumerate([*labels, None]):
        if label == c and start is None:
            start = now
        elif label != c and start is not None:
            found.append((start, now))
            start = None
    return found


def by_hand(decision, streams, truth, late):
    """Found, missed, false alarms and summed delays, decision by decision."""
    found = missed = alarms = waited = 0
    for stream, labels in zip(streams, truth, strict=True):
        decided = Decider(decision, Scores(count=stream.shape[1])).run(stream)
        seen = decided.fired if decision.kind == "wake word" else decided.on
        for c in range(stream.shape[1]):
            if c == decision.background:
                continue
            near = set()
            for start, end in stretches(labels.tolist(), c):
                window = range(start, min(end + late, len(labels)))
                near |= set(window)
                hits = [now for now in window if seen[now, c]]
                found, missed = found + bool(hits), missed + (not hits)
                waited += hits[0] - start if hits else 0
            alarms += sum(1 for now in np.flatnonzero(decided.fired[:, c]) if now not in near and labels[now] != -1)
    return found, missed, alarms, waited


def streams_of_words(seed, count=3, length=200):
    random = np.random.default_rng(seed)
    streams, truth = [], []
    for _ in range(2):
        labels = np.repeat(random.integers(-1, count, length // 8), 8)
        logits = random.normal(0, 1.2, (length, count))
        logits[np.arange(length), np.maximum(labels, 0)] += 2.0
        scores = np.exp(logits)
        streams.append(scores / scores.sum(axis=1, keepdims=True))
        truth.append(labels)
    return streams, truth


@pytest.mark.parametrize("kind", ["class", "wake word"])
@pytest.mark.parametrize("seed", range(3))
def test_the_curve_counts_what_a_count_by_hand_does(kind, seed):
    streams, truth = streams_of_words(seed)
    decision = Decision(kind=kind, background=0, smoothing=0.5, refractory=1.0, release=0.3, **RATE)
    curve = choose_threshold(decision, streams, truth, tolerance=1.0, points=12).curve
    assert len(curve.thresholds) >= 10
    for index, threshold in enumerate(curve.thresholds):
        release = min(0.3, threshold) if kind == "wake word" else 0.3
        tried = dataclasses.replace(decision, threshold=float(threshold), release=release)
        found, missed, alarms, waited = by_hand(tried, streams, truth, 2)
        assert (curve.found[index], curve.missed[index], curve.false_alarms[index]) == (found, missed, alarms)
        np.testing.assert_allclose(curve.delay[index], waited / found if found else np.nan)
        np.testing.assert_allclose(curve.f1[index], 2 * found / (2 * found + missed + alarms))
    known = sum((labels != -1).sum() for labels in truth)
    np.testing.assert_allclose(curve.hours, known * 0.5 / 3600)


def test_the_best_f1_is_chosen():
    streams, truth = streams_of_words(4)
    choice = choose_threshold(Decision(kind="wake word", background=0, **RATE), streams, truth)
    curve, place = choice.curve, choice.places[0]
    assert curve.f1[place] == curve.f1.max() and 0.3 < choice.threshold < 0.9
    assert choice.decision.threshold == curve.thresholds[place]


def test_of_all_thresholds_with_few_false_alarms_the_one_that_finds_most_is_chosen():
    streams, truth = streams_of_words(5)
    choice = choose_threshold(Decision(kind="wake word", background=0, **RATE), streams, truth, false_alarms=30)
    curve, place = choice.curve, choice.places[0]
    loud = np.flatnonzero(curve.false_alarms_an_hour > 30)
    assert place > loud[-1] and curve.found[place] == curve.found[loud[-1] + 1 :].max()
    assert curve.found.max() > curve.found[place] > 0


def test_an_alarm_that_never_ends_is_no_rare_one():
    """Below all scores it begins once or twice, which would be the fewest false alarms of all."""
    random = np.random.default_rng(8)
    normal = random.uniform(0.3, 0.6, (7200, 1))
    choice = choose_threshold(Decision(kind="labels", **RATE), [normal], [np.zeros(7200, int)], false_alarms=5)
    assert choice.curve.false_alarms[0] <= 2
    assert choice.threshold > 0.59


def test_a_threshold_of_anomalies_is_chosen_on_what_is_normal():
    """Of 7200 scores at 2 a second, an hour, five are to be alarms: the lowest threshold tried with so few."""
    random = np.random.default_rng(6)
    scores = Scores(count=1, softmax=False, scale=50 * 2.0**-30)
    normal = random.exponential(1.0, (7200, 1))
    decision = Decision(kind="labels", **RATE)
    choice = choose_threshold(decision, [normal], [np.zeros(7200, int)], scores=scores, false_alarms=5)
    alarms = Decider(choice.decision, scores).run(normal).fired.sum()
    assert 0 < alarms <= 5
    assert choice.curve.false_alarms[choice.places[0] - 1] > 5


def test_each_label_has_a_threshold_of_its_own():
    random = np.random.default_rng(7)
    truth = np.repeat(random.integers(0, 2, (40, 2)), 6, axis=0)
    scores = np.clip(truth * [0.2, 0.6] + random.uniform(0, 0.15, truth.shape), 0, 1)
    choice = choose_threshold(Decision(kind="labels", release=0.2), [scores], [truth])
    low, high = choice.threshold
    assert 0.14 < low < 0.35 and 0.2 < high < 0.75 and low < high - 0.1
    assert choice.decision.release == (min(low, 0.2), 0.2)
    assert [curve.f1[place] for curve, place in zip(choice.curves, choice.places, strict=True)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="Each of 2 labels has a curve"):
        _ = choice.curve


def test_integers_of_a_program_have_thresholds_in_real_numbers():
    scores = Scores(count=1, softmax=False, type="int8", scale=1 / 256, zero_point=-128)
    integers = np.array([[-100], [-100], [100], [100], [-100], [90], [-100]], np.int8)
    truth = np.array([0, 0, 1, 1, 0, 0, 0])
    choice = choose_threshold(Decision(kind="labels"), [integers], [truth], scores=scores)
    assert 218 / 256 <= choice.threshold < 228 / 256
    assert Decider(choice.decision, scores).run(integers).on[:, 0].tolist() == (truth == 1).tolist()


@pytest.mark.parametrize(
    ("decision", "truth", "more", "message"),
    [
        (Decision(), np.zeros(5, int), {}, r"truth of shape \[5\] for the scores \[4, 2\] of stream 0; expected \[4\]"),
        (Decision(), np.full(4, 2), {}, "up to 2 for stream 0; expected classes from 0 to 1"),
        (Decision(), np.zeros(4), {}, "truth of type float64"),
        (Decision(kind="labels"), np.full((4, 2), 2), {}, "expected 0 and 1"),
        (Decision(), np.zeros(4, int), {"false_alarms": 1}, "a decision without a rate; say rate="),
        (Decision(background=0), np.zeros(4, int), {}, "no event, so that no F1 can be told"),
        (Decision(), np.zeros(4, int), {"points": 1}, "points=1"),
        (Decision(), np.zeros(4, int), {"tolerance": -1}, "tolerance=-1"),
    ],
)
def test_what_cannot_be_chosen_is_refused(decision, truth, more, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(decision, [np.full((4, 2), 0.5)], [truth], **more)


def test_streams_and_truths_are_as_many():
    with pytest.raises(ValueError, match="1 streams and 0 truths"):
        choose_threshold(Decision(), [np.full((4, 2), 0.5)], [])
    with pytest.raises(ValueError, match="no stream"):
        choose_threshold(Decision(), [], [])


def test_streams_that_end_too_early_are_refused():
    with pytest.raises(ValueError, match="end before a decision is made"):
        choose_threshold(Decision(settling=4), [np.full((4, 2), 0.5)], [np.zeros(4, int)])


def test_a_label_that_is_background_keeps_its_threshold():
    random = np.random.default_rng(0)
    stream = random.random((200, 3))
    decision = Decision(kind="labels", background=1, threshold=0.6)
    choice = choose_threshold(decision, [stream], [(stream > 0.7).astype(int)])
    assert choice.threshold[1] == 0.6
    np.testing.assert_allclose(np.array(choice.threshold)[[0, 2]], 0.7, atol=0.02)
    assert len(choice.curves) == len(choice.places) == 2


def test_a_label_that_is_never_there_is_named_and_keeps_its_threshold():
    truth = np.zeros((50, 2), int)
    truth[10:20, 0] = 1
    scores = np.clip(truth + np.random.default_rng(0).uniform(0, 0.2, truth.shape), 0, 1)
    decision = Decision(kind="labels", classes=("click", "hum"), threshold=(0.9, 0.7), release=0.6)
    with pytest.warns(UserWarning, match="no event of label 'hum'"):
        choice = choose_threshold(decision, [scores], [truth])
    click, hum = choice.threshold
    assert 0.2 < click < 1.0 and hum == 0.7
    assert choice.places[1] is None and choice.decision.release == (min(click, 0.6), 0.6)
    with pytest.raises(ValueError, match="received no event, so that no F1"):
        choose_threshold(decision, [scores], [0 * truth])
