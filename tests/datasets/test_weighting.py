"""All classes count alike: the weights that batches carry, and what they make of a loss."""

import keras
import numpy as np
import pytest

from keras_s4.augmentation import ShuffledWindows
from keras_s4.datasets import Recordings, Sensor, Splits, Task
from keras_s4.datasets.weighting import WeightedBatches


class Fixed(keras.utils.PyDataset):
    """One batch."""

    epoch = 0

    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def make_task(**changes):
    counts = (9, 3)

    def part(seed):
        random = np.random.default_rng(seed)
        signals = [random.normal(size=(8, 1)).astype(np.float32) for _ in range(sum(counts))]
        return Recordings(signals, np.repeat([0, 1], counts), np.full(sum(counts), seed))

    facts = {"name": "rare", "title": "", "purpose": "", "read": lambda: Splits(part(0), part(1), part(2))}
    facts |= {"length": 4, "hop": 4, "sensors": (Sensor("x", ("",)),), "classes": ("often", "rare"), "balance": True}
    return Task(**facts | changes)


def test_each_class_has_an_equal_share_of_a_loss_that_keras_computes():
    """A model that always says 0.9 for "often": the loss is the mean of the two classes' own."""
    batches = make_task().batches(batch_size=24, seed=0)
    _, y, weights = batches[0]
    assert len(batches) == 1 and np.bincount(y).tolist() == [18, 6]
    loss = keras.losses.SparseCategoricalCrossentropy()(y, np.tile([0.9, 0.1], (24, 1)), sample_weight=weights)
    np.testing.assert_allclose(float(loss), -(np.log(0.9) + np.log(0.1)) / 2, rtol=1e-5)


def test_without_balance_there_are_no_weights():
    assert len(make_task(balance=False).batches(batch_size=4, seed=0)[0]) == 2


def test_windows_and_orders_are_those_of_the_batches_beneath():
    task = make_task()
    weighted, plain = (
        task.batches(batch_size=5, seed=3),
        ShuffledWindows(task.splits.train, 4, 4, batch_size=5, seed=3),
    )
    for epoch in (0, 2):
        weighted.epoch = plain.epoch = epoch
        assert len(weighted) == len(plain)
        for index in range(len(plain)):
            for found, wanted in zip(weighted[index][:2], plain[index], strict=True):
                np.testing.assert_array_equal(found, wanted)
    weighted.on_epoch_end()
    assert weighted.epoch == 3


def test_labels_of_steps_shares_and_weights_that_are_there():
    weights = np.array([0.5, 2.0])
    steps = np.array([[0, 1, -1], [1, 1, 0]])
    np.testing.assert_array_equal(
        WeightedBatches(Fixed(None, steps), weights)[0][2], [[0.5, 2.0, 0.0], [2.0, 2.0, 0.5]]
    )
    shares = np.array([[0.75, 0.25]], np.float32)
    np.testing.assert_allclose(WeightedBatches(Fixed(None, shares), weights)[0][2], [0.875])
    given = np.array([[1.0, 0.5, 1.0], [0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(
        WeightedBatches(Fixed(None, steps, given), weights)[0][2], [[0.5, 1.0, 0.0], [0.0, 2.0, 1.0]]
    )


@pytest.mark.parametrize("changes", [{"classes": (), "targets": ("t",)}, {"multi_label": True}])
def test_balance_is_for_classes(changes):
    with pytest.raises(ValueError, match="balance=True, which is for classes"):
        make_task(**changes)


def test_the_identity_of_a_run_knows_of_it():
    assert make_task().identity["balance"] is True and "balance" not in make_task(balance=False).identity
