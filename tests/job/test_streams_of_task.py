"""Continuous test streams through Keras and the firmware."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tasks import CLASSES, LENGTH, make_recordings, sines

from keras_s4 import models, tflite
from keras_s4.datasets import Live, Recordings, Splits
from keras_s4.job import streams
from keras_s4.job.aims import aim_of
from keras_s4.job.job import Job
from keras_s4.job.settings import Settings
from keras_s4.job.streams import Streams, evaluate, run_device, run_keras, score

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


def test_all_of_it(model, firmware):
    figures, arrays = evaluate(TASK, model, firmware)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["engines"]["equal"]
    assert figures["equal_classes"] > 0.9
    assert {"keras", "device"} == set(figures["decided"])
    assert figures["device"]["decisions"] == 140
    assert figures["decision"]["every"] == 10
    assert all(row["recall"] is not None for row in figures["curve"])
    assert arrays["signal"].shape == (1400, 6)
    assert arrays["device"].shape == (140, CLASSES)
    assert arrays["decided"].shape == (140,)


def test_engines_that_differ_are_seen(firmware, monkeypatch):
    test = Streams.of(TASK, "test")
    run = streams.Emulator.run
    monkeypatch.setattr(streams.Emulator, "run", lambda self, x: run(self, x) + 1)
    assert not streams.compare_engines(firmware, test)["equal"]


class TestCalibration:
    def test_live_tasks_are_calibrated_on_stretches_of_streams(self):
        """Six windows long, of joined recordings; in all no more steps than windows have otherwise."""
        job = Job(TASK, None, Settings())
        signals = streams.join_groups(TASK.splits.train, 0).signals
        assert job.calibration.shape == (sum(len(each) // 360 for each in signals), 6 * LENGTH, 6)
        stretches = {each.tobytes() for each in job.calibration}
        assert signals[0][360:720].tobytes() in stretches

    def test_other_tasks_are_calibrated_on_windows(self):
        assert Job(sines(), None, Settings()).calibration.shape[1:] == (LENGTH, 6)

    def test_the_firmware_of_a_live_task_keeps_its_window(self, model):
        converted = Job(TASK, None, Settings()).convert(model, 2)
        assert converted.length == LENGTH
        assert converted.predict(TASK.windows("test")[0][:2]).shape == (2, CLASSES)
