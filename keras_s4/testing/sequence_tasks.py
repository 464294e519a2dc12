"""How the scripts in `scripts/reproduce/` train small models on the tasks of `keras_s4.datasets`.

A model is compiled once and trained many times: XLA needs as long to compile a training step as a run has steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np

from keras_s4 import datasets, models
from keras_s4.compression import accuracy_on
from keras_s4.datasets import Splits, Task

Arrays = tuple[np.ndarray, np.ndarray]
# Gradient steps that Keras runs in one go; every training has a multiple of it.
STEPS_AT_ONCE = 10


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How models for a task are built and trained.

    Args:
        name: of the task, for the command line.
        title: printed.
        task: what is learned; of the smartwatch recordings with the people of a fold held out.
        channels: H of the models, of two S4 blocks.
        batch_size: B.
        steps: gradient steps of a training.
        dropout: of the models.
        tested: how many of the validation or test sequences are used, the first ones.
        folds: into which the recordings can be split.
    """

    name: str
    title: str
    task: Callable[[int], Task]
    channels: int
    batch_size: int
    steps: int
    dropout: float
    tested: int = 10_000
    folds: int = 1

    @property
    def input_shape(self) -> tuple[int, int]:
        """`(L, features)`."""
        return self.task(0).input_shape

    @property
    def classes(self) -> int:
        """C."""
        return len(self.task(0).classes)

    def batches(self, seed: int, steps: int) -> Arrays:
        """What a training of so many gradient steps sees, in order."""
        task = self.task(self.fold(seed))
        if task.augment is not None:
            return _augmented_windows(task, seed, steps, self.batch_size)
        x, y = task.windows("train")
        random = np.random.default_rng(seed)
        epochs = -(-steps * self.batch_size // len(x))
        order = np.concatenate([random.permutation(len(x)) for _ in range(epochs)])[: steps * self.batch_size]
        return x[order], y[order]

    def evaluation(self, part: str, seed: int = 0) -> Arrays:
        """The "validation" or the "test" data; of the smartwatch, that of the people of fold `seed`."""
        x, y = self.task(self.fold(seed)).windows(part)
        return x[: self.tested], y[: self.tested]

    def arrays(self) -> tuple[Arrays, Arrays, Arrays]:
        """The windows for training, validation and test of the first fold."""
        return tuple(self.task(0).windows(split) for split in ("train", "validation", "test"))

    def fold(self, seed: int) -> int:
        """Which split of the data a seed has: of the smartwatch recordings its fold, otherwise always the same."""
        return seed % self.folds

    def recordings(self, seed: int) -> Splits:
        """The recordings for training, validation and test; those of the smartwatch by person."""
        return self.task(self.fold(seed)).splits


@functools.cache
def _pixels(fold: int) -> Task:
    return datasets.fashion_mnist_task("pixels")


@functools.cache
def _rows(fold: int) -> Task:
    return datasets.fashion_mnist_task("rows")


@functools.cache
def _keywords(fold: int) -> Task:
    """Spoken once a process: it takes minutes."""
    return datasets.keywords_task()


_smartwatch = functools.cache(datasets.smartwatch_task)

TASKS = {
    recipe.name: recipe
    for recipe in (
        Recipe("pixels", "Fashion-MNIST by pixel", _pixels, 16, 50, 200, 0.0, tested=5_000),
        Recipe("rows", "Fashion-MNIST by row", _rows, 16, 50, 1500, 0.0),
        Recipe("smartwatch", "Smartwatch", _smartwatch, 16, 32, 300, 0.1, folds=datasets.FOLDS),
        Recipe("keywords", "Synthetic keywords", _keywords, 24, 50, 1500, 0.1),
    )
}


class Trainer:
    """One compiled model of a state size, for any number of trainings.

    Args:
        recipe: of the task that it learns.
        states: N, modes a channel.
    """

    def __init__(self, recipe: Recipe, states: int):
        self.recipe = recipe
        self.states = states
        self.model = self._build()
        self.rate = _WarmupCosine()
        self.model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=0.0, clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile=True,
            steps_per_execution=STEPS_AT_ONCE,
        )

    def train(self, start: keras.Model | int, steps: int, learning_rate: float, seed: int) -> keras.Model:
        """The model after a training, until the next one.

        Args:
            start: a model whose weights are taken over, or the seed of new ones.
            steps: gradient steps, a multiple of `STEPS_AT_ONCE`.
            learning_rate: the largest.
            seed: of the order of the data.
        """
        if isinstance(start, int):
            keras.utils.set_random_seed(start)
            start = self._build()
        self.holding(start)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        self.rate.begin(steps, learning_rate)
        x, y = self.recipe.batches(seed, steps)
        self.model.fit(x, y, batch_size=self.recipe.batch_size, shuffle=False, verbose=0, callbacks=[self.rate])
        return self.model

    def holding(self, model: keras.Model) -> keras.Model:
        """The compiled model, with the weights of another one of its size."""
        self.model.set_weights(model.get_weights())
        return self.model

    def _build(self) -> keras.Model:
        recipe = self.recipe
        # Poles for every channel, as in the reduced models: equal sizes have equal numbers of parameters.
        return models.classifier(
            recipe.input_shape,
            recipe.classes,
            recipe.channels,
            self.states,
            dropout=recipe.dropout,
            dss={"per_channel_poles": True},
        )


class _WarmupCosine(keras.callbacks.Callback):
    """Linear warm-up in a tenth of the steps, then half a cosine to zero; a schedule would be compiled in."""

    def begin(self, steps: int, peak: float) -> None:
        self.steps, self.peak, self.done = steps, peak, 0

    def on_train_batch_begin(self, batch, logs=None):
        warmup = max(1.0, self.steps / 10)
        rising = (self.done + 1) / warmup
        falling = 0.5 * (1.0 + np.cos(np.pi * min(1.0, max(0.0, self.done - warmup) / max(1.0, self.steps - warmup))))
        self.model.optimizer.learning_rate = self.peak * min(rising, falling)
        self.done += STEPS_AT_ONCE


def accuracy(model: keras.Model, data: Arrays) -> float:
    """Part of the sequences whose class is right."""
    return accuracy_on(*data, batch_size=500)(model)


def _augmented_windows(task: Task, seed: int, steps: int, batch_size: int) -> Arrays:
    recordings = task.splits.train
    windows = task.augment(recordings, task.length, windows=steps * batch_size, batch_size=batch_size, seed=seed)
    parts = [windows[index] for index in range(steps)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def use_one_thread() -> None:
    """One core for each process, so that several may run beside each other; before TensorFlow computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
