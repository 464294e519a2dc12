"""Recordings and the windows that are cut from them."""

import numpy as np
import pytest

from keras_s4.recordings import Recordings


@pytest.fixture
def recordings():
    """Each sample says where it comes from: 100 * recording + time."""
    lengths = (10, 4, 7)
    signals = [(100 * index + np.arange(steps, dtype=np.float32))[:, None] for index, steps in enumerate(lengths)]
    return Recordings(signals, np.array([5, 6, 7]), np.array([1, 2, 1]))


class TestRecordings:
    @pytest.mark.parametrize(
        ("length", "hop", "starts", "labels"),
        [
            (4, 3, [0, 3, 6, 100, 200, 203], [5, 5, 5, 6, 7, 7]),
            (4, 100, [0, 100, 200], [5, 6, 7]),
            (5, 5, [0, 5, 200], [5, 5, 7]),
            (10, 1, [0], [5]),
        ],
    )
    def test_windows(self, recordings, length, hop, starts, labels):
        x, y = recordings.windows(length, hop)
        np.testing.assert_array_equal(x[:, :, 0], np.array(starts)[:, None] + np.arange(length))
        np.testing.assert_array_equal(y, labels)
        assert x.dtype == np.float32

    @pytest.mark.parametrize(("length", "hop"), [(0, 1), (-5, 1), (4, 0), (4, -1)])
    def test_refused_windows(self, recordings, length, hop):
        with pytest.raises(ValueError, match=f"length={length}, hop={hop}; expected whole numbers of at least 1"):
            recordings.windows(length, hop)

    def test_no_window(self, recordings):
        with pytest.raises(ValueError, match="No recording holds a window of 11 steps; the longest has 10"):
            recordings.windows(11, 1)
        with pytest.raises(ValueError, match="the longest has 0"):
            recordings.take([]).windows(1, 1)

    def test_choice(self, recordings):
        assert len(recordings) == 3
        chosen = recordings.of_subjects([1])
        assert [signal[0, 0] for signal in chosen.signals] == [0, 200]
        np.testing.assert_array_equal(chosen.labels, [5, 7])
        np.testing.assert_array_equal(chosen.subjects, [1, 1])

    def test_parts_in_time_are_disjoint_and_complete(self, recordings):
        first, second = recordings.part(0, 0.7), recordings.part(0.7, 1)
        for whole, start, end in zip(recordings.signals, first.signals, second.signals, strict=True):
            np.testing.assert_array_equal(np.concatenate([start, end]), whole)
        assert [len(signal) for signal in first.signals] == [7, 3, 5]

    @pytest.mark.parametrize("columns", [(), (2,)])
    def test_windows_carry_quantities(self, recordings, columns):
        labels = np.arange(3 * int(np.prod(columns, dtype=int)), dtype=np.float32).reshape(3, *columns)
        _, y = Recordings(recordings.signals, labels, recordings.subjects).windows(4, 3)
        np.testing.assert_array_equal(y, labels[[0, 0, 0, 1, 2, 2]])
