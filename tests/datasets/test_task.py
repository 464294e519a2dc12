"""A task says what is learned, and refuses recordings that do not fit it."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from keras_s4.augmentation import ShuffledWindows
from keras_s4.datasets import Live, Recordings, Sensor, Splits, Task
from keras_s4.recordings import split_in_time

LENGTH, HOP = 6, 3


def recordings(subjects, labels=None, features=2, steps=12):
    random = np.random.default_rng(sum(subjects))
    signals = [random.normal(size=(steps, features)).astype(np.float32) for _ in subjects]
    return Recordings(signals, np.arange(len(subjects)) % 2 if labels is None else labels, np.array(subjects))


def make_task(splits=None, **changes):
    splits = splits or (recordings([1, 2]), recordings([3, 4]), recordings([5, 6]))
    facts = {
        "name": "waves",
        "title": "Two waves told apart",
        "purpose": "to tell two waves apart",
        "read": lambda: splits,
        "length": LENGTH,
        "hop": HOP,
        "sensors": (Sensor("height", ("left", "right"), "m"),),
        "classes": ("low", "high"),
        "group": "buoy",
        "choices": {"fold": 1},
    }
    return Task(**facts | changes)


def test_windows_and_batches():
    task = make_task()
    x, y = task.windows("train")
    assert x.shape == (6, *task.input_shape) == (6, LENGTH, 2)
    np.testing.assert_array_equal(y, [0, 0, 0, 1, 1, 1])
    batches = task.batches(batch_size=4, seed=0)
    found_x, found_y = (np.concatenate(parts) for parts in zip(*(batches[i] for i in range(len(batches))), strict=True))
    order = [int(np.flatnonzero((x == window).all((1, 2)))[0]) for window in found_x]
    assert sorted(order) == list(range(6))
    np.testing.assert_array_equal(found_y, y[order])


def test_orders_differ_by_epoch_and_seed_alone():
    def order(seed, epoch):
        batches = make_task().batches(batch_size=6, seed=seed)
        batches.epoch = epoch
        return batches[0][0]

    np.testing.assert_array_equal(order(0, 1), order(0, 1))
    assert not np.array_equal(order(0, 0), order(0, 1))
    assert not np.array_equal(order(0, 0), order(1, 0))


def test_augmentation_gets_the_training_recordings():
    asked = {}
    task = make_task(augment=lambda recordings, length, **options: asked.update(options, of=recordings, length=length))
    task.batches(batch_size=3, seed=7)
    assert asked == {"of": task.splits.train, "length": LENGTH, "batch_size": 3, "seed": 7}


def test_recordings_are_read_once_and_when_they_are_needed():
    calls = []
    splits = (recordings([1]), recordings([2]), recordings([3]))
    task = make_task(read=lambda: calls.append(1) or splits)
    json.dumps(task.figures())
    assert task.input_shape == (LENGTH, 2) and not calls
    assert isinstance(task.splits, Splits) and task.splits is task.splits
    assert calls == [1]


@pytest.mark.parametrize("columns", [(), (1,), (2,)])
def test_quantities(columns):
    targets = ("speed", "slope")[: columns[0] if columns else 1]
    labels = np.linspace(-1, 1, 2 * len(targets)).reshape(2, *columns)
    splits = tuple(recordings([index], labels[:1]) for index in range(3))
    task = make_task(splits, classes=(), targets=targets)
    assert task.head.task == "regression" and task.outputs == targets and task.metric.score == "rmse"
    _, y = task.windows("test")
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.tile(labels[:1].reshape(1, -1), (3, 1)))


def test_identity_tells_tasks_apart():
    task = make_task()
    for change in ({"length": 5}, {"hop": 2}, {"rate": 50.0}, {"classes": ("low", "top")}, {"name": "other"}):
        assert dataclasses.replace(task, **change).identity != task.identity
    assert dataclasses.replace(task, title="Another headline").identity == task.identity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, r"expected the names of two or more classes, or of one or more targets"),
        ({"classes": ("one",)}, r"two or more classes"),
        ({"targets": ("speed",)}, r"two or more classes, or of one or more targets"),
        ({"length": 0}, r"length=0; expected a whole number of at least 1"),
        ({"hop": 2.5}, r"hop=2.5; expected a whole number"),
        ({"sensors": ()}, r"expected one axis or more"),
        ({"rate": 0.0}, r"rate=0.0; expected steps a second, or None"),
    ],
)
def test_what_no_task_can_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_task(**changes)


class TestLiveDecisions:
    def test_what_a_decision_is_in_steps_and_classes(self):
        task = make_task(rate=50.0, live=Live(every=0.25, background="high"))
        assert (task.every, task.background, task.in_streams) == (12, 1, True)
        assert make_task(rate=1.0, live=Live(every=0.25)).every == 1
        assert make_task(rate=1.0, live=Live()).background is None
        still = make_task()
        assert (still.every, still.background, still.in_streams) == (None, None, False)

    def test_outputs_at_every_step_and_anomalies_are_trained_on_windows(self):
        assert not make_task(rate=1.0, live=Live(), every_step=True).in_streams
        assert not make_task(rate=1.0, live=Live(), classes=(), horizon=1, anomaly=True).in_streams

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rate": None}, "live decisions and rate=None"),
            (
                {"live": Live(background="idle")},
                "background='idle'; expected None, or one of the classes 'low', ",
            ),
            ({"live": Live(background=0)}, "background=0; expected None, or one of"),
            ({"live": Live(background="low"), "multi_label": True}, "background='low', and no classes of which one"),
            (
                {"live": Live(background="low"), "classes": (), "targets": ("speed",)},
                "background='low', and no classes",
            ),
            (
                {"live": Live(background="low"), "classes": (), "horizon": 1, "anomaly": True},
                "background='low', and no classes",
            ),
            ({"classes": (), "horizon": 3}, "live decisions and horizon=3; a forecast decides nothing"),
            ({"augment": ShuffledWindows}, "augment and live decisions.*by augmentation, such as"),
        ],
    )
    def test_live_decisions_that_no_task_has_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            make_task(**{"rate": 50.0, "live": Live()} | changes)

    def test_what_is_trained_on_by_windows_may_be_made_by_the_user(self):
        assert make_task(rate=50.0, live=Live(), every_step=True, augment=ShuffledWindows).augment


def damaged():
    spoilt = recordings([3, 4])
    spoilt.signals[1][2, 0] = np.nan
    return spoilt


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (
            recordings([3, 4], features=3),
            r"validation recordings, got steps of shape .*expected \[2\]: height left, ",
        ),
        (recordings([3, 4], np.array([0, 2])), r"validation recordings, got classes from 0 to 2; the model knows 2"),
        (recordings([3, 4], np.array([0.5, 1])), r"no whole numbers, such as 0.5"),
        (recordings([3, 4], steps=5), r"No recording holds a window of 6 steps; the longest has 5"),
        (recordings([1, 4]), r"has the buoys \[1\] in two splits.*Split by group"),
        (recordings([]), r"validation recordings, are none"),
        (damaged(), r"validation recordings, hold NaN or infinite samples"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(validation, message):
    task = make_task((recordings([1, 2]), validation, recordings([5, 6])))
    with pytest.raises(ValueError, match=message):
        _ = task.splits


def test_a_split_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="read 2 splits; expected train, validation and test"):
        _ = make_task((recordings([1]), recordings([2]))).splits


class TestSplitsThatLie:
    def test_a_class_that_training_never_has(self):
        splits = (recordings([1, 2], np.zeros(2, int)), recordings([3, 4]), recordings([5, 6]))
        with pytest.raises(ValueError, match=r"Task 'waves': class high is in validation only \(group 4\)"):
            _ = make_task(splits).splits

    def test_a_copy_on_two_sides(self):
        test = recordings([5, 6])
        train = recordings([1, 2])
        train.signals[0] = test.signals[1]
        with pytest.warns(UserWarning, match="1 signal is in both training and test"):
            _ = make_task((train, recordings([3, 4]), test)).splits

    def test_pieces_of_one_recording_on_two_sides_unless_it_was_split_in_time(self):
        whole = recordings([1, 2, 1, 2], labels=np.array([0, 1, 0, 1]), steps=60)
        parts = [whole.take([0, 1]), whole.take([2, 3]), whole.take([2, 3])]
        parts[2] = dataclasses.replace(parts[2], signals=[signal + 1 for signal in parts[2].signals])
        with pytest.warns(UserWarning, match=r"Windows of 2 recordings \(2, 3\) are in both validation and test"):
            _ = make_task(parts, group=None).splits
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _ = make_task(split_in_time(whole), group=None).splits
