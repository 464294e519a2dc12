"""How the firmware decides: what the task says, with thresholds from validation data."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_s4.datasets import Task
from keras_s4.decisions import LABELS, Decision
from keras_s4.job import streams
from keras_s4.job.job import Job
from keras_s4.scoring.heads import CLASSES, MULTI_LABEL


def choose(job: Job) -> Decision | None:
    """The decision layer of the firmware, chosen on validation data; None where nothing is to be decided.

    Classes in a live stream have the threshold and the smoothing with which the model decides best in validation
    streams; an anomaly is what scores higher on the device than a part of the normal validation windows. What the task
    says of its `decision` comes first.
    """
    task = job.task
    if task.anomaly:
        return _of(task, kind=LABELS, classes=("anomaly",), **{"threshold": _threshold_of_normal(job)} | task.decision)
    if task.in_streams and task.head.task == CLASSES:
        validation = streams.Streams.of(task, "validation", job.settings.seed)
        outputs = streams.run_keras(job.exported("aware"), validation)
        return streams.choose_decision(task, outputs, validation).decision
    if task.decision or (task.live is not None and task.head.task == MULTI_LABEL):
        kind = {"kind": LABELS} if task.multi_label else {}
        return _of(task, **kind | {"classes": task.classes} | dict(task.decision))
    return None


def _of(task: Task, **settings: Any) -> Decision:
    return Decision.from_dict({"every": task.every or task.length, "rate": task.rate} | settings)


def _threshold_of_normal(job: Job) -> float:
    """The score on the device below which the given part of the normal validation windows lies."""
    x, labels = job.aim.examples("validation")
    scores = job.firmware.predict(x[labels == 0])[:, 0]
    return float(np.quantile(scores, job.settings.normal_part))
