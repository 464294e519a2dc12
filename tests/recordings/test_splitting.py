"""Splits: nothing is on two sides, validation rotates, and what cannot be split is refused."""

import warnings

import numpy as np
import pytest

from keras_s4.recordings import Recordings, split_by_group, split_by_source, split_in_time
from keras_s4.recordings.splitting import hold_out


def make(subjects, labels, steps=20, sources=None):
    """Signals whose samples are numbered over all of them, so that each is found again; steps: of all or of each."""
    steps = np.broadcast_to(steps, len(subjects))
    starts = np.cumsum(steps) - steps
    signals = [
        np.arange(start, start + own, dtype=np.float32)[:, None] for start, own in zip(starts, steps, strict=True)
    ]
    return Recordings(signals, np.asarray(labels), np.asarray(subjects), sources)


def people(count, classes=3, repeats=2):
    """Each person does each class several times."""
    table = np.stack(np.meshgrid(np.arange(count), np.arange(classes), np.arange(repeats)), -1).reshape(-1, 3)
    return make(table[:, 0], table[:, 1])


def samples(recordings):
    return set(np.concatenate(recordings.signals)[:, 0].astype(int).tolist())


@pytest.mark.parametrize("folds", [3, 4, 5, 6, 10])
@pytest.mark.parametrize("stratified", [True, False])
class TestRotation:
    def splits(self, folds, stratified):
        recordings = people(11)
        return recordings, [split_by_group(recordings, fold, folds, stratified) for fold in range(folds)]

    def test_sides_share_no_group_and_lose_no_sample(self, folds, stratified):
        recordings, splits = self.splits(folds, stratified)
        for parts in splits:
            groups = [set(part.subjects.tolist()) for part in parts]
            assert sum(map(len, groups)) == len(set.union(*groups)) == 11
            found = [samples(part) for part in parts]
            assert sum(map(len, found)) == len(set.union(*found)) == len(samples(recordings))

    def test_each_group_tests_once_and_validates_once(self, folds, stratified):
        _, splits = self.splits(folds, stratified)
        for side in ("validation", "test"):
            held_out = [group for parts in splits for group in set(getattr(parts, side).subjects.tolist())]
            assert sorted(held_out) == list(range(11))

    def test_no_fold_is_anothers_exchange(self, folds, stratified):
        _, splits = self.splits(folds, stratified)
        trained = [frozenset(parts.train.subjects.tolist()) for parts in splits]
        assert len(set(trained)) == folds


def test_classes_are_spread_where_groups_have_one_each():
    """Ten machines of two kinds, numbered so that an unstratified split puts a kind together."""
    labels = np.repeat([0, 1], 5)
    recordings = make(np.arange(10), labels, steps=[30 + i for i in range(10)])
    for fold in range(5):
        for part in split_by_group(recordings, fold):
            assert set(part.labels.tolist()) == {0, 1}
    with pytest.warns(UserWarning, match=r"Class 0 is not in (validation|test)"):
        [split_by_group(recordings, fold, stratified=True, folds=10) for fold in range(10)]


def test_parts_are_balanced_by_steps_not_by_recordings():
    """One person recorded as much as the four others together."""
    recordings = make([0, 1, 2, 3, 4, 5], [0] * 6, steps=[100, 25, 25, 25, 25, 100])
    sizes = [sum(map(len, split_by_group(recordings, fold, 3).test.signals)) for fold in range(3)]
    assert sizes == [100, 100, 100]


def test_labels_of_steps_are_classes_of_steps():
    steps = [np.repeat([0, 1, -1], 10) if group % 2 else np.zeros(30, int) for group in range(10)]
    recordings = Recordings([np.full((30, 1), g, np.float32) for g in range(10)], steps, np.arange(10))
    for fold in range(5):
        parts = split_by_group(recordings, fold)
        assert parts.train.has_step_labels
        for part in parts:
            assert {0, 1} <= set(np.concatenate(part.labels).tolist())


def test_validation_stands_where_training_keeps_all_classes():
    """Class 1 is in two of five groups, which must not be the ones held out in one fold if another way is there."""
    recordings = make(np.arange(5), [1, 1, 0, 0, 0], steps=[50, 50, 49, 48, 47])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for fold in range(5):
            assert set(split_by_group(recordings, fold).train.labels.tolist()) == {0, 1}


def test_a_class_of_one_group_is_named_with_it():
    recordings = make(["ann", "bob", "cid", "dan", "eve", "eve"], [0, 0, 0, 0, 0, 1])
    tested = [fold for fold in range(5) if "eve" in split_by_group(recordings, fold, stratified=False).test.subjects]
    held_out = 0
    for fold in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                split_by_group(recordings, fold, names=("rest", "fall"))
        except ValueError as error:
            held_out += 1
            assert "class fall is in" in str(error) and "group eve" in str(error)
    assert len(tested) == 1 and held_out == 2


def test_groups_may_be_names_or_numbers_in_any_order():
    recordings = people(6)
    renamed = Recordings(recordings.signals, recordings.labels, np.array([f"p{s}" for s in recordings.subjects]))
    order = np.random.default_rng(0).permutation(len(recordings))
    for fold in range(3):
        for part, named, shuffled in zip(
            split_by_group(recordings, fold, 3),
            split_by_group(renamed, fold, 3),
            split_by_group(recordings.take(order), fold, 3),
            strict=True,
        ):
            assert samples(part) == samples(named) == samples(shuffled)


