"""The smartwatch data: its checksum, its splits by subject, and the task that it becomes."""

import hashlib
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from keras_s4.augmentation import from_dict
from keras_s4.datasets import (
    FOLDS,
    SMARTWATCH_CLASSES,
    Live,
    Recordings,
    smartwatch,
    smartwatch_recordings,
    smartwatch_split,
    smartwatch_task,
)
from keras_s4.datasets import shoulder_exercises as module

needs_smartwatch = pytest.mark.skipif(
    importlib.util.find_spec("seglearn") is None, reason="the recordings come with seglearn"
)


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

    @pytest.mark.parametrize("side", ["validation", "test"])
    def test_every_subject_tests_once_and_validates_once(self, loaded, side):
        held_out = [s for fold in range(FOLDS) for s in set(getattr(smartwatch_split(fold), side).subjects)]
        assert sorted(held_out) == sorted(set(loaded.subjects))

    def test_every_fold_trains_on_other_subjects(self, loaded):
        assert len({frozenset(smartwatch_split(fold).train.subjects) for fold in range(FOLDS)}) == FOLDS

    def test_the_subjects_of_the_test_and_all_of_fold_0_are_those_of_published_figures(self, loaded):
        tested = [sorted(set(smartwatch_split(fold).test.subjects)) for fold in range(FOLDS)]
        assert tested == [[1, 4], [2, 3], [7, 8], [9, 10], [5, 6]]
        assert sorted(set(smartwatch_split(0).validation.subjects)) == [2, 3]

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
        folds = list(GroupKFold(5).split(x, y, owners))
        (rest, test), (_, validation) = folds[fold], folds[(fold + 1) % 5]
        train = np.setdiff1d(rest, validation)
        for (x_part, y_part), indices in zip(smartwatch(fold), (train, validation, test), strict=True):
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

    def test_the_task_has_the_windows_of_the_fold(self, loaded):
        task = smartwatch_task(3)
        for split, (x, y) in zip(("train", "validation", "test"), smartwatch(3), strict=True):
            found_x, found_y = task.windows(split)
            np.testing.assert_array_equal(found_x, x)
            np.testing.assert_array_equal(found_y, y)
        x, y = task.batches(batch_size=8, seed=0)[0]
        assert x.shape == (8, *task.input_shape) and y.shape == (8,)
        assert task.outputs == SMARTWATCH_CLASSES and task.choices == {"fold": 3}

    def test_the_task_decides_in_a_stream_unless_it_is_told_otherwise(self):
        live = Live(seconds=3.0)
        assert smartwatch_task(1, live=live).live == live and smartwatch_task(1, live=None).live is None
        assert smartwatch_task(1).live == Live(pooling="recent", seconds=1.5, every=0.5, tolerance=2.0)

    def test_windows_of_streams_have_the_variations_of_random_windows(self):
        names = [type(transform).__name__ for transform in from_dict(smartwatch_task().augmentation)]
        assert names == ["Warp", "Mirror", "Rotation", "Gain"]

    def test_a_task_of_a_fold_that_there_is_not(self):
        with pytest.raises(ValueError, match="fold=5; expected a whole number from 0 to 4"):
            smartwatch_task(5)
