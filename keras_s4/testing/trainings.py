"""Trainings of architectures on tasks, as the scripts in `scripts/reproduce/` compare them: one recipe for every kind.

They run best on the JAX backend, which compiles a training step in seconds and runs recurrent layers some ten times
faster than TensorFlow on a CPU: set KERAS_BACKEND before anything imports Keras.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4 import datasets, training
from keras_s4.architectures import Architecture, build
from keras_s4.augmentation import WholeBatches
from keras_s4.datasets import Splits, Task
from keras_s4.files import write_bytes

BATCH = 32
# Windows that a model is asked for at a time; a last batch of another size would be compiled for itself.
AT_ONCE = 100


@dataclasses.dataclass(frozen=True)
class Contest:
    """A task as networks are compared on it.

    Args:
        task: of a fold, or always the same.
        rate: samples a second that costs are told for; of pictures one a second.
        folds: into which the recordings are split.
        train, tested: how many windows are used at most, None for all.
        augmentation: as `keras_s4.augmentation.from_dict` reads it, the same for every kind of network.
        length: steps that recordings of mixed lengths are cut to; shorter ones end in zeros. None for those of one.
    """

    task: Callable[[int], Task]
    rate: float
    folds: int = 1
    train: int | None = None
    tested: int | None = None
    augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    length: int | None = None

    def shorten(self, splits: Splits) -> Splits:
        """The recordings that are used."""
        found = []
        for recordings, most in zip(splits, (self.train, self.tested, self.tested), strict=True):
            order = np.random.default_rng(0).permutation(len(recordings))[:most]
            # Pictures of different splits have equal numbers.
            taken = dataclasses.replace(recordings.take(np.sort(order)), sources=None)
            if self.length is not None:
                taken = dataclasses.replace(taken, signals=[_at_length(each, self.length) for each in taken.signals])
            found.append(taken)
        return Splits(*found)


def _at_length(signal: np.ndarray, length: int) -> np.ndarray:
    return np.pad(signal[:length], [(0, max(0, length - len(signal))), (0, 0)])


# Pixels are shifted by up to one row and a few columns, sounds by a few frames.
_PIXELS = {"shift": 0.04}
CONTESTS = {
    "smartwatch": Contest(lambda fold: datasets.smartwatch_task(fold, live=None), 50.0, folds=datasets.FOLDS),
    "fashion-rows": Contest(lambda fold: datasets.fashion_mnist_task("rows"), 28.0, train=10_000, tested=2_000),
    "fashion-pixels": Contest(
        lambda fold: datasets.fashion_mnist_task("pixels"), 784.0, train=10_000, tested=2_000, augmentation=_PIXELS
    ),
    "mnist-pixels": Contest(lambda fold: datasets.mnist_task("pixels"), 784.0, augmentation=_PIXELS),
    "appliances": Contest(
        lambda fold: datasets.appliances_task(), 600.0, augmentation={"gain": 1.3, "shift": 0.02}, length=448
    ),
    "drums": Contest(lambda fold: datasets.drums_task(), 50.0, augmentation={"shift": 0.06, "gain": 1.2}),
    "keywords": Contest(lambda fold: datasets.keywords_task(), 50.0, augmentation={"shift": 0.06}),
}


def task_of(name: str, seed: int, cache: Path | None = None, varied: bool = True) -> Task:
    """The task that a training with this seed has: of several folds, one after the other.

    Args:
        name: a key of `CONTESTS`.
        seed: of the training.
        cache: folder that keeps recordings, some of which take a minute to make; or None.
        varied: whether the augmentation of the contest is used.
    """
    contest = CONTESTS[name]
    return _task_of(name, seed % contest.folds, cache, varied)


@functools.cache
def _task_of(name: str, fold: int, cache: Path | None, varied: bool) -> Task:
    contest = CONTESTS[name]
    task = contest.task(fold)
    if varied and contest.augmentation:
        task = dataclasses.replace(task, augmentation=contest.augmentation)
    if contest.length is not None:
        task = dataclasses.replace(task, length=contest.length, hop=contest.length, mixed_lengths=False)

    def read() -> Splits:
        path = None if cache is None else cache / f"{name}-{fold}.pickle"
        if path is not None and path.exists():
            return pickle.loads(path.read_bytes())
        splits = contest.shorten(Splits(*task.read()))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, pickle.dumps(splits))
        return splits

    return dataclasses.replace(task, read=read)


class KeptBatches(WholeBatches):
    """Whole batches that are made once, for other trainings that see the same.

    Args:
        batches: of a task.
        kept: takes them, by epoch and number.
    """

    def __init__(self, batches: keras.utils.PyDataset, kept: dict):
        super().__init__(batches)
        self._kept = kept

    def __getitem__(self, index: int):
        """Batch `index` of this epoch."""
        key = self.epoch, index
        if key not in self._kept:
            self._kept[key] = super().__getitem__(index)
        return self._kept[key]


def make_model(architecture: Architecture, task: Task, seed: int) -> keras.Model:
    """An untrained network for a task."""
    keras.utils.set_random_seed(seed)
    return build(architecture, task.input_shape, len(task.outputs), head=task.head.task, normalization=normalizes(task))


def normalizes(task: Task) -> bool:
    """Whether features are brought to mean 0 and deviation 1, as the task asks; pictures, from 0 to 1, are not."""
    return bool(task.settings.get("normalize", True)) and task.rate is not None


class Trainer:
    """Trains networks of one architecture with one schedule; the training step is compiled once.

    Args:
        model: of the architecture; it is trained in place by `train`.
        task: that it learns.
        steps: gradient steps of a training, rounded to whole epochs.
        arguments: of `keras_s4.compile_classifier`.
    """

    def __init__(self, model: keras.Model, task: Task, steps: int, **arguments: Any):
        self.model = model
        self._windows = len(WholeBatches(task.batches(BATCH, 0)))
        self.epochs = max(1, round(steps / self._windows))
        training.compile_for(task, model, self.epochs * self._windows, **arguments)
        model.optimizer.build(model.trainable_variables)
        self._fresh = [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables]

    def train(
        self, task: Task, seed: int, weights: Sequence[np.ndarray] | None = None, kept: dict | None = None
    ) -> keras.Model:
        """The model after a training that begins with `weights`, or with its own, and a fresh optimizer.

        Args:
            task: what it sees.
            seed: of the order and of the dropout.
            weights: to begin with.
            kept: see `KeptBatches`.
        """
        if weights is not None:
            self.model.set_weights(weights)
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        keras.utils.set_random_seed(seed)
        batches = task.batches(BATCH, seed)
        batches = WholeBatches(batches) if kept is None else KeptBatches(batches, kept)
        self.model.fit(
            batches, epochs=self.epochs, verbose=0, shuffle=False, callbacks=[training.SeededEpochs(batches, seed)]
        )
        return self.model


def adapt(model: keras.Model, task: Task) -> None:
    """Gives a model's normalisation the units of the training windows, where it has one."""
    if normalizes(task):
        training.normalize_to(model, *task.windows("train"))


def accuracy(model: keras.Model, task: Task, split: str) -> float:
    """Part of a split's windows whose class is right."""
    x, y = task.windows(split)
    return float(np.mean(outputs_of(model, x).argmax(axis=-1) == y))


def outputs_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """A model's outputs, computed in batches of one size."""
    missing = -len(x) % AT_ONCE
    padded = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
    return np.asarray(model.predict(padded, batch_size=AT_ONCE, verbose=0))[: len(x)]