@pytest.mark.parametrize("folds", [2, 0, 2.5, "five", None])
def test_refused_folds(folds):
    with pytest.raises(ValueError, match=r"folds=.*; expected at least 3"):
        split_by_group(people(6), 0, folds)


@pytest.mark.parametrize("fold", [-1, 5, 0.5, None])
@pytest.mark.parametrize("split", [split_by_group, split_by_source, lambda r, fold: split_in_time(r, 0, fold)])
def test_refused_fold(split, fold):
    with pytest.raises(ValueError, match=r"fold=.*; expected a whole number from 0 to 4"):
        split(people(6), fold)


def test_fewer_groups_than_folds():
    with pytest.raises(ValueError, match=r"4 groups for folds=5.*Say folds=4, or less"):
        split_by_group(people(4))
    with pytest.raises(ValueError, match=r"1 group for folds=5.*Record more, or split in time"):
        split_by_group(people(1))


@pytest.mark.parametrize("unknown", [None, float("nan"), ""])
def test_a_recording_without_a_group(unknown):
    subjects = np.array(["a", "b", unknown, "c"], object)
    with pytest.raises(ValueError, match="Recording 2 has no group"):
        split_by_group(make(subjects, [0, 0, 0, 0]), 0, 3)


class TestBySource:
    def test_pieces_of_one_recording_stay_together_and_classes_are_spread(self):
        recordings = make([0] * 20, np.tile([0, 1], 10), sources=np.repeat(np.arange(10), 2))
        for fold in range(5):
            parts = split_by_source(recordings, fold)
            sources = [set(part.sources.tolist()) for part in parts]
            assert sum(map(len, sources)) == len(set.union(*sources)) == 10
            assert all(set(part.labels.tolist()) == {0, 1} for part in parts)

    def test_copies_stay_together(self):
        """Recordings 0 and 7 share a signal, 7 and 12 another."""
        recordings = make([0] * 16, np.tile([0, 1], 8), sources=np.repeat(np.arange(8) * 2 + 1, 2))
        recordings.signals[7] = recordings.signals[0].copy()
        recordings.signals[12] = recordings.signals[6].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for fold in range(3):
                sides = [set(part.sources.tolist()) for part in split_by_source(recordings, fold, 3)]
                assert sum({1, 7, 13} <= side for side in sides) == 1


class TestInTime:
    def test_past_trains_and_future_tests(self):
        recordings = make([0, 1], [0, 0], steps=[100, 50])
        train, validation, test = split_in_time(recordings, gap=4)
        assert [samples(part) for part in (train, validation, test)] == [
            {*range(56), *range(100, 126)},
            {*range(60, 76), *range(130, 136)},
            {*range(80, 100), *range(140, 150)},
        ]

    def test_folds_test_each_stretch_once_and_keep_their_distance(self):
        recordings = make([0], [0], steps=100)
        splits = [split_in_time(recordings, 3, fold) for fold in range(5)]
        tested = [samples(parts.test) for parts in splits]
        assert set.union(*tested) == set(range(100)) and sum(map(len, tested)) == 100
        assert len({tuple(sorted(samples(parts.train))) for parts in splits}) == 5
        for parts in splits:
            found = [np.array(sorted(samples(part))) for part in parts]
            for one, other in ((0, 1), (0, 2), (1, 2)):
                assert np.abs(found[one][:, None] - found[other]).min() > 3
            assert sum(map(len, found)) >= 100 - 3 * 3
            assert set(parts.train.sources.tolist()) == set(parts.test.sources.tolist())

    def test_labels_of_steps_are_cut_with_them(self):
        labels = [np.tile(np.arange(4), 25)]
        parts = split_in_time(Recordings([np.arange(100.0)[:, None]], labels, np.zeros(1)), gap=2, fold=1)
        for part in parts:
            for signal, own in zip(part.signals, part.labels, strict=True):
                np.testing.assert_array_equal(own, signal[:, 0] % 4)

    def test_a_class_that_comes_at_the_end(self):
        labels = [np.repeat([0, 1], [90, 10])]
        with pytest.raises(ValueError, match=r"split_in_time: class B is in test only"):
            split_in_time(Recordings([np.arange(100.0)[:, None]], labels, np.zeros(1)), names="AB")

    def test_too_short(self):
        with pytest.raises(ValueError, match=r"nothing for validation: the longest recording has 20 steps"):
            split_in_time(people(3), gap=5)
        with pytest.raises(ValueError, match="gap=-1; expected a whole number of at least 0"):
            split_in_time(people(3), gap=-1)

    def test_windows_of_one_recording_on_both_sides_are_meant(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            split_in_time(people(3))


class TestHoldOut:
    def test_groups_that_are_named(self):
        recordings = people(5)
        parts = hold_out(recordings, [3], [0, 4])
        assert [sorted(set(part.subjects.tolist())) for part in parts] == [[1, 2], [3], [0, 4]]

    @pytest.mark.parametrize(
        ("validation", "test", "message"),
        [
            ([9], [0], r"validation=\[9\]; expected some of the groups \[0, 1, 2\]"),
            ([0], [], r"test=\[\]; expected some of the groups"),
            ([0, 1], [1], r"groups \[1\] for validation and test"),
            ([0], [1, 2], r"all 3 groups .* none is left for training"),
        ],
    )
    def test_refusals(self, validation, test, message):
        with pytest.raises(ValueError, match=message):
            hold_out(people(3), validation, test)
