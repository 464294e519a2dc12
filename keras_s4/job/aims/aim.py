"""What all aims have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_s4 import training
from keras_s4.datasets import Task
from keras_s4.datasets.task import Metric
from keras_s4.decisions import Decision
from keras_s4.job.aims import live
from keras_s4.job.settings import Settings
from keras_s4.scoring.heads import Head
from keras_s4.scoring.scores import against_reference, against_targets
from keras_s4.surgery.every_decision import at_every_decision

Figures = dict[str, float | None]


class Tested(NamedTuple):
    """What was run on the test data.

    Args:
        x: windows `[W, L, features]`.
        targets: what outputs are judged against.
        device: outputs of the exported model on the device.
        keras: its outputs in Keras.
        decision: of the firmware, if there is one.
    """

    x: np.ndarray
    targets: np.ndarray
    device: np.ndarray
    keras: np.ndarray
    decision: Decision | None = None


class Aim:
    """What a task asks of its models.

    A model has a *core*, whose targets are about as large as 1; what is saved is the core *finished*, so that it gives
    what a user asks for. What is trained is the core, or for live decisions a copy that decides all the time; what is
    exported is what a device can compute well.

    Args:
        task: what is learned.

    Attributes:
        head: what the exported model's outputs mean.
        metric: what it is judged by.
        choice: key of `validate`, by which models are compared on validation data.
    """

    def __init__(self, task: Task):
        self.task = task

    @property
    def head(self) -> Head:
        """What the outputs of the exported model mean."""
        return self.task.head

    @property
    def metric(self) -> Metric:
        """What models are judged by."""
        return self.task.metric

    @property
    def choice(self) -> str:
        """The figure of `validate`."""
        return self.metric.score

    def build(self, settings: Settings) -> keras.Model:
        """A new core."""
        raise NotImplementedError(f"{type(self).__name__} builds no model.")

    def finish(self, core: keras.Model) -> keras.Model:
        """What is saved of a core; both share their layers."""
        return core

    def core(self, model: keras.Model) -> keras.Model:
        """The core of a model that `finish` returned."""
        return model

    def trained(self, model: keras.Model) -> keras.Model:
        """What is trained of a saved model; `adopt` follows."""
        core = self.core(model)
        return at_every_decision(core, live.length_of(self.task)) if self.task.in_streams else core

    def adopt(self, model: keras.Model, trained: keras.Model) -> None:
        """Gives a saved model the weights of what was trained of it."""
        if self.task.in_streams:
            self.core(model).set_weights(trained.get_weights())

    def exported(self, model: keras.Model) -> keras.Model:
        """What a device computes of a saved model."""
        return self.core(model)

    def compile(self, model: keras.Model, steps: int, learning_rate: float, jit_compile: bool | str) -> keras.Model:
        """Compiles what is trained for so many steps."""
        return training.compile_for(self.head, model, steps, learning_rate=learning_rate, jit_compile=jit_compile)

    def batches(self, settings: Settings) -> keras.utils.PyDataset:
        """What is trained on."""
        if self.task.in_streams:
            return live.stream_windows(self.task, settings)
        return self.task.batches(settings.batch_size, settings.seed)

    def examples(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Windows `[W, L, features]`, and what the exported model's outputs are judged against."""
        return self.task.windows(split)

    def judge(self, outputs: np.ndarray, targets: np.ndarray) -> Figures:
        """How good outputs of the exported model are, by the key `metric.score` and others."""
        return against_targets(self.head, outputs, targets)

    def compare(self, outputs: np.ndarray, reference: np.ndarray) -> Figures:
        """How far outputs are those of a reference, by the key `metric.likeness` and others."""
        return against_reference(self.head, outputs, reference)

    def validate(self, model: keras.Model, split: str = "validation") -> Figures:
        """How good a saved model is on another split than the test, by the key `choice`."""
        x, y = self.examples(split)
        return self.judge(outputs_of(self.exported(model), x), y)

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the exported model `[..., C]` in the units of the task."""
        return outputs

    def units(self) -> list[dict[str, object]]:
        """Of each output of the exported model what it means: its "name", and what it is in units, JSON-ready."""
        return [{"name": name} for name in self.task.outputs]

    def details(self, tested: Tested) -> dict[str, object]:
        """What a report shows besides the metric, JSON-ready."""
        return {}

    def sizes(self, settings: Settings) -> dict[str, Any]:
        """What the settings say of a model, as arguments of `keras_s4.models`."""
        return {
            "channels": settings.channels,
            "states": settings.states,
            "shared_modes": settings.shared_modes,
            "blocks": settings.blocks,
            "normalization": settings.normalize,
            "mask_value": self.task.mask_value,
            "front": (2 * settings.front, settings.front) if settings.front else None,
        }

    def adapt(self, core: keras.Model, settings: Settings) -> keras.Model:
        """A new core, whose first layer, if it is to normalise, has the units of the training data."""
        return training.normalize_to(core, self.task.splits.train) if settings.normalize else core


def outputs_of(model: keras.Model, x: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """What a model gives for each sequence, `[B, ...]`; for few sequences quicker than `predict`."""
    batches = [model(x[start : start + batch_size], training=False) for start in range(0, len(x), batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches])
