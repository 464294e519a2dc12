import gzip

import numpy as np
import pytest

from keras_s4.datasets import FASHION_MNIST_CLASSES, fashion_mnist, fashion_mnist_task, images

COUNTS = {"train": 10_005, "t10k": 7}


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), compresslevel=1)


def write(folder, name, array):
    (folder / f"{name}-ubyte.gz").write_bytes(idx(array))


@pytest.fixture(scope="module")
def made_up():
    random = np.random.default_rng(0)
    return {
        part: (random.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 5).astype(np.uint8))
        for part, count in COUNTS.items()
    }


@pytest.fixture
def folder(tmp_path, made_up):
    for part, (pictures, labels) in made_up.items():
        write(tmp_path, f"{part}-images-idx3", pictures)
        write(tmp_path, f"{part}-labels-idx1", labels)
    return tmp_path


@pytest.mark.parametrize(("order", "shape"), [("pixels", (784, 1)), ("rows", (28, 28))])
def test_sequences_keep_the_order_of_the_pixels_and_the_sets_apart(folder, made_up, order, shape):
    parts = fashion_mnist(order, folder)
    assert [x.shape for x, _ in parts] == [(5, *shape), (10_000, *shape), (7, *shape)]
    pictures = np.concatenate([made_up["train"][0], made_up["t10k"][0]])
    together = np.concatenate([x for x, _ in parts]).reshape(-1, 28, 28)
    assert together.dtype == np.float32
    np.testing.assert_allclose((together + 1.0) * 127.5, pictures, atol=1e-4)
    labels = np.concatenate([made_up["train"][1], made_up["t10k"][1]])
    np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), labels)


def test_folder_by_variable_and_by_package(folder, monkeypatch):
    monkeypatch.setenv(images.FOLDER_VARIABLE, str(folder))
    assert len(fashion_mnist()[2][0]) == COUNTS["t10k"]
    monkeypatch.delenv(images.FOLDER_VARIABLE)
    monkeypatch.setattr(images, "INSTALLED", folder)
    assert len(fashion_mnist()[2][0]) == COUNTS["t10k"]


def test_unknown_order():
    with pytest.raises(ValueError, match=r"order='columns'; expected one of 'pixels', 'rows'"):
        fashion_mnist("columns")


def test_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        fashion_mnist(folder=folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:50],
        lambda content: b"PK" + content[2:],
        lambda content: gzip.compress(gzip.decompress(content)[:-1]),
        lambda content: gzip.compress(b"\0\0\x0d\x01" + b"\0" * 40),
        lambda content: gzip.compress(b""),
    ],
)
def test_damaged_file_is_named(folder, damage):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is damaged.*Download it again"):
        fashion_mnist(folder=folder)


@pytest.mark.parametrize("order", ["pixels", "rows"])
def test_the_task_has_the_same_sequences(folder, monkeypatch, order):
    monkeypatch.setenv(images.FOLDER_VARIABLE, str(folder))
    task = fashion_mnist_task(order)
    for split, (x, y) in zip(("train", "validation", "test"), fashion_mnist(order), strict=True):
        assert x.shape[1:] == task.input_shape
        for found, wanted in zip(task.windows(split), (x, y), strict=True):
            np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="order="):
        fashion_mnist_task("columns")


def test_ten_classes():
    assert len(FASHION_MNIST_CLASSES) == 10
