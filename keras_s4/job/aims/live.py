"""Models that decide in a live stream: their pooling over time, and the windows of streams that they are trained on."""

from __future__ import annotations

from typing import Any

import keras

from keras_s4.augmentation import StreamWindows, from_dict
from keras_s4.datasets import Task
from keras_s4.datasets.live import SLIDING
from keras_s4.job.settings import Settings

# Of the steps of a window: those of a window of a stream, and the first of them, at which nothing is learned.
LONGER, WARM_UP = 1.4, 0.3
# Of such windows, how many go over from one recording to another; and of the tolerance, how much is not learned.
CHANGES, UNLEARNED = 0.7, 0.5


def pooling_of(task: Task, settings: Settings) -> dict[str, Any]:
    """The pooling over time of a task with live decisions, as arguments of `keras_s4.models`."""
    live, stride, hop = task.live, settings.front or 1, task.every
    if hop % stride:
        raise ValueError(f"Task {task.name!r} decides every {hop} steps, which front={stride} does not divide.")
    if live.pooling == SLIDING:
        window = hop * max(1, round(live.seconds * task.rate / hop))
        arguments = {"window": window // stride, "hop": hop // stride}
    else:
        arguments = {"seconds": live.seconds, "rate": task.rate / stride}
    return {"pooling": live.pooling, "pooling_arguments": arguments}


def length_of(task: Task) -> int:
    """Steps of a window of a stream: whole decisions."""
    return task.every * max(2, round(LONGER * task.length / task.every))


def stream_windows(task: Task, settings: Settings) -> keras.utils.PyDataset:
    """What a model is trained on at every decision: of `RecentAverage` at every step."""
    live, stride = task.live, settings.front or 1
    length, every = length_of(task), task.every if live.pooling == SLIDING else stride
    windows = -(-sum(map(len, task.splits.train.signals)) // task.hop)
    return StreamWindows(
        task.splits.train,
        length,
        settings.batch_size,
        settings.seed,
        every=every,
        first=every - stride,
        warm_up=round(WARM_UP * task.length),
        tolerance=round(UNLEARNED * live.tolerance * task.rate),
        changes=CHANGES,
        background=task.background,
        windows=max(1, round(windows * task.length / length)),
        transforms=from_dict(task.augmentation),
        sensors=task.sensors,
        classes=len(task.classes) or None,
        class_weights=task.class_weights,
    )
