"""Batches of one size: nothing is left out for good."""

import numpy as np

from keras_s4.augmentation import WholeBatches
from keras_s4.augmentation.shuffled_windows import ShuffledArrays


def batches_of(windows, size):
    x = np.arange(windows, dtype=np.float32).reshape(-1, 1, 1)
    return WholeBatches(ShuffledArrays(x, np.arange(windows), batch_size=size, seed=3))


def test_a_smaller_last_batch_is_left_out():
    batches = batches_of(23, 5)
    assert len(batches) == 4
    assert {len(batches[index][0]) for index in range(4)} == {5}


def test_every_epoch_leaves_out_others():
    batches = batches_of(23, 5)
    seen = set()
    for _ in range(12):
        seen.update(np.concatenate([batches[index][1] for index in range(len(batches))]).tolist())
        batches.on_epoch_end()
    assert batches.epoch == 12
    assert seen == set(range(23))


def test_whole_and_single_batches_stay():
    assert len(batches_of(20, 5)) == 4
    assert len(batches_of(3, 5)) == 1
