"""Currents of appliances: small files laid out as the archive's, and the real ones where they are."""

import importlib
import importlib.util
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from keras_s4.datasets import APPLIANCES, appliances, appliances_task
from keras_s4.datasets.places import find_folder

module = importlib.import_module("keras_s4.datasets.appliances")


def write(folder, name, rows):
    head = "\ufeff#\ufeff# PLAID dataset\n#Number of classes: 11\n@problemName PLAID\n@classLabel true 0 1 2\n@data\n"
    lines = [",".join(f"{value:.6g}" for value in values) + f":{label}\n" for values, label in rows]
    (folder / name).write_text(head + "".join(lines), encoding="utf-8")


def rows(seed, repeats):
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(11), repeats)
    return [(random.uniform(0.1, 1, random.integers(100, 300)) * 10.0 ** random.integers(-4, 3), y) for y in labels]


@pytest.fixture
def folder(tmp_path):
    known, test = rows(0, 10), rows(1, 2)
    known.append(test[3])
    known.append(known[5])
    write(tmp_path, "PLAID_TRAIN.ts", known)
    write(tmp_path, "PLAID_TEST.ts", test)
    return tmp_path


def test_recordings_keep_their_lengths_and_their_largest_value_is_1(folder):
    train, validation, test = appliances(folder=folder)
    assert [len(part) for part in (train, validation, test)][2] == 22
    assert {len(signal) for signal in test.signals} == {len(values) for values, _ in rows(1, 2)}
    for signal, (values, label), found in zip(test.signals, rows(1, 2), test.labels, strict=True):
        np.testing.assert_allclose(signal[:, 0], values / values.max(), rtol=1e-4)
        assert signal.dtype == np.float32 and found == label
    assert set(train.labels) == set(validation.labels) == set(range(len(APPLIANCES)))


def test_copies_are_on_one_side(folder):
    """One recording for training is in the test too, and another is there twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fold in range(5):
            parts = appliances_task(fold, folder).splits
            assert len(parts.train) + len(parts.validation) == 10 * 11 + 2 - 1


def test_recordings_at_rest_are_nobodys_copies(folder):
    """Two equal constants, one for training and one in the test: they are equal by chance."""
    known, test = rows(0, 10), rows(1, 2)
    known[0] = test[0] = (np.full(120, 0.5), 0)
    known[11] = (np.full(120, 0.5), 0)
    write(folder, "PLAID_TRAIN.ts", known)
    write(folder, "PLAID_TEST.ts", test)
    train, validation, _ = appliances(folder=folder)
    assert len(train) + len(validation) == len(known)


def test_each_recording_validates_in_one_fold_and_the_test_stays(folder):
    splits = [appliances(fold, folder) for fold in range(5)]
    held = [source for parts in splits for source in parts.validation.sources.tolist()]
    assert len(held) == len(set(held)) == 10 * 11 + 1
    assert len({tuple(parts.test.sources) for parts in splits}) == 1
    with pytest.raises(ValueError, match="fold=5; expected a whole number from 0 to 4"):
        appliances(5, folder)


def test_the_task_pads_to_the_longest_and_weighs_classes(folder):
    task = appliances_task(folder=folder)
    x, y = task.windows("test")
    assert x.shape == (22, 1_344, 1) and len(task.batches(8, 0)[0]) == 3
    np.testing.assert_array_equal((x[:, :, 0] != task.mask_value).sum(1), [len(s) for s in task.splits.test.signals])
    assert y.tolist() == task.splits.test.labels.tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,oops:3", r"PLAID_TEST.ts, line 6, is damaged"),
        ("1,2,3", r"PLAID_TEST.ts, line 6, is damaged"),
        ("1,2,3:11", r"line 6, has 3 values and class 11; expected finite values.*class from 0 to 10"),
        ("1,nan,3:1", "expected finite values"),
        ("0,0,0:1", "not all of them 0"),
    ],
)
def test_damage_is_named(folder, line, message):
    path = folder / "PLAID_TEST.ts"
    path.write_text("\n".join([*path.read_text(encoding="utf-8").splitlines()[:5], line]), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        appliances(folder=folder)


def test_missing_files(tmp_path, monkeypatch, folder):
    monkeypatch.delenv(module.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps sktime.*KERAS_S4_PLAID"):
        appliances()
    with pytest.raises(FileNotFoundError, match=r"does not hold PLAID_TRAIN.ts"):
        appliances(folder=tmp_path / "elsewhere")
    (folder / "PLAID_TEST.ts").unlink()
    with pytest.raises(FileNotFoundError, match=r"does not hold PLAID_TEST.ts"):
        appliances(folder=folder)


def test_files_of_the_installed_package_are_read_without_importing_it(tmp_path, monkeypatch):
    inside = tmp_path / "sktime" / "datasets" / "data" / "PLAID"
    inside.mkdir(parents=True)
    (tmp_path / "sktime" / "__init__.py").write_text("raise ImportError('imported')")
    write(inside, "PLAID_TRAIN.ts", rows(0, 5))
    write(inside, "PLAID_TEST.ts", rows(1, 1))
    monkeypatch.delenv(module.FOLDER_VARIABLE, raising=False)
    found = SimpleNamespace(origin=str(tmp_path / "sktime" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "sktime" else None)
    assert len(appliances()[2]) == 11


def real_folder():
    return find_folder(None, module.FOLDER_VARIABLE, module._installed(), module.TRAIN_FILE, "")


@pytest.mark.skipif(real_folder() is None, reason="no PLAID: pip install --no-deps sktime, or KERAS_S4_PLAID")
def test_the_real_files():
    train, validation, test = appliances_task().splits
    assert len(train) + len(validation) == 532 and len(test) == 537
    lengths = [len(signal) for part in (train, validation, test) for signal in part.signals]
    assert (min(lengths), max(lengths)) == (100, 1_344)
    # Beside the counts that the archive tells; five recordings of the training set are in the test set too.
    assert np.bincount(test.labels).tolist() == [33, 87, 58, 19, 78, 17, 57, 86, 70, 19, 13]
