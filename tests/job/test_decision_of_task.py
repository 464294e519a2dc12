"""How the firmware decides: chosen with what the task says, on validation streams, as the device runs."""

import dataclasses

import keras
import numpy as np
import pytest
from tasks import CLASSES, make_recordings, sines

from keras_s4.datasets import Live, Recordings, Splits
from keras_s4.decisions import choose_threshold
from keras_s4.job.aims import aim_of
from keras_s4.job.aims.aim import outputs_of
from keras_s4.job.decision import SMOOTHINGS, alarms_in_streams, choose, choose_decision
from keras_s4.job.job import Job
from keras_s4.job.settings import Settings
from keras_s4.job.streams import Streams, run_device, run_keras, score_classes
from keras_s4.streaming import StreamingModel

LIVE = Live(seconds=1.0, every=0.5, tolerance=1.0)


def flickering(task):
    """Outputs in validation streams: right, but for one decision in five, which is sure of another class."""
    streams = Streams.of(task, "validation")
    random = np.random.default_rng(0)
    found = []
    for labels in streams.labels():
        said = np.where(random.random(len(labels)) < 0.2, random.integers(0, CLASSES, len(labels)), labels)
        sureness = np.where(
            said == labels, random.uniform(0.4, 0.8, len(labels)), random.uniform(0.5, 0.9, len(labels))
        )
        outputs = np.repeat((1 - sureness[:, None]) / (CLASSES - 1), CLASSES, axis=1)
        outputs[np.arange(len(labels)), said] = sureness
        found.append(outputs)
    return found, streams


def test_what_the_task_says_is_in_force_when_the_threshold_is_chosen():
    """The choice is that of `choose_threshold` with the task's confirmations, not with one."""
    task = sines(live=LIVE, decision={"confirmations": 3, "smoothing": 0.0})
    outputs, streams = flickering(task)
    chosen, curve = choose_decision(task, outputs, streams)
    assert (chosen.confirmations, chosen.smoothing) == (3, 0.0)
    alone = {}
    for confirmations in (1, 3):
        decision = dataclasses.replace(chosen, confirmations=confirmations, threshold=0.5)
        alone[confirmations] = choose_threshold(decision, outputs, streams.labels(), tolerance=1.0)
    assert chosen.threshold == alone[3].threshold != alone[1].threshold
    np.testing.assert_allclose([row["f1"] for row in curve], alone[3].curve.f1)


def test_the_smoothing_that_decides_best_is_chosen():
    task = sines(live=LIVE)
    outputs, streams = flickering(task)
    chosen, _ = choose_decision(task, outputs, streams)
    assert chosen.smoothing in SMOOTHINGS[1:]


@pytest.mark.parametrize("kind", ["class", "wake word"])
def test_a_threshold_and_a_release_of_the_task_stay(kind):
    said = {"kind": kind, "threshold": 0.6, "release": 0.55, "refractory": 1.0}
    task = sines(live=LIVE, decision=said)
    chosen, curve = choose_decision(task, *flickering(task))
    assert {name: getattr(chosen, name) for name in said} == said
    assert len(curve) > 20
    task = sines(live=LIVE, decision={"kind": kind, "release": 0.95})
    chosen, _ = choose_decision(task, *flickering(task))
    assert chosen.release == 0.95 and (chosen.threshold >= 0.95 or kind == "class")


def test_wake_words_are_chosen_by_their_events():
    """One event a class and no false alarm, from outputs that are right."""
    task = sines(live=LIVE, decision={"kind": "wake word", "refractory": 0.5})
    streams = Streams.of(task, "validation")
    outputs = [0.1 + 0.3 * np.eye(CLASSES)[labels] for labels in streams.labels()]
    chosen, curve = choose_decision(task, outputs, streams)
    assert 0.1 < chosen.threshold < 0.4 and chosen.kind == "wake word"
    assert max(row["f1"] for row in curve) == 1.0
    events = [np.where(np.diff(labels, prepend=-1) != 0, labels, -1) for labels in streams.labels()]
    found = score_classes(task, events, streams, "wake word")
    assert (found["missed"], found["false_alarms"], found["accuracy"]) == (0, 0, None)


