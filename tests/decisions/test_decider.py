"""Decisions: numpy gives what plain whole numbers give, for streams at once as step by step, and the rules hold."""

import numpy as np
import plain_decisions
import pytest

from keras_s4.decisions import Decider, Decision, Event, Scores


def random_decision(random, kind, count):
    release = None if random.random() < 0.3 else float(random.uniform(0, 0.4))
    background = int(random.integers(count)) if random.random() < 0.5 else None
    return Decision(
        kind=kind,
        smoothing=float(random.choice([0, 0.3, 2, 30])),
        threshold=tuple(random.uniform(0.4, 0.7, count).tolist()) if random.random() < 0.3 else 0.5,
        release=release,
        confirmations=int(random.integers(1, 4)),
        refractory=float(random.integers(0, 6)),
        settling=float(random.integers(0, 4)),
        background=background,
    )


def wandering(random, shape):
    """Logits that change slowly, as those of a stream do: int8."""
    steps = random.normal(0, 6, shape)
    logits = np.cumsum(steps, axis=-2)
    return np.clip(logits - logits.mean(axis=-1, keepdims=True), -128, 127).astype(np.int8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("kind", "count"), [("class", 4), ("wake word", 3), ("labels", 3), ("labels", 1)])
def test_streams_are_decided_as_by_plain_whole_numbers(kind, count, seed):
    random = np.random.default_rng(seed)
    decision = random_decision(random, kind, count)
    scores = Scores(count=count, softmax=kind != "labels", type="int8", scale=1 / 128 if kind == "labels" else 0.05)
    values = wandering(random, (3, 120, count))
    decider = Decider(decision, scores)
    found = decider.run(values)
    for stream, on, fired in zip(values, found.on, found.fired, strict=True):
        expected = plain_decisions.decide(decider.integers, scores.levels(stream).tolist())
        assert [set(np.flatnonzero(row)) for row in on] == [each for each, _ in expected]
        assert [set(np.flatnonzero(row)) for row in fired] == [each for _, each in expected]
    decider.reset()
    steps = [decider.step(row) for row in values[0]]
    np.testing.assert_array_equal([step.on for step in steps], found.on[0])
    np.testing.assert_array_equal([step.fired for step in steps], found.fired[0])


def of_two(probabilities):
    """Two classes, by the probability of the second."""
    second = np.array(probabilities)
    return np.stack([1 - second, second], axis=-1)


def classes(probabilities, **settings):
    return Decider(Decision(**settings), Scores(count=2)).run(of_two(probabilities)).classes.tolist()


def test_a_class_changes_only_when_another_is_sure():
    assert classes([0.4, 0.55, 0.65, 0.45, 0.35, 0.35], threshold=0.6) == [0, 0, 1, 1, 0, 0]


def test_a_said_class_is_held_above_its_release():
    assert classes([0.9, 0.45, 0.45, 0.2], release=0.4) == [1, 1, 1, 0]


def test_a_change_is_confirmed_by_decisions_in_a_row():
    assert classes([0.1, 0.9, 0.1, 0.9, 0.9, 0.9], confirmations=3) == [0, 0, 0, 0, 0, 1]


def test_no_change_comes_within_the_refractory_time():
    assert classes([0.1, 0.9, 0.1, 0.9, 0.1, 0.9], refractory=3) == [0, 0, 0, 1, 1, 1]


def test_the_background_is_said_at_first_and_where_nothing_is_sure():
    values = np.array([[0.3, 0.3, 0.4], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    decided = Decider(Decision(background=0), Scores(count=3)).run(values)
    assert decided.classes.tolist() == [0, 1, 0, 2]
    assert decided.events == (Event(1, 1), Event(2, 0), Event(3, 2))


def test_nothing_is_decided_until_the_model_has_settled():
    assert classes([0.9, 0.9, 0.2], settling=2) == [-1, -1, 0]
    assert classes([0.9, 0.9, 0.9], settling=2, background=0) == [0, 0, 1]


def test_a_wake_word_fires_once_until_it_is_released():
    assert classes([0.1, 0.9, 0.9, 0.45, 0.9, 0.1, 0.9], kind="wake word", release=0.4, background=0) == [
        -1, 1, -1, -1, -1, -1, 1,
    ]  # fmt: skip


def test_wake_words_come_one_at_a_time():
    values = np.array([[0.1, 0.45, 0.45], [0.1, 0.4, 0.5], [0.1, 0.5, 0.4]])
    decider = Decider(Decision(kind="wake word", threshold=0.35, background=0), Scores(count=3))
    assert decider.run(values).classes.tolist() == [1, 2, -1]


def test_labels_go_on_and_off_by_themselves():
    values = np.array([[0.9, 0.9], [0.45, 0.1], [0.9, 0.9], [0.2, 0.9]])
    decided = Decider(Decision(kind="labels", release=0.4), Scores(count=2, softmax=False)).run(values)
    assert decided.on.tolist() == [[True, True], [True, False], [True, True], [False, True]]
    assert decided.events == (Event(0, 0), Event(0, 1), Event(2, 1))
    with pytest.raises(ValueError, match="one for each label"):
        _ = decided.classes


def test_smoothing_has_the_time_constant_that_was_asked_for():
    """A step from 0 to 1 has risen to 1 - 1 / e after the time constant: of 2 s at 10 decisions a second, after 20."""
    values = np.concatenate([[0.0], np.ones(40)])
    for threshold, first in ((1 - np.exp(-1) - 1e-6, 20), (1 - np.exp(-1) + 1e-6, 21)):
        decision = Decision(kind="labels", every=10, rate=100, smoothing=2.0, threshold=threshold)
        assert Decider(decision, Scores(count=1, softmax=False)).run(values).events == (Event(first, 0),)


def test_an_average_over_a_million_decisions_does_not_drift():
    """A constant score is its own average from everywhere, but for half a unit of the weight."""
    decider = Decider(Decision(kind="labels", smoothing=1000.0), Scores(count=1, softmax=False))
    average = decider._average
    average.step(np.array([2**30]))
    for _ in range(40_000):
        last = average.step(np.array([-(2**30) + 1]))
    assert abs(int(last[0]) - (-(2**30) + 1)) <= 1001
    assert int(average.step(last)[0]) == int(last[0])


def test_decisions_are_made_from_the_last_of_every_few_steps():
    decider = Decider(Decision(every=3), Scores(count=2))
    assert decider.every(np.arange(16).reshape(8, 2)).tolist() == [[4, 5], [10, 11]]
    assert decider.every(np.zeros((5, 9, 2))).shape == (5, 3, 2)


def test_shapes_of_other_streams_are_refused():
    decider = Decider(Decision(), Scores(count=2))
    with pytest.raises(ValueError, match=r"run received scores of shape \[2\]; expected \[L, 2\]"):
        decider.run(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"step received scores of shape \[1, 2\]; expected \[2\]"):
        decider.step(np.array([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="several streams"):
        _ = decider.run(np.full((2, 3, 2), 0.5)).events


def test_what_means_nothing_yet_is_not_averaged():
    values = of_two([1.0, 1.0, 0.4, 0.7])
    decision = Decision(smoothing=10.0, threshold=0.45, background=0)
    decider = Decider(decision, Scores(count=2), unready=2)
    assert decider.run(values).classes.tolist() == [0, 0, 0, 0]
    assert Decider(decision, Scores(count=2)).run(values).classes.tolist() == [1, 1, 1, 1]
    assert [int(decider.step(row).classes) for row in values] == [0, 0, 0, 0]
