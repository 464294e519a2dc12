"""What is on two sides is noticed, and nothing else."""

import warnings

import numpy as np
import pytest

from keras_s4.recordings import Recordings, Splits, check_classes, check_sources
from keras_s4.recordings.overlaps import find_overlaps


def recordings(count, seed, sources=None, labels=None):
    random = np.random.default_rng(seed)
    signals = [random.normal(size=(9, 2)).astype(np.float32) for _ in range(count)]
    return Recordings(signals, np.arange(count) % 2 if labels is None else labels, np.zeros(count), sources)


def test_recordings_that_are_numbered_by_default_are_others():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_sources(Splits(recordings(3, 0), recordings(3, 1), recordings(2, 2))) == []


def test_pieces_of_one_recording():
    parts = [recordings(3, 0, np.array([4, 5, 6])), recordings(1, 1, np.array([5])), recordings(1, 2, np.array([9]))]
    with pytest.warns(UserWarning, match=r"Windows of 1 recording \(5\) are in both training and validation"):
        assert len(check_sources(Splits(*parts))) == 1


@pytest.mark.parametrize("side", [1, 2])
def test_a_copy(side):
    parts = [recordings(3, 0), recordings(2, 1), recordings(2, 2)]
    parts[side].signals[1] = parts[0].signals[2].astype(np.float64)
    name = ("validation", "test")[side - 1]
    with pytest.warns(UserWarning, match=rf"1 signal is in both training and {name}.*recordings 2 and 1"):
        check_sources(Splits(*parts))


def test_a_copy_of_another_shape_is_none():
    parts = [recordings(1, 0), recordings(1, 1), recordings(1, 2)]
    parts[1].signals[0] = parts[0].signals[0].reshape(18, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sources(Splits(*parts))


class TestOverlaps:
    """Windows that were cut before they came here."""

    def windows(self, hop, length=64, features=1, count=60, levels=None):
        random = np.random.default_rng(3)
        signal = random.normal(size=(length + hop * (count - 1), features)).astype(np.float32)
        if levels:
            signal = np.round(signal * levels) / np.float32(levels)
        pieces = [signal[start : start + length] for start in range(0, hop * count, hop)]
        whole = Recordings(pieces, np.arange(count) % 2, np.arange(count))
        order = random.permutation(count)
        return Splits(*(whole.take(np.sort(part)) for part in (order[:40], order[40:50], order[50:])))

    @pytest.mark.parametrize(("hop", "features"), [(16, 1), (32, 1), (40, 3), (45, 6)])
    def test_windows_of_one_signal_in_a_random_split(self, hop, features):
        splits = self.windows(hop, features=features)
        with pytest.warns(UserWarning, match=r"signals or more in test hold steps that are in training too"):
            check_sources(splits)
        wanted = {
            (a, b)
            for a, one in enumerate(splits.train.sources)
            for b, other in enumerate(splits.test.sources)
            if abs(one - other) * hop < 64
        }
        found = set(find_overlaps(splits.train, splits.test))
        near = {(a, b) for a, b in wanted if abs(splits.train.sources[a] - splits.test.sources[b]) == 1}
        assert found <= wanted and {b for _, b in found} >= {b for _, b in near}

    @pytest.mark.parametrize(
        "changes", [{"hop": 64}, {"hop": 64, "levels": 20}, {"hop": 64, "length": 28, "features": 28}]
    )
    def test_windows_that_do_not_overlap(self, changes):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert check_sources(self.windows(**changes)) == []

    def test_rest_and_clocks_say_nothing(self):
        """All signals are at rest for a while, and then the same clock ticks in all of them."""
        random = np.random.default_rng(0)
        parts = []
        for size in (8, 4, 4):
            clock = np.concatenate([np.zeros((100, 1)), np.arange(100)[:, None] % 2])
            signals = [np.concatenate([clock, random.normal(size=(40, 1))]).astype(np.float32) for _ in range(size)]
            parts.append(Recordings(signals, np.arange(size) % 2, np.zeros(size)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert check_sources(Splits(*parts)) == []

    def test_a_stretch_at_any_place(self):
        """Against a search that compares all places."""
        random = np.random.default_rng(1)
        one, other = (
            Recordings(
                [random.normal(size=(90, 2)).astype(np.float32) for _ in range(5)], np.zeros(5, int), np.zeros(5)
            )
            for _ in range(2)
        )
        other.signals[3][50:80] = one.signals[4][7:37]
        other.signals[1][60:75] = one.signals[0][:15]  # shorter than a quarter
        assert find_overlaps(one, other) == [(4, 3)]

    def test_signals_of_no_steps_and_short_ones(self):
        short = Recordings([np.zeros((0, 1), np.float32), np.ones((3, 1), np.float32)], np.zeros(2), np.zeros(2))
        assert find_overlaps(short, short) == []


class TestClasses:
    def parts(self, *labels):
        return Splits(*(recordings(len(own), seed, labels=np.array(own)) for seed, own in enumerate(labels)))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (([0, 1], [0], [0, 2]), r"class c is in test only \(group 0.0\)"),
            (([0, 1], [2, 1], [0]), "class c is in validation only"),
            (([[1, 0]], [[0, 1]], [[1, 0]]), "class b is in validation only;"),
        ],
    )
    def test_never_trained(self, labels, message):
        with pytest.raises(ValueError, match=message):
            check_classes(self.parts(*labels), "abc")

    def test_never_tested(self):
        with pytest.warns(UserWarning, match="Class b is not in test"):
            assert len(check_classes(self.parts([0, 1], [0, 1], [0]), "ab")) == 1

    def test_nowhere(self):
        with pytest.warns(UserWarning, match="Class c is in no recording"):
            check_classes(self.parts([0, 1], [0, 1], [1, 0]), "abc")

    def test_quantities_are_no_classes(self):
        assert check_classes(self.parts([0.5], [1.5], [7.0])) == []
