"""The job on several machines: all train each model together, and the chief does everything else.

The chief, process 0, runs the stages. Before each training it sends the model, and what is left of an interrupted
training, to the others, which wait for that in `follow`. They write nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_s4 import distribution
from keras_s4.compression.fingerprints import digest
from keras_s4.datasets import Task
from keras_s4.files import model_bytes

REQUEST, MODEL, BACKUP = "request.json", "model.keras", "backup"
# What the others are told when there is nothing more to train.
DONE = b""

Train = Callable[[keras.Model, keras.utils.PyDataset, Path, int, float], Any]


def is_alone() -> bool:
    """Whether this process joined no others."""
    return distribution.find_place().processes == 1


def is_chief() -> bool:
    """Whether this process runs the stages."""
    return distribution.find_place().process == distribution.CHIEF


def check_same(task: Task, settings: dict[str, Any]) -> None:
    """Makes sure that all processes have the same recordings and settings; all of them call it.

    Raises:
        ValueError: they have not.
    """
    parts = task.splits._asdict()
    recordings = {name: digest(part.signals, part.labels, part.subjects) for name, part in parts.items()}
    distribution.check_equal("settings", digest(json.dumps(settings, sort_keys=True, default=str)))
    distribution.check_equal("recordings", digest(json.dumps(recordings)))


@contextlib.contextmanager
def leading(task: Task, settings: dict[str, Any]) -> Iterator[None]:
    """Around the stages: lets the others go when they are done, or have failed between two trainings.

    Args:
        task: what is learned.
        settings: all that results depend on.

    Raises:
        ValueError: the others have other recordings or settings.
    """
    if is_alone():
        yield
        return
    check_same(task, settings)
    try:
        yield
    except TrainingTogetherError as error:  # the others are in the middle of it, and end with the chief
        raise error.__cause__ from None
    except BaseException:
        distribution.spread(DONE)
        raise
    distribution.spread(DONE)


class TrainingTogetherError(Exception):
    """Something went wrong while the others were training too; its cause is what the user is to see."""


def train_together(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    backup: Path,
    epochs: int,
    learning_rate: float,
    train: Train,
) -> None:
    """Trains a model on the devices of all processes; of the chief.

    Args:
        model: gets the trained weights.
        batches: whole ones.
        backup: the folder with what is left of an interrupted training.
        epochs: of the training.
        learning_rate: the largest.
        train: called as `train(model, batches, backup, epochs, learning_rate)` in each process.
    """
    content = _pack(model, backup, epochs, learning_rate)
    distribution.spread(content)
    try:
        model.set_weights(_train(content, batches, backup, train))
    except BaseException as error:
        raise TrainingTogetherError from error


def follow(batches: keras.utils.PyDataset, train: Train) -> int:
    """Takes part in trainings until the chief has no more of them.

    Args:
        batches: whole ones.
        train: as of `train_together`.

    Returns:
        How many trainings there were.
    """
    count = 0
    while content := distribution.spread():
        with tempfile.TemporaryDirectory() as folder:
            backup = Path(folder) / BACKUP
            _unpack(content, Path(folder))
            _train(content, batches, backup, train)
        count += 1
    return count


def _train(content: bytes, batches: keras.utils.PyDataset, backup: Path, train: Train) -> list:
    """The weights after the training of a model that was sent."""
    with tempfile.TemporaryDirectory() as folder, distribution.parallel():
        _unpack(content, Path(folder))
        request = json.loads((Path(folder) / REQUEST).read_text())
        keras.utils.set_random_seed(0)  # the order of batches is drawn from it; later epochs have seeds of their own
        shared = keras.saving.load_model(Path(folder) / MODEL, compile=False)
        train(shared, distribution.Share(batches), backup, request["epochs"], request["learning_rate"])
        return shared.get_weights()


def _pack(model: keras.Model, backup: Path, epochs: int, learning_rate: float) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(REQUEST, json.dumps({"epochs": epochs, "learning_rate": learning_rate}))
        file.writestr(MODEL, model_bytes(model))
        for path in sorted(backup.rglob("*")):
            if path.is_file():
                file.write(path, f"{BACKUP}/{path.relative_to(backup).as_posix()}")
    return content.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        file.extractall(folder)
