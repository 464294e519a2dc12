"""What is on two sides is noticed, and nothing else."""

import warnings

import numpy as np
import pytest

from keras_s4.recordings import Recordings, Splits, check_classes, check_sources


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
