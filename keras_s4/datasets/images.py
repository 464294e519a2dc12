"""Images as sequences: Fashion-MNIST pixel by pixel and row by row."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import keras
import numpy as np

from keras_s4.checks import choice
from keras_s4.datasets.places import download, find_folder
from keras_s4.datasets.sequences import SHAPES, as_recordings, as_sequences, sensor_of
from keras_s4.datasets.task import Task
from keras_s4.recordings import Labelled, Splits

FASHION_MNIST_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# Where Debian's package dataset-fashion-mnist puts its files.
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FOLDER_VARIABLE = "KERAS_S4_FASHION_MNIST"
VALIDATION_IMAGES = 10_000
ADVICE = (
    "Install Debian's package dataset-fashion-mnist, or name a folder with its files (train-images-idx3-ubyte.gz and "
    f"so on) by the variable {FOLDER_VARIABLE}."
)


def fashion_mnist(order: str = "pixels", folder: Path | str | None = None) -> tuple[Labelled, Labelled, Labelled]:
    """Fashion-MNIST as sequences: 50,000 for training, 10,000 for validation, 10,000 for the test.

    The validation images are the last of the training set. The files come from `folder`, or the folder that the
    variable KERAS_S4_FASHION_MNIST names, or Debian's package dataset-fashion-mnist, or else from the network by Keras.

    Args:
        order: "pixels" for 784 steps of one pixel, "rows" for 28 steps of 28 pixels.
        folder: that holds the four files `train-images-idx3-ubyte.gz` and so on.

    Returns:
        `(x, y), (x_validation, y_validation), (x_test, y_test)`: x float32 `[W, 784, 1]` or `[W, 28, 28]`, from -1 to
        1; y integers `[W]`, indices of `FASHION_MNIST_CLASSES`.

    Raises:
        ValueError: an unknown order, or a damaged file.
        FileNotFoundError: a file is missing in the folder, or the network.

    Source: Xiao, Rasul and Vollgraf 2017 (arXiv 1708.07747).
    """
    if order not in SHAPES:
        raise ValueError(f"fashion_mnist got order={order!r}; expected one of {', '.join(map(repr, SHAPES))}.")
    (images, labels), (test_images, test_labels) = _images(folder)
    x, x_test = (as_sequences(part, order) for part in (images, test_images))
    y, y_test = labels.astype(np.int64), test_labels.astype(np.int64)
    kept = len(x) - VALIDATION_IMAGES
    return (x[:kept], y[:kept]), (x[kept:], y[kept:]), (x_test, y_test)


def fashion_mnist_task(order: str = "pixels") -> Task:
    """Fashion-MNIST as a task; see `fashion_mnist`."""
    choice(order, "fashion_mnist_task got order=", SHAPES)
    length, _ = SHAPES[order]
    return Task(
        name=f"fashion-mnist-{order}",
        title="Ten kinds of clothes told apart",
        purpose=f"to recognise which of ten kinds of clothes a picture shows, from its {order} one after the other",
        read=lambda: Splits(*(as_recordings(*part) for part in fashion_mnist(order))),
        length=length,
        hop=length,
        sensors=(sensor_of(order),),
        classes=FASHION_MNIST_CLASSES,
    )


def _images(folder: Path | str | None) -> tuple[Labelled, Labelled]:
    """Images `[W, 28, 28]` of bytes and their labels, for training and test."""
    place = find_folder(folder, FOLDER_VARIABLE, [INSTALLED], "train-images-idx3-ubyte.gz", ADVICE)
    if place is None:
        return download(keras.datasets.fashion_mnist.load_data, "Fashion-MNIST", ADVICE)
    return tuple(
        (_read_idx(place / f"{part}-images-idx3-ubyte.gz"), _read_idx(place / f"{part}-labels-idx1-ubyte.gz"))
        for part in ("train", "t10k")
    )


def _read_idx(path: Path) -> np.ndarray:
    """The array of bytes in a gzipped IDX file: 0, 0, type 8, number of sizes, sizes as big-endian words, data."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.parent} does not hold {path.name}. {ADVICE}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged ({error}). Download it again.") from error
    sizes_end = 4 + 4 * content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    sizes = np.frombuffer(content[4:sizes_end], ">u4").astype(int) if len(content) >= sizes_end > 0 else ()
    if len(sizes) == 0 or len(content) != sizes_end + np.prod(sizes):
        raise ValueError(f"{path.name} is damaged: it is no IDX file of bytes, or not complete. Download it again.")
    return np.frombuffer(content, np.uint8, offset=sizes_end).reshape(sizes)
