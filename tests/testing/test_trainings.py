"""What trainings of networks on tasks share: repeatable, from the same data, judged on all windows."""

import dataclasses

import numpy as np
import pytest

from keras_s4.architectures import Architecture
from keras_s4.datasets import Sensor, Splits, Task
from keras_s4.recordings import Recordings
from keras_s4.testing import trainings
from keras_s4.testing.trainings import Contest, KeptBatches, Trainer, accuracy, make_model, outputs_of, task_of

LENGTH = 16


def recordings(seed, count, steps=LENGTH):
    """Two classes: rising or falling."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    slopes = np.linspace(-1, 1, steps)[None, :, None] * (2.0 * labels - 1)[:, None, None]
    noise = random.normal(scale=0.3, size=(count, steps, 1))
    return Recordings(list((slopes + noise).astype(np.float32)), labels, np.arange(count))


def make_task(fold=0, read=None):
    return Task(
        name="slopes",
        title="Slopes",
        purpose="to tell rising from falling",
        read=read or (lambda: Splits(recordings(fold, 70), recordings(fold + 10, 30), recordings(fold + 20, 30))),
        length=LENGTH,
        hop=LENGTH,
        sensors=(Sensor("slope", ("",)),),
        classes=("falling", "rising"),
        rate=10.0,
        settings={"normalize": False},
    )


@pytest.fixture
def contest(monkeypatch):
    found = Contest(make_task, 10.0, folds=2, train=64, tested=20, augmentation={"gain": 1.2})
    monkeypatch.setitem(trainings.CONTESTS, "slopes", found)
    trainings._task_of.cache_clear()
    yield found
    trainings._task_of.cache_clear()


def test_tasks_are_shortened_varied_and_kept(contest, tmp_path):
    task = task_of("slopes", 3, tmp_path)
    assert [len(part) for part in task.splits] == [64, 20, 20]
    assert task.augmentation == {"gain": 1.2}
    assert not task_of("slopes", 3, tmp_path, varied=False).augmentation
    trainings._task_of.cache_clear()
    again = task_of("slopes", 1, tmp_path)  # fold 1 of 2, read from the file
    assert (tmp_path / "slopes-1.pickle").exists()
    np.testing.assert_array_equal(again.windows("test")[0], task.windows("test")[0])


def test_mixed_lengths_become_one(monkeypatch):
    mixed = Recordings([np.ones((9, 1), np.float32), np.ones((20, 1), np.float32)], np.array([0, 1]), np.arange(2))
    task = dataclasses.replace(make_task(read=lambda: Splits(mixed, mixed, mixed)), mixed_lengths=True)
    monkeypatch.setitem(trainings.CONTESTS, "mixed", Contest(lambda fold: task, 10.0, length=12))
    x, _ = task_of("mixed", 0).windows("train")
    assert x.shape == (2, 12, 1)
    assert x[0].sum() == 9.0 and x[1].sum() == 12.0


def test_kept_batches_are_made_once(contest):
    kept = {}
    batches = KeptBatches(task_of("slopes", 0).batches(32, 0), kept)
    first = batches[0][0]
    assert KeptBatches(task_of("slopes", 0).batches(32, 0), kept)[0][0] is first
    batches.on_epoch_end()
    assert not np.array_equal(batches[0][0], first)


def test_trainings_repeat_and_learn(contest):
    task = task_of("slopes", 0)
    fresh = make_model(Architecture("gru", 4, 1), task, 0)
    start = fresh.get_weights()
    trainer = Trainer(fresh, task, 60, learning_rate=3e-2)
    weights = trainer.train(task, 0, start).get_weights()
    again = trainer.train(task, 0, start)
    for one, other in zip(weights, again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    x, y = task.windows("validation")
    outputs = outputs_of(again, x)
    assert outputs.shape == (20, 2)
    assert accuracy(again, task, "validation") == np.mean(outputs.argmax(axis=1) == y) > 0.9
