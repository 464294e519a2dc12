"""Continuous test streams through Keras and the firmware."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tasks import CLASSES, LENGTH, make_recordings, sines

from keras_s4 import models, tflite
from keras_s4.datasets import Live, Recordings, Splits
from keras_s4.decisions import Decision
from keras_s4.job import streams
from keras_s4.job.aims import aim_of
from keras_s4.job.evaluation import evaluate
from keras_s4.job.job import Job
from keras_s4.job.settings import Settings
from keras_s4.job.streams import Streams, compare_engines, run_device, run_engines, run_keras, score
from keras_s4.tflite.emulator import Emulator

LIVE = Live(seconds=0.5, every=0.5, tolerance=1.0)
TASK = sines(live=LIVE)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.classifier((LENGTH, 6), CLASSES, channels=4, states=2, blocks=1, pooling="last")


@pytest.fixture(scope="module")
def firmware(model):
    return tflite.convert(model, TASK.windows("train")[0])


class TestStreams:
    def test_recordings_of_one_label_are_joined(self):
        """20 steps a second: a decision every 10 of the 1,400 steps of seven recordings."""
        test = Streams.of(TASK, "test")
        assert (len(test.signals), test.every) == (1, 10)
        assert test.side_by_side().shape == (1, 1400, 6)
        assert sorted(test.labels()[0]) == sorted(np.repeat(range(CLASSES), 20))
        assert test.decisions(0).tolist() == list(range(9, 1400, 10))

    def test_long_recordings_are_streams_as_they_are(self):
        parts = [make_recordings([subject], subject) for subject in (1, 2, 3)]
        joined = [streams.join_groups(part, 5) for part in parts]
        task = sines(live=LIVE, read=lambda: Splits(*joined))
        np.testing.assert_array_equal(Streams.of(task, "test").signals[0], joined[2].signals[0])

    def test_shorter_streams_are_held_at_their_ends(self):
        recordings = Recordings(
            [np.ones((3, 1)), np.full((5, 1), 2.0)], [np.zeros(3, int), np.ones(5, int)], np.arange(2)
        )
        both = Streams(recordings, 2)
        assert both.side_by_side(4).tolist() == [[[1.0]] * 8, [[2.0]] * 8]
        outputs = np.arange(16.0).reshape(2, 8, 1)
        assert [each.ravel().tolist() for each in both.at_decisions(outputs)] == [[1.0], [9.0, 11.0]]
        assert [each.tolist() for each in both.labels()] == [[0], [1, 1]]

    def test_a_task_without_live_decisions(self):
        with pytest.raises(ValueError, match="live=None"):
            Streams.of(sines(), "test")


@pytest.mark.parametrize("pooling", ["recent", "sliding"])
def test_models_are_trained_on_the_label_of_what_they_have_seen(pooling):
    """Behind a front of stride 5 outputs change with the sample at which they are made, and with none behind it."""
    task, settings = sines(live=dataclasses.replace(LIVE, pooling=pooling)), Settings(channels=2, states=2, front=5)
    aim = aim_of(task)
    model = aim.trained(aim.finish(aim.build(settings)))
    windows = aim.batches(settings)
    x, y = np.random.default_rng(0).normal(size=(1, windows.length, 6)).astype(np.float32), windows[0][1]
    outputs = np.asarray(model(x))
    assert outputs.shape[1] == y.shape[1] == len(windows._ends)
    for output in (3, 7):
        seen = windows._ends[output]
        later, last = x.copy(), x.copy()
        later[:, seen + 1 :] += 1.0
        last[:, seen] += 1.0
        np.testing.assert_allclose(model(later)[:, output], outputs[:, output], atol=1e-6)
        assert np.abs(model(last)[:, output] - outputs[:, output]).max() > 1e-5


class TestRuns:
    def test_keras_gives_what_the_whole_sequence_gives(self, model, monkeypatch):
        """In chunks of 200 steps, against the model at the last of so many steps."""
        monkeypatch.setattr(streams, "CHUNK", 200)
        test = Streams.of(TASK, "test")
        (found,) = run_keras(model, test)
        longer = models.classifier((610, 6), CLASSES, channels=4, states=2, blocks=1, pooling="last")
        longer.set_weights(model.get_weights())
        np.testing.assert_allclose(found[60], longer(test.signals[0][None, :610])[0], atol=1e-5)

    def test_resets_start_anew(self, model, firmware):
        test = Streams.of(TASK, "test")
        windows = test.signals[0][: 23 * LENGTH].reshape(23, LENGTH, 6)
        for run, made, near in ((run_keras, model, 1e-5), (run_device, firmware, 1e-9)):
            (found,) = run(made, test, LENGTH)
            np.testing.assert_allclose(found[5 : 23 * 6 : 6], made.predict(windows), atol=near)

    def test_the_device_is_near(self, model, firmware):
        test = Streams.of(TASK, "test")
        np.testing.assert_allclose(run_device(firmware, test)[0], run_keras(model, test)[0], atol=0.05)


def test_perfect_and_constant_outputs_are_scored():
    test = Streams.of(TASK, "test")
    right = [np.eye(CLASSES)[labels] for labels in test.labels()]
    found = score(TASK, right, test)
    assert (found["accuracy"], found["missed"], found["false_alarms"], found["intervals"]) == (1.0, 0, 0, CLASSES)
    constant = score(TASK, [np.eye(CLASSES)[np.zeros(140, int)]], test)
    assert (constant["settled_accuracy"], constant["missed"]) == (pytest.approx(1 / CLASSES), CLASSES - 1)


def test_quantities_have_their_errors():
    task = sines(targets=("height",), live=LIVE)
    test = Streams.of(task, "test")
    found = score(task, [labels + 0.25 for labels in test.labels()], test)
    assert found == {"decisions": 140, "rmse": pytest.approx(0.25), "mae": pytest.approx(0.25)}


DECISION = Decision(every=10, rate=20.0, smoothing=0.5, threshold=0.14, classes=TASK.classes)


def test_all_of_it(model, firmware):
    figures, arrays = evaluate(TASK, model, firmware, DECISION)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["engines"] == {
        "engines": ["tflm", "c", "emulator"], "steps": 1400, "emulated": 1400, "first": 1400, "equal": True
    }  # fmt: skip
    assert figures["equal_classes"] > 0.9
    assert {"keras", "device"} == set(figures["decided"])
    assert figures["device"]["decisions"] == 140
    assert figures["decision"] == DECISION.to_dict()
    assert arrays["signal"].shape == (1400, 6)
    assert arrays["device"].shape == (140, CLASSES)


def test_the_device_decides_from_its_integers(model, firmware):
    """As the firmware does, of whose integers the softmax is a table: from those of the emulator."""
    figures, arrays = evaluate(TASK, model, firmware, DECISION)
    integers = Emulator(firmware.program).run(firmware.quantize(Streams.of(TASK, "test").signals[0][None], whole=False))
    said = firmware.decider(DECISION).run(integers[0, 9::10]).classes
    assert arrays["decided"].tolist() == said.tolist() and len(set(said)) > 1
    labels = Streams.of(TASK, "test").labels()[0]
    assert figures["decided"]["device"]["accuracy"] == np.mean(said == labels)


def test_wake_words_are_judged_as_events(model, firmware):
    decision = dataclasses.replace(DECISION, kind="wake word", release=0.1)
    figures, arrays = evaluate(TASK, model, firmware, decision)
    found = figures["decided"]["device"]
    assert found["accuracy"] is None and found["intervals"] == CLASSES
    events = (arrays["decided"] >= 0).sum()
    assert 0 < events < 140 and found["false_alarms"] + found["repeated"] + CLASSES - found["missed"] == events


def test_engines_that_differ_are_seen(firmware):
    test = Streams.of(TASK, "test")
    found = run_engines(firmware, test)
    assert compare_engines(found, test)["equal"]
    for name in found:
        changed = found[name].copy()
        changed[0, -1, -1] += 1
        assert not compare_engines({**found, name: changed}, test)["equal"]


def test_the_emulator_runs_the_beginning_of_each_stream_unless_it_is_alone(firmware, monkeypatch):
    """Two streams, of which the shorter one is held at its end."""
    monkeypatch.setattr(streams, "EMULATED", 40)
    signal = Streams.of(TASK, "test").signals[0]
    labels = [np.zeros(60, int), np.zeros(30, int)]
    both = Streams(Recordings([signal[:60], signal[:30]], labels, np.arange(2)), 10)
    found = compare_engines(run_engines(firmware, both), both)
    assert (found["steps"], found["emulated"], found["first"]) == (90, 70, 40)
    monkeypatch.setattr(streams.engines, "why_missing", lambda name: "not here")
    found = run_engines(firmware, both)
    assert list(found) == ["emulator"] and found["emulator"].shape[:2] == (2, 60)


class TestCalibration:
    def test_live_tasks_are_calibrated_on_stretches_of_streams(self):
        """Six windows long, of joined recordings; in all no more steps than windows have otherwise."""
        job = Job(TASK, None, Settings())
        signals = streams.join_groups(TASK.splits.train, 0).signals
        assert job.calibration.shape == (sum(-(-len(each) // 360) for each in signals), 6 * LENGTH, 6)
        stretches = {each.tobytes() for each in job.calibration}
        assert signals[0][360:720].tobytes() in stretches

    def test_no_stream_and_no_end_of_one_is_lost(self):
        """Of 150, 400 and 520 steps: stretches of 360, the last at the end of its stream, a short one repeated."""
        splits = [make_recordings([subject], subject) for subject in (1, 2, 3)]
        signals = [np.full((steps, 6), steps) + np.arange(steps)[:, None] / 1000 for steps in (150, 400, 520)]
        train = Recordings(signals, [np.arange(len(signal)) % 7 for signal in signals], np.arange(3))
        task = sines(live=LIVE, read=lambda: Splits(train, *splits[1:]), group=None)
        found = [each[:, 0] for each in Job(task, None, Settings())._stretches()]
        short, *long = signals
        assert [each.shape for each in found] == [(360,)] * 5
        np.testing.assert_array_equal(found[0], np.tile(short[:, 0], 3)[:360])
        places = [(signal, start) for signal in long for start in (0, len(signal) - 360)]
        for each, (signal, start) in zip(found[1:], places, strict=True):
            np.testing.assert_array_equal(each, signal[start : start + 360, 0])

    def test_streams_shorter_than_six_windows_have_stretches_of_their_median(self):
        signals = [np.ones((steps, 6)) for steps in (100, 120, 350)]
        train = Recordings(signals, [np.arange(len(signal)) % 7 for signal in signals], np.arange(3))
        others = [make_recordings([subject], subject) for subject in (2, 3)]
        task = sines(live=LIVE, read=lambda: Splits(train, *others), group=None)
        assert Job(task, None, Settings())._stretches().shape == (1 + 1 + 3, 120, 6)

    def test_anomalies_are_calibrated_on_what_is_normal(self):
        """Of fast sines, which are not, no sample is there."""
        parts = [make_recordings(*part) for part in (([1, 2], 0), ([3], 1), ([4], 2))]
        splits = [Recordings(part.signals, (part.labels > 3).astype(int), part.subjects) for part in parts]
        task = sines(classes=(), horizon=1, anomaly=True, meanings={}, live=LIVE, read=lambda: Splits(*splits))
        found = set(Job(task, None, Settings())._stretches()[:, :, 0].ravel().tolist())
        normal, others = (
            {value for signal, label in zip(parts[0].signals, splits[0].labels, strict=True) if label == wanted
             for value in signal[:, 0].tolist()}
            for wanted in (0, 1)
        )  # fmt: skip
        assert found <= normal and not found & (others - normal) and len(found) > 0.9 * len(normal)

    def test_other_tasks_are_calibrated_on_windows(self):
        assert Job(sines(), None, Settings()).calibration.shape[1:] == (LENGTH, 6)

    def test_the_firmware_of_a_live_task_keeps_its_window(self, model):
        converted = Job(TASK, None, Settings()).convert(model, 2)
        assert converted.length == LENGTH
        assert converted.predict(TASK.windows("test")[0][:2]).shape == (2, CLASSES)
