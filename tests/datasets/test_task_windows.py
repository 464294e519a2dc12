"""What a model should give for each window: labels of steps, what follows, and what is normal."""

import numpy as np
import pytest
from tasks import sines

from keras_s4.datasets import Recordings, Splits, task_of_arrays
from keras_s4.recordings import UNLABELLED

LENGTHS = (25, 17, 9)


def recordings(labels):
    signals = [100.0 * index + np.arange(steps)[:, None] + np.zeros(6) for index, steps in enumerate(LENGTHS)]
    return Recordings([signal.astype(np.float32) for signal in signals], labels, np.arange(3))


def task(labels, **changes):
    return sines(read=lambda: Splits(*[recordings(labels)] * 3), length=8, hop=4, group=None, **changes)


def test_labels_of_steps_are_those_of_the_window():
    labels = [np.arange(steps) % 7 for steps in LENGTHS]
    labels[1][:] = UNLABELLED
    x, y = task(labels, every_step=True).windows("train")
    assert x.shape[:2] == y.shape == (6, 8)  # of the second recording none
    np.testing.assert_array_equal(y, (x[:, :, 0].astype(int) % 100) % 7)


def test_forecasts_are_what_follows():
    found = task(np.zeros(3, int), classes=(), horizon=3, meanings={})
    x, y = found.windows("test")
    assert x.shape == (6, 8, 6) and y.shape == (6, 3, 6)
    np.testing.assert_array_equal(y, x[:, -1:] + np.arange(1, 4)[:, None])


def test_anomalies_are_left_out_and_each_step_has_what_comes_behind_it():
    found = task(np.array([0, 1, 0]), classes=(), horizon=2, anomaly=True, meanings={})
    x, y = found.windows("train")
    np.testing.assert_array_equal(y, x + 2)
    assert not ((x >= 100) & (x < 200)).any()
    with pytest.raises(ValueError, match="no normal train recordings"):
        task(np.ones(3, int), classes=(), horizon=2, anomaly=True, meanings={}).windows("train")


def test_anomalies_are_learned_from_varied_normal_windows():
    """Recording i counts from 100 i; a gain multiplies a window and what is forecast of it alike."""
    arguments = {"classes": (), "horizon": 2, "anomaly": True, "meanings": {}, "augmentation": {"gain": 1.5}}
    batches = task(np.array([0, 1, 0]), **arguments).batches(32, 0)
    x, y = batches[0]
    assert x.shape == y.shape == (4, 8, 6)
    gains = (x[:, 1:] - x[:, :-1]).mean(axis=(1, 2))
    np.testing.assert_allclose(y, x + 2 * gains[:, None, None], rtol=1e-5)
    starts = x[:, 0, 0] / gains
    assert gains.std() > 0.05 and starts.max() < 50


def test_epochs_have_all_windows_in_an_order_of_their_own():
    found = task(np.zeros(3, int), classes=(), horizon=3, meanings={})
    batches = found.batches(4, 0)
    assert len(batches) == 2

    def starts():
        return [float(row[0, 0]) for index in range(2) for row in batches[index][0]]

    first = starts()
    batches.epoch = 1
    assert first != starts() and sorted(first) == sorted(starts()) == sorted(found.windows("train")[0][:, 0, 0])


def test_what_a_toml_says_of_training_is_told_apart():
    x, y = np.zeros((20, 30, 2), np.float32), np.tile([0, 0, 0, 1], 5)
    said = {"epochs": 3, "balance": True, "augmentation": {"jitter": 0.1}}
    found = task_of_arrays(x + np.arange(20)[:, None, None], y, length=10, **said)
    assert found.settings == {"epochs": 3} and found.balance and found.folds == 5
    np.testing.assert_allclose(found.class_weights, [2 / 3, 2], rtol=0.1)
    x, y, weights = found.batches(8, 0)[0]
    np.testing.assert_allclose(weights, found.class_weights[y])
    with pytest.raises(ValueError, match="augmentation got 'jiter'"):
        task_of_arrays(x, y, length=10, augmentation={"jiter": 1})
    with pytest.raises((TypeError, ValueError), match="balance='yes'"):
        sines(balance="yes")