def test_without_an_event_nothing_is_chosen():
    """Validation streams of the background alone."""
    quiet = make_recordings([3], 1)
    quiet = quiet.take(np.flatnonzero(quiet.labels == 0))
    others = (make_recordings([1, 2], 0), make_recordings([4], 2))
    task = sines(
        live=dataclasses.replace(LIVE, background="A"),
        read=lambda: Splits(others[0], quiet, others[1]),
        decision={"confirmations": 2},
    )
    streams = Streams.of(task, "validation")
    chosen, curve = choose_decision(
        task, [np.full((len(each), CLASSES), 1 / CLASSES) for each in streams.labels()], streams
    )
    assert (chosen.threshold, chosen.confirmations, curve) == (0.5, 2, [])


def test_streams_that_end_before_a_decision_is_made_choose_nothing():
    task = sines(live=LIVE, decision={"settling": 100.0})
    chosen, curve = choose_decision(task, *flickering(task))
    assert (chosen.settling, chosen.threshold, curve) == (100.0, 0.5, [])


@pytest.fixture(scope="module")
def anomalies():
    """A job whose firmware is that of an untrained model, without a folder."""
    parts = [make_recordings(*part) for part in (([1, 2], 0), ([3], 1), ([4], 2))]
    splits = [Recordings(part.signals, (part.labels > 3).astype(int), part.subjects) for part in parts]
    live = dataclasses.replace(LIVE, seconds=4.0)
    task = sines(classes=(), horizon=1, anomaly=True, meanings={}, live=live, read=lambda: Splits(*splits))
    settings = Settings(channels=4, states=2, blocks=1, normal_part=0.9)
    keras.utils.set_random_seed(0)
    model = aim_of(task).exported(aim_of(task).build(settings))

    class AloneJob(Job):
        decision = None

        def exported(self, name):
            return model

    return AloneJob(task, None, settings)


def test_the_threshold_of_live_anomalies_is_that_of_streams_that_nobody_resets(anomalies):
    """Against Keras, step by step over all normal validation recordings, one behind the other."""
    (signal,) = Streams.of(anomalies.task, "validation", normal=True).signals
    assert len(signal) == 4 * 200
    streaming = StreamingModel(anomalies.exported("aware"))
    outputs, _ = streaming.compiled_chunk()(signal[None], streaming.initial_state(1))
    scores = np.asarray(outputs)[0, 9::10, 0]
    threshold = choose(anomalies).decision.threshold
    assert threshold == pytest.approx(np.quantile(scores, 0.9), rel=0.02)
    x, labels = anomalies.aim.examples("validation")
    after_resets = np.quantile(outputs_of(anomalies.exported("aware"), x[labels == 0])[:, 0], 0.9)
    assert after_resets < 0.95 * threshold


def test_live_alarms_are_counted_in_streams(anomalies):
    """Shares of the decisions, with three in a row to confirm, counted here from the scores."""
    decision = dataclasses.replace(choose(anomalies).decision, threshold=0.8, confirmations=3)
    anomalies.decision = decision
    found = alarms_in_streams(anomalies)
    test = Streams.of(anomalies.task, "test")
    (scores,), (labels,) = run_device(anomalies.firmware, test), test.labels()
    above = scores[:, 0] > 0.8
    alarms = np.zeros(len(above), bool)
    for now in range(len(above)):
        alarms[now] = above[now] and (alarms[now - 1] or above[max(now - 2, 0) : now + 1].sum() == 3)
    assert found["of"] == "decisions" and 0 < alarms.mean() < 1
    assert found["detected"] == alarms[labels == 1].mean()
    assert found["false_alarms"] == alarms[labels == 0].mean()
    assert found["equal"] > 0.9 and len(run_keras(anomalies.exported("aware"), test)[0]) == len(alarms)
