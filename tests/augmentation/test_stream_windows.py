"""Windows of streams: what they are cut from, and where there is something to learn."""

import dataclasses

import numpy as np
import pytest

from keras_s4.augmentation import Gain, Mirror, Mix, Shift, StreamWindows, Warp
from keras_s4.recordings import UNLABELLED, Recordings

LENGTHS = (100, 120, 90, 110, 40)


def recordings(labels=(0, 1, 2, 0, 1), groups=(3, 3, 3, 5, 5)):
    """Recording i counts upwards from 1000 (i + 1)."""
    signals = [1000.0 * (index + 1) + np.arange(steps)[:, None] for index, steps in enumerate(LENGTHS)]
    return Recordings([each.astype(np.float32) for each in signals], np.array(labels), np.array(groups))


def long_recordings():
    """Labels change every 25 steps; nobody knows the third class."""
    labels = [np.repeat([0, 1, UNLABELLED, 2], 25), np.repeat([1, 0], 50)]
    return Recordings([np.arange(100, dtype=np.float32)[:, None]] * 2, labels, np.array([0, 1]))


def batch(windows, index=0):
    """The only feature of a batch, its labels, and weights if there are some."""
    x, *rest = windows[index]
    return (x[..., 0], *rest)


def many(parts, length, **arguments):
    """A batch of 64 windows."""
    return batch(StreamWindows(parts, length, 64, windows=64, **arguments))


class TestOneLabelEach:
    def test_windows_are_pieces_of_recordings_of_one_group(self):
        """Each step follows the one before, or begins a piece of another recording of the group and another label."""
        x, y = many(recordings(), 60, changes=0.7)
        assert (x.shape, y.shape) == ((64, 60), (64, 60))
        index = x.astype(int) // 1000 - 1
        np.testing.assert_array_equal(y, np.array([0, 1, 2, 0, 1])[index])
        assert (np.array([3, 3, 3, 5, 5])[index] == np.array([3, 3, 3, 5, 5])[index][:, :1]).all()
        follows = np.diff(x) == 1
        assert (follows | (np.diff(y) != 0)).all()
        changed = (~follows).any(axis=1)
        assert 0.5 < changed.mean() < 0.95

    @pytest.mark.parametrize("changes", [0.0, 1.0])
    def test_changes_are_as_frequent_as_said(self, changes):
        some = recordings().take([0, 1, 2])
        x, _ = many(some, 60, changes=changes)
        np.testing.assert_array_equal((np.diff(x) != 1).any(axis=1), changes == 1.0)

    def test_short_recordings_are_followed_by_others(self):
        x, y = many(recordings(), 200, changes=0.0)
        assert x.shape == (64, 200)
        assert (np.diff(x) != 1).any(axis=1).all()
        assert (y != UNLABELLED).all()

    def test_nothing_is_learned_while_warming_up_and_after_changes(self):
        warm_up, tolerance = 12, 9
        x, y = many(recordings(), 60, warm_up=warm_up, tolerance=tolerance, changes=0.8)
        true = np.array([0, 1, 2, 0, 1])[x.astype(int) // 1000 - 1]
        for row, labels in zip(true, y, strict=True):
            steps = np.arange(60)
            hidden = steps < warm_up
            for change in np.flatnonzero(np.diff(row)) + 1:
                hidden |= (steps >= change) & (steps < change + tolerance)
            np.testing.assert_array_equal(labels, np.where(hidden, UNLABELLED, row))

    def test_labels_are_those_at_decisions(self):
        every = many(recordings(), 60, warm_up=5, tolerance=5)[1]
        some = many(recordings(), 60, warm_up=5, tolerance=5, every=7)[1]
        np.testing.assert_array_equal(some, every[:, 6::7])
        assert some.shape == (64, 8)

    def test_decisions_behind_a_front_know_of_the_first_of_its_samples(self):
        every = many(recordings(), 60, warm_up=5, tolerance=5)[1]
        some = many(recordings(), 60, warm_up=5, tolerance=5, every=12, first=8)[1]
        np.testing.assert_array_equal(some, every[:, 8::12])
        assert some.shape == (64, 5)

    def test_background_lies_between(self):
        labels = (0, 1, 2, 0, 1)
        _, y = many(recordings(labels, (1, 1, 1, 1, 1)), 300, background=0)
        for row in y:
            kinds = row[np.flatnonzero(np.diff(row, prepend=-9))]
            assert ((kinds[1:] == 0) != (kinds[:-1] == 0)).all()

    @pytest.mark.parametrize("groups", [range(5), (0, 1, 2, 0, 1)])
    def test_where_no_group_changes_all_follow_each_other(self, groups):
        """By default each recording is a group of its own; after a split in time each of its stretches is in it."""
        _, y = many(recordings(groups=tuple(groups)), 60, changes=1.0)
        assert (np.diff(y) != 0).any(axis=1).all()
        assert len({tuple(sorted(set(row))) for row in y}) == 3  # pairs of the three classes

    def test_a_group_of_one_recording_goes_on_with_itself(self):
        x, y = many(recordings().take([0]), 150)
        assert (y == 0).all()
        assert x.shape == (64, 150)

    def test_several_labels_are_all_unknown_where_nothing_is_learned(self):
        rows = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1]])
        _, y = many(dataclasses.replace(recordings(), labels=rows), 60, warm_up=20, every=10)
        assert y.shape == (64, 6, 2)
        np.testing.assert_array_equal(y[:, :1], UNLABELLED)
        assert set(np.unique(y[:, 2:])) == {0, 1}

    def test_recordings_without_steps_are_left_out(self):
        some = recordings()
        signals = [*some.signals, np.zeros((0, 1), np.float32)]
        more = Recordings(signals, np.append(some.labels, 2), np.append(some.subjects, 5))
        x, _ = many(more, 60, changes=1.0)
        assert x.shape == (64, 60)

    def test_quantities_weigh_nothing_where_nothing_is_learned(self):
        measured = dataclasses.replace(recordings(), labels=np.linspace(0, 1, 10).reshape(5, 2))
        _, y, weights = many(measured, 60, warm_up=20, every=10)
        assert y.shape == (64, 6, 2)
        np.testing.assert_array_equal(weights[:, :2], 0)
        assert (weights[:, 2:] == 1).all()

    def test_quantities_mixed_with_some_that_are_not_learned_weigh_nothing(self):
        measured = dataclasses.replace(recordings(), labels=np.linspace(0, 1, 5))
        arguments = {"tolerance": 20, "changes": 0.7, "transforms": [Mix(1.0)]}
        alone = many(measured, 60, **arguments | {"transforms": []})[2]
        mixed = many(measured, 60, **arguments)[2]
        assert set(np.unique(mixed)) == {0, 1} and mixed.mean() < alone.mean()


