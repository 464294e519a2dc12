"""Streams that are joined from recordings."""

import numpy as np
import pytest

from keras_s4.recordings import UNLABELLED, Recordings, split_in_time
from keras_s4.recordings.joining import groups_of_streams, join_groups


def recordings(labels, groups):
    """Recording i has 3 + i steps of value i."""
    signals = [np.full((3 + index, 2), index, np.float32) for index in range(len(labels))]
    return Recordings(signals, np.array(labels), np.array(groups))


def test_each_group_is_one_stream_with_all_of_its_recordings():
    joined = join_groups(recordings([0, 1, 2, 0, 1], [7, 4, 7, 4, 7]))
    assert joined.subjects.tolist() == [4, 7]
    assert joined.has_step_labels
    for signal, labels, members in zip(joined.signals, joined.labels, ([1, 3], [0, 2, 4]), strict=True):
        order = signal[np.flatnonzero(np.diff(signal[:, 0], prepend=-1)), 0].astype(int)
        assert sorted(order) == members
        np.testing.assert_array_equal(signal[:, 1], np.repeat(order, 3 + order))
        np.testing.assert_array_equal(labels, np.array([0, 1, 2, 0, 1])[signal[:, 0].astype(int)])


def test_the_order_is_random_and_the_same_for_a_seed():
    many = recordings(np.arange(20), np.zeros(20, int))
    (first,), (same,), (other,) = (join_groups(many, seed).labels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert sorted(set(first)) == list(range(20))


def test_recordings_that_stand_for_themselves_are_one_stream():
    (labels,) = join_groups(recordings([0, 1, 1], [5, 6, 7])).labels
    assert len(labels) == 3 + 4 + 5


@pytest.mark.parametrize(
    ("labels", "groups", "streams"),
    [
        ([0, 1, 1], [5, 6, 7], [0, 0, 0]),
        ([0, 0, 1, 1], [5, 5, 6, 6], [0, 0, 0, 0]),  # as after a split in time: pieces of one recording each
        ([0, 1, 1, 1], [6, 6, 5, 5], [1, 1, 0, 0]),
        ([[0.5, 1.0], [0.5, 2.0]], [3, 3], [0, 0]),
        ([[0.5, 1.0], [0.5, 1.0]], [3, 4], [0, 0]),
        ([1, 1], [3, 4], [0, 0]),
    ],
)
def test_streams_are_of_groups_in_which_something_changes(labels, groups, streams):
    some = recordings(labels, groups)
    assert groups_of_streams(some).tolist() == streams
    assert len(join_groups(some)) == len(set(streams))


def test_streams_of_a_split_in_time_change():
    """Each recording is a group of its own, and training has two stretches of it."""
    signals = [np.arange(50, dtype=np.float32)[:, None] + 100 * index for index in range(4)]
    train = split_in_time(Recordings(signals, np.arange(4) % 2, np.arange(4)), fold=2).train
    assert len(train) == 8
    (labels,) = join_groups(train).labels
    assert set(labels) == {0, 1}


def test_background_lies_between_events():
    joined = join_groups(recordings([0, 1, 2, 3, 0, 0], np.zeros(6, int)), background=0)
    classes = joined.labels[0][np.flatnonzero(np.diff(joined.signals[0][:, 0], prepend=-1))]
    assert (classes[::2] == 0).all()
    assert sorted(classes[1::2]) == [1, 2, 3]


def test_quantities_stay_quantities():
    signals = [np.zeros((4, 1), np.float32), np.ones((2, 1), np.float32)]
    joined = join_groups(Recordings(signals, np.array([[0.5, 1.0], [2.0, 3.0]]), np.array([0, 0])))
    assert joined.labels[0].shape == (6, 2)
    np.testing.assert_array_equal(joined.labels[0][:, 0] == 2.0, joined.signals[0][:, 0] == 1.0)


def test_long_recordings_stay_as_they_are():
    long = Recordings([np.zeros((3, 1), np.float32)], [np.array([0, UNLABELLED, 1])], np.array([1]))
    assert join_groups(long) is long


def test_nothing_to_join():
    with pytest.raises(ValueError, match="no recordings"):
        join_groups(recordings([0], [1]).take([]))


@pytest.mark.parametrize(
    ("labels", "background", "message"),
    [
        ([0, 1], "idle", "background='idle'; expected a whole number"),
        ([0, 1], -1, "background=-1; expected a whole number"),
        ([0.5, 1.0], 1, "background=1 and labels that are no classes"),
        ([[0, 1], [1, 1]], 0, "background=0 and labels that are no classes"),
    ],
)
def test_a_background_that_is_no_class(labels, background, message):
    with pytest.raises(ValueError, match=message):
        join_groups(recordings(labels, [1, 1]), background=background)
