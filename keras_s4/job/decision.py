"""How the firmware decides: what the task says, with thresholds from validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_s4.datasets import Task
from keras_s4.datasets.deciding import decision_of
from keras_s4.decisions import CLASS, Choice, Decider, Decision, Scores, choose_threshold
from keras_s4.job.aims.aim import Figures
from keras_s4.job.aims.anomalies import figures_of_alarms
from keras_s4.job.job import Job
from keras_s4.job.streams import Streams, decide, run_device, run_keras, score_classes
from keras_s4.recordings import UNLABELLED
from keras_s4.scoring.heads import CLASSES, MULTI_LABEL

# Time constants of smoothing that are tried, as parts of the pooling's seconds.
SMOOTHINGS = (0.0, 0.25, 0.5, 1.0)


class Chosen(NamedTuple):
    """How the firmware decides, and how that was chosen.

    Args:
        decision: None where nothing is to be decided.
        curve: what each threshold did on validation streams, JSON-ready; none where none was tried.
    """

    decision: Decision | None
    curve: list[dict[str, float | None]]


def choose(job: Job) -> Chosen:
    """The decision layer of the firmware, chosen on validation data.

    Classes in a live stream have the threshold and the smoothing with which the model decides best in validation
    streams; an anomaly is what scores higher on the device than a part of the normal validation data. What the task
    says of its `decision` comes first.
    """
    task = job.task
    if task.anomaly:
        return Chosen(decision_of(task, threshold=_threshold_of_normal(job)), [])
    if task.in_streams and task.head.task == CLASSES:
        validation = Streams.of(task, "validation", job.settings.seed)
        return choose_decision(task, run_keras(job.exported("aware"), validation), validation)
    if task.decision or (task.live is not None and task.head.task == MULTI_LABEL):
        return Chosen(decision_of(task), [])
    return Chosen(None, [])


def choose_decision(task: Task, outputs: Sequence[np.ndarray], streams: Streams) -> Chosen:
    """The decision layer of a task of classes, chosen on validation streams.

    Of each smoothing the threshold with the best F1 of changes is tried; the one whose decisions are right most often
    outside of the tolerance is taken, of wake words the one with the best F1; of equal ones the first. A smoothing or
    threshold that the task says is the only one, and its other settings are in force when the rest is chosen. Where
    the streams have no event nothing is chosen.

    Args:
        task: of classes.
        outputs: of the model, of each validation stream `[D, C]`.
        streams: of the validation recordings.
    """
    labels = streams.labels()
    if not _has_events(task, labels):
        return Chosen(decision_of(task), [])
    smoothings = [part * task.live.seconds for part in SMOOTHINGS]
    tried = {decision_of(task, smoothing=smoothing): None for smoothing in smoothings}  # one that is said is one
    best, best_share = Chosen(None, []), -1.0
    for decision in tried:
        choice = choose_threshold(decision, outputs, labels, tolerance=task.live.tolerance)
        chosen = decision_of(task, smoothing=decision.smoothing, threshold=choice.threshold)
        share = _goodness(task, chosen, outputs, streams)
        if share > best_share:
            best, best_share = Chosen(chosen, _rows_of(choice)), share
    return best


def alarms_in_streams(job: Job) -> Figures:
    """What the decision layer of a task of anomalies does in the test streams, as the device runs."""
    decider = job.firmware.decider(job.decision)
    test = Streams.of(job.task, "test", job.settings.seed)
    runs = run_device(job.firmware, test), run_keras(job.exported("aware"), test)
    device, model = (np.concatenate([decider.run(each).on[:, 0] for each in outputs]) for outputs in runs)
    return figures_of_alarms(job.decision, device, model, np.concatenate(test.labels()), "decisions")


def _has_events(task: Task, labels: Sequence[np.ndarray]) -> bool:
    """Whether anything but the background is there once decisions are made."""
    settling = Decider(decision_of(task), Scores(count=len(task.classes))).integers.settling
    there = np.concatenate([each[settling:] for each in labels])
    return bool(((there != UNLABELLED) & (there != task.background)).any())


def _goodness(task: Task, decision: Decision, outputs: Sequence[np.ndarray], streams: Streams) -> float:
    """The share of right decisions outside of the tolerance; of wake words the F1 of their events."""
    found = score_classes(task, decide(decision, outputs), streams, decision.kind)
    if decision.kind == CLASS:
        return found["settled_accuracy"] or 0.0
    right = found["intervals"] - found["missed"]
    return 2 * right / (right + found["intervals"] + found["false_alarms"])


def _threshold_of_normal(job: Job) -> float:
    """The score on the device below which the given part of the normal validation data lies, run as the device runs."""
    task = job.task
    if task.live is not None:
        streams = Streams.of(task, "validation", job.settings.seed, normal=True)
        scores = np.concatenate(run_device(job.firmware, streams))
    else:
        x, labels = job.aim.examples("validation")
        scores = job.firmware.predict(x[labels == 0])
    return float(np.quantile(scores, job.settings.normal_part))


def _rows_of(choice: Choice) -> list[dict[str, Any]]:
    """The thresholds that were tried, and what they did."""
    curve = choice.curve
    columns = {
        "threshold": curve.thresholds,
        "recall": curve.recall,
        "f1": curve.f1,
        "false_alarms_per_hour": curve.false_alarms_an_hour,
        "delay": curve.delay * (choice.decision.seconds or 1.0),
    }
    rows = zip(*columns.values(), strict=True)
    return [{name: _finite(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
