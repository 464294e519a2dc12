"""The small trained classifiers that exports are measured on, one a task, and the data that they are measured with."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from keras_s4.compression import reduce
from keras_s4.files import write_model
from keras_s4.surgery.cloning import clone
from keras_s4.testing.sequence_tasks import TASKS, Trainer

# Modes a channel, before and after the reduction.
STATES, KEPT = 32, 4
LEARNING_RATE, RETRAIN_LEARNING_RATE = 1e-2, 5e-3
# Sequences of the calibration.
CALIBRATION = 300
# Steps from one smartwatch window of the test to the next: without overlap, one window would be 0.7 points.
HOP = 50


def load_or_train(name: str, folder: Path) -> keras.Model:
    """The reduced and retrained model of a task, from the folder where it is there."""
    path = folder / "model.keras"
    if not path.exists():
        task = TASKS[name]
        large = Trainer(task, STATES).train(0, task.steps, LEARNING_RATE, 0)
        small = reduce(large, KEPT)
        write_model(path, Trainer(task, KEPT).train(small, task.steps, RETRAIN_LEARNING_RATE, 1000))
    return keras.saving.load_model(path)


def calibration_of(name: str) -> np.ndarray:
    """Training sequences that the scales of a task's model are chosen from."""
    task = TASKS[name]
    return task.batches(1, -(-CALIBRATION // task.batch_size))[0][:CALIBRATION]


def evaluation_data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Test sequences of a task and their classes."""
    task = TASKS[name]
    return task.recordings(0)[2].windows(hop=HOP) if name == "smartwatch" else task.evaluation("test")


def with_logits(model: keras.Model) -> keras.Model:
    """A classifier without the softmax of its last layer."""
    last = model.layers[-1].get_config()
    return clone(model, {last["name"]: {"activation": "linear"}}) if last.get("activation") == "softmax" else model
