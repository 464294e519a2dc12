"""Small DSS models on pictures, as `ezoe_sato.py` and `successors.py` train them: one size, one recipe, one cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4 import models
from keras_s4.datasets import Splits
from keras_s4.files import write_model
from keras_s4.testing.experiment import cache_json
from keras_s4.testing.trainings import BATCH, Trainer, accuracy, task_of

CHANNELS, BLOCKS = 16, 2
TITLES = {
    "mnist-pixels": "MNIST by pixel",
    "fashion-pixels": "Fashion-MNIST by pixel",
    "fashion-rows": "Fashion-MNIST by row",
}
# Gradient steps of a training, of 32 pictures each; a retraining has as many.
STEPS = {"mnist-pixels": 312, "fashion-pixels": 312, "fashion-rows": 936}


class PictureModels:
    """The models of one task; what was finished before is not computed again.

    Args:
        name: of the task, a key of `TITLES`.
        cache: folder for pictures, models and accuracies.
        states: modes a channel of the large model.

    Attributes:
        rate, retrain_rate: learning rates of a training and of a retraining.
        steps: gradient steps of each.
        title: of the task.
    """

    rate, retrain_rate = 1e-2, 5e-3

    def __init__(self, name: str, cache: Path, states: int):
        self.cache, self.states = cache / name, states
        self.steps, self.title = STEPS[name], TITLES[name]
        self.task = task_of(name, 0, cache, varied=False)
        self._trainers: dict = {}

    def original(self, seed: int, steps: int | None = None):
        """The large model after its first training, trained once and read from its file from then on."""
        steps = steps or self.steps
        return self.kept(f"original-{seed}-{steps}", lambda: self.train_fresh(self.states, steps, seed))

    def kept(self, name: str, make: Callable[[], Any]):
        """What `make` returns, from its file where there is one."""
        path = self.cache / f"{name}.keras"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_model(path, make())
        return keras.saving.load_model(path, compile=False)

    def fresh(self, states: int, seed: int, **dss: Any):
        """An untrained model; `dss` are further arguments of its DSS layers."""
        keras.utils.set_random_seed(seed)
        # Poles for every channel, as in the reduced models: equal sizes have equal numbers of parameters.
        return models.classifier(
            self.task.input_shape,
            len(self.task.classes),
            CHANNELS,
            states,
            BLOCKS,
            dropout=0.0,
            dss={"per_channel_poles": True, **dss},
        )

    def train_fresh(self, states: int, steps: int, seed: int, **dss: Any):
        """A model trained from Skew-HiPPO."""
        return self.train(states, steps, self.rate, seed, self.fresh(states, seed, **dss), **dss)

    def retrain(self, states: int, seed: int, start):
        """A model after the second training."""
        return self.train(states, self.steps, self.retrain_rate, seed + 1000, start)

    def train(self, states: int, steps: int, rate: float, seed: int, start, **dss: Any):
        """A model after a training, until the next one; the step of each size and schedule is compiled once."""
        task, key = self._task_for(steps), (states, steps, rate, *dss)
        if key not in self._trainers:
            model = self.fresh(states, 0, **dss)
            self._trainers[key] = Trainer(model, task, steps, learning_rate=rate, label_smoothing=0.0)
        return self._trainers[key].train(task, seed, start.get_weights())

    def _task_for(self, steps: int):
        """The task, with as many pictures as a training of less than an epoch sees."""
        train, *others = self.task.splits
        if steps * BATCH >= len(train):
            return self.task
        # Drawn, since some sets have one class after the other.
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: steps * BATCH])
        part = Splits(train.take(chosen), *others)
        return dataclasses.replace(self.task, read=lambda: part)

    def parameters(self, *states: int) -> dict[int, int]:
        """By the states of a channel."""
        return {count: self.fresh(count, 0).count_params() for count in states}

    def accuracy(self, name: str, make: Callable[[], Any]) -> float:
        """The test accuracy of what `make` returns, from a file where there is one."""
        return cache_json(self.cache / f"{name}.json", lambda: accuracy(make(), self.task, "test"))
