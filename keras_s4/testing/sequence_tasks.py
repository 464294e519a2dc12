"""The classification tasks of the scripts in `scripts/reproduce/`, and the training of small models on them.

A model is compiled once and trained many times: XLA needs as long to compile a training step as a run has steps.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np

from keras_s4 import datasets, models
from keras_s4.augmentation import RandomWindows
from keras_s4.compression import accuracy_on

Arrays = tuple[np.ndarray, np.ndarray]
# Gradient steps that Keras runs in one go; every training has a multiple of it.
STEPS_AT_ONCE = 10


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set, and how a model for it is built and trained.

    Args:
        name: of the task.
        title: printed.
        input_shape: `(L, features)`.
        classes: C.
        channels: H of the models, of two S4 blocks.
        batch_size: B.
        steps: gradient steps of a training.
        dropout: of the models.
        tested: how many of the validation or test sequences are used, the first ones.
    """

    name: str
    title: str
    input_shape: tuple[int, int]
    classes: int
    channels: int
    batch_size: int
    steps: int
    dropout: float
    tested: int = 10_000

    def batches(self, seed: int, steps: int) -> Arrays:
        """What a training of so many gradient steps sees, in order."""
        if self.name == "smartwatch":
            return _augmented_windows(self.recordings(seed)[0], seed, steps, self.batch_size)
        x, y = self.arrays()[0]
        random = np.random.default_rng(seed)
        epochs = -(-steps * self.batch_size // len(x))
        order = np.concatenate([random.permutation(len(x)) for _ in range(epochs)])[: steps * self.batch_size]
        return x[order], y[order]

    def evaluation(self, part: str, seed: int = 0) -> Arrays:
        """The "validation" or the "test" data; of the smartwatch, that of the people of fold `seed`."""
        index = {"validation": 1, "test": 2}[part]
        if self.name == "smartwatch":
            return self.recordings(seed)[index].windows()
        x, y = self.arrays()[index]
        return x[: self.tested], y[: self.tested]

    def arrays(self) -> tuple[Arrays, Arrays, Arrays]:
        """The data for training, validation and test; of all tasks but the smartwatch's."""
        return _keywords() if self.name == "keywords" else datasets.fashion_mnist(self.name)

    def fold(self, seed: int) -> int:
        """Which split of the data a seed has: of the smartwatch recordings its fold, otherwise always the same."""
        return seed % datasets.FOLDS if self.name == "smartwatch" else 0

    def recordings(self, seed: int):
        """The smartwatch recordings for training, validation and test, by person."""
        return datasets.smartwatch_split(self.fold(seed))


TASKS = {
    task.name: task
    for task in (
        Task("pixels", "Fashion-MNIST by pixel", (784, 1), 10, 16, 50, 200, 0.0, tested=5_000),
        Task("rows", "Fashion-MNIST by row", (28, 28), 10, 16, 50, 1500, 0.0),
        Task("smartwatch", "Smartwatch", (500, 6), 7, 16, 32, 300, 0.1),
        Task("keywords", "Synthetic keywords", (50, 20), 12, 24, 50, 1500, 0.1),
    )
}


class Trainer:
    """One compiled model of a state size, for any number of trainings.

    Args:
        task: what it learns.
        states: N, modes a channel.
    """

    def __init__(self, task: Task, states: int):
        self.task = task
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
            variable.assign(keras.ops.zeros_like(variable))
        self.rate.begin(steps, learning_rate)
        x, y = self.task.batches(seed, steps)
        self.model.fit(x, y, batch_size=self.task.batch_size, shuffle=False, verbose=0, callbacks=[self.rate])
        return self.model

    def holding(self, model: keras.Model) -> keras.Model:
        """The compiled model, with the weights of another one of its size."""
        self.model.set_weights(model.get_weights())
        return self.model

    def _build(self) -> keras.Model:
        task = self.task
        # Poles for every channel, as in the reduced models: equal sizes have equal numbers of parameters.
        return models.classifier(
            task.input_shape,
            task.classes,
            task.channels,
            self.states,
            dropout=task.dropout,
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


@functools.cache
def _keywords() -> tuple[Arrays, Arrays, Arrays]:
    """Spoken once a process: it takes minutes."""
    return datasets.keywords()


def _augmented_windows(recordings, seed: int, steps: int, batch_size: int) -> Arrays:
    windows = RandomWindows(recordings, windows=steps * batch_size, batch_size=batch_size, seed=seed)
    parts = [windows[index] for index in range(steps)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def use_one_thread() -> None:
    """One core for each process, so that several may run beside each other; before TensorFlow computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
