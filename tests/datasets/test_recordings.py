"""Recordings and windows; the smartwatch data, its checksum and its splits by subject."""

import hashlib
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from keras_s4.datasets import (
    FOLDS,
    SMARTWATCH_CLASSES,
    Recordings,
    smartwatch,
    smartwatch_recordings,
    smartwatch_split,
)
from keras_s4.datasets import recordings as module

needs_smartwatch = pytest.mark.skipif(
    importlib.util.find_spec("seglearn") is None, reason="the recordings come with seglearn"
)


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


class TestFile:
    def test_missing_package(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras-s4\[data\]'"):
            smartwatch_recordings()

    def package(self, monkeypatch, tmp_path, content):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "watch_dataset.npy").write_bytes(content)
        found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)

    def test_another_file_is_refused_before_it_is_unpickled(self, monkeypatch, tmp_path):
        content = b"anything else"
        self.package(monkeypatch, tmp_path, content)
        opened = []
        monkeypatch.setattr(np, "load", lambda *arguments, **options: opened.append(arguments))
        with pytest.raises(ValueError, match="not opened") as caught:
            smartwatch_recordings()
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
        assert module.SMARTWATCH_SHA256 in str(caught.value)
        assert opened == []

    def test_the_known_file_is_read(self, monkeypatch, tmp_path):
        """The same path with a checksum that fits does open the file: the test above can fail."""
        table = {"X": [np.zeros((3, 6)), np.ones((2, 6))], "y": [0, 1], "subject": [4.0, 5.0]}
        np.save(tmp_path / "table.npy", np.array(table, dtype=object))
        content = (tmp_path / "table.npy").read_bytes()
        monkeypatch.setattr(module, "SMARTWATCH_SHA256", hashlib.sha256(content).hexdigest())
        self.package(monkeypatch, tmp_path, content)
        recordings = smartwatch_recordings()
        assert [signal.shape for signal in recordings.signals] == [(3, 6), (2, 6)]
        assert recordings.signals[0].dtype == np.float32
        np.testing.assert_array_equal(recordings.subjects, [4, 5])


@pytest.fixture(scope="module")
def whole():
    return smartwatch_recordings()


@pytest.fixture
def loaded(whole, monkeypatch):
    """Reads the file once for all tests."""
    monkeypatch.setattr(module, "smartwatch_recordings", lambda: whole)
    return whole


@needs_smartwatch
class TestSmartwatch:
    def test_recordings(self, whole):
        assert len(whole) == 140
        assert len(np.unique(whole.subjects)) == 10
        assert set(whole.labels) == set(range(len(SMARTWATCH_CLASSES)))
        assert {signal.shape[1] for signal in whole.signals} == {6}
        assert all(np.isfinite(signal).all() for signal in whole.signals)
        x, y = whole.windows(500, 250)
        assert x.shape == (770, 500, 6)
        assert y.shape == (770,)

    @pytest.mark.parametrize("fold", range(FOLDS))
    def test_no_subject_is_in_two_parts(self, loaded, fold):
        parts = [set(part.subjects) for part in smartwatch_split(fold)]
        assert [len(part) for part in parts] == [6, 2, 2]
        assert len(set.union(*parts)) == 10

    def test_every_subject_is_tested_once(self, loaded):
        tested = [subject for fold in range(FOLDS) for subject in set(smartwatch_split(fold)[2].subjects)]
        assert sorted(tested) == sorted(set(loaded.subjects))

    @pytest.mark.parametrize("fold", range(FOLDS))
    def test_folds_are_those_of_group_k_fold_over_windows(self, loaded, fold):
        x, y = loaded.windows(500, 250)
        owners = Recordings(
            [
                np.full((len(signal), 1), subject)
                for signal, subject in zip(loaded.signals, loaded.subjects, strict=True)
            ],
            loaded.labels,
            loaded.subjects,
        ).windows(500, 250)[0][:, 0, 0]
        rest, test = list(GroupKFold(5).split(x, y, owners))[fold]
        kept, held_out = next(GroupKFold(4).split(x[rest], y[rest], owners[rest]))
        for (x_part, y_part), indices in zip(smartwatch(fold), (rest[kept], rest[held_out], test), strict=True):
            np.testing.assert_array_equal(x_part, x[indices])
            np.testing.assert_array_equal(y_part, y[indices])

    @pytest.mark.parametrize("fold", [-1, 5, 7, None])
    def test_refused_folds(self, fold):
        with pytest.raises(ValueError, match=f"fold={fold}; expected a whole number from 0 to 4"):
            smartwatch(fold)

    @pytest.mark.parametrize(("length", "hop"), [(0, 250), (500, 0), (-1, -1)])
    def test_refused_windows(self, loaded, length, hop):
        with pytest.raises(ValueError, match="expected whole numbers of at least 1"):
            smartwatch(0, length, hop)

    def test_no_window(self, loaded):
        with pytest.raises(ValueError, match="No recording holds a window of 1000000 steps"):
            smartwatch(length=1_000_000)
