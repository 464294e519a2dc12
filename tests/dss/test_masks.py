"""Masked signals against loops over sequences."""

import numpy as np
from keras import ops

from keras_s4.dss import masks

MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
LENGTHS = [5, 3, 4, 0]


def signal():
    return np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


def test_masked_steps_become_zeros_even_if_they_are_nan():
    values = signal()
    values[~MASK] = np.nan
    zeroed = np.asarray(masks.zeroed(ops.convert_to_tensor(values), ops.convert_to_tensor(MASK)))
    np.testing.assert_array_equal(zeroed, np.where(MASK[:, :, None], values, 0))


def test_steps_to_the_last():
    np.testing.assert_array_equal(masks.steps_to_the_last(ops.convert_to_tensor(MASK)), LENGTHS)


def test_moved_to_the_end():
    values = signal()
    moved = np.asarray(masks.moved_to_the_end(ops.convert_to_tensor(values), ops.convert_to_tensor(LENGTHS)))
    for before, after, length in zip(values, moved, LENGTHS, strict=True):
        np.testing.assert_array_equal(after[5 - length :], before[:length])
        np.testing.assert_array_equal(after[: 5 - length], 0)