class TestLabelsOfSteps:
    def test_windows_are_cut_as_they_come(self):
        x, y = many(long_recordings(), 70)
        np.testing.assert_array_equal(np.diff(x), 1)
        for row, labels in zip(x.astype(int), y, strict=True):
            assert any((each[row] == labels).all() for each in long_recordings().labels)
        assert (y == UNLABELLED).any()

    def test_what_is_unlabelled_is_a_change_too(self):
        _, y = many(long_recordings().take([0]), 100, tolerance=10)
        wanted = long_recordings().labels[0].copy()
        for change in (25, 75):
            wanted[change : change + 10] = UNLABELLED
        np.testing.assert_array_equal(y[0], wanted)

    def test_all_too_short(self):
        with pytest.raises(ValueError, match="the longest recording has 100"):
            StreamWindows(long_recordings(), 101)


class TestVariations:
    def test_equal_seeds_and_epochs_give_equal_windows(self):
        some, same, other = (StreamWindows(recordings(), 60, 8, seed, transforms=[Warp()]) for seed in (1, 1, 2))
        np.testing.assert_array_equal(batch(some)[0], batch(same)[0])
        assert (batch(some)[0] != batch(other)[0]).any()
        some.on_epoch_end()
        assert (batch(some)[0] != batch(same)[0]).any()
        same.epoch = 1
        np.testing.assert_array_equal(batch(some)[0], batch(same)[0])

    def test_pieces_are_warped_by_themselves(self):
        """Each piece stays inside of its recording, at a speed of its own; labels change where the signal does."""
        x, y = many(recordings(), 60, transforms=[Warp(1.5), Shift(0.5)], changes=1.0)
        index = np.rint(x // 1000).astype(int) - 1
        np.testing.assert_array_equal(y, np.array([0, 1, 2, 0, 1])[index])
        steps = np.diff(x)[np.diff(index) == 0]
        assert 0.5 < steps.min() < 0.95
        assert 1.05 < steps.max() < 1.8

    def test_windows_are_varied_as_a_whole(self):
        plain = batch(StreamWindows(recordings(), 60, 8, changes=1.0))[0]
        louder = batch(StreamWindows(recordings(), 60, 8, changes=1.0, transforms=[Gain(2.0)]))[0]
        factors = louder / plain
        np.testing.assert_allclose(factors, factors[:, :1].repeat(60, 1), rtol=1e-5)
        assert len(np.unique(factors[:, 0].round(3))) == 8

    def test_mixed_windows_have_mixed_labels(self):
        _, y = batch(StreamWindows(recordings(), 60, 8, warm_up=30, transforms=[Mix(1.0)]))
        assert y.shape == (8, 60, 3)
        np.testing.assert_array_equal(y[:, :30], UNLABELLED)
        np.testing.assert_allclose(y[:, 30:].sum(axis=-1), 1.0, rtol=1e-6)

    def test_class_weights(self):
        _, y, weights = batch(StreamWindows(recordings(), 60, 8, warm_up=10, class_weights=[1.0, 2.0, 3.0]))
        np.testing.assert_array_equal(weights, np.where(y == UNLABELLED, 0.0, y + 1.0))

    def test_transforms_that_do_not_fit(self):
        with pytest.raises(ValueError, match="Mirror, and no sensor"):
            StreamWindows(recordings(), 60, transforms=[Mirror()])
        with pytest.raises(TypeError, match="among its transforms"):
            StreamWindows(recordings(), 60, transforms=["mirror"])


def test_an_epoch_has_as_many_windows_as_are_asked_for():
    windows = StreamWindows(recordings(), 60, 16, windows=40)
    assert [len(batch(windows, index)[0]) for index in range(len(windows))] == [16, 16, 8]
    assert StreamWindows(recordings(), 60).windows == 2 * sum(LENGTHS) // 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length=1"),
        ({"every": 0}, "every=0"),
        ({"warm_up": 60}, "a decision behind their warm-up"),
        ({"every": 5, "first": 5}, "first=5 and warm_up=0; expected windows with a decision"),
        ({"first": -1}, "first=-1"),
        ({"transforms": [Warp(), Warp()]}, "2 transforms Warp"),
        ({"every": 61}, "a decision behind their warm-up"),
        ({"changes": 1.5}, "changes=1.5"),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"background": "idle"}, "background='idle'"),
        ({"background": 3}, "background=3; expected one of 3 classes"),
        ({"recordings": dataclasses.replace(recordings(), labels=np.linspace(0, 1, 5)), "background": 0}, "no classes"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        StreamWindows(**{"recordings": recordings(), "length": 60} | arguments)


def test_no_recordings():
    with pytest.raises(TypeError, match="got recordings="):
        StreamWindows([1, 2], 60)
