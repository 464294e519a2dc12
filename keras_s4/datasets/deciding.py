"""How the firmware of a task decides: what follows from the task, and what it says in its `decision`."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_s4.checks import quote
from keras_s4.decisions import CLASS, LABELS, WAKE_WORD, Decider, Decision, Scores

ANOMALY = "anomaly"


def decision_of(task: Any, **chosen: Any) -> Decision:
    """The decision layer of the firmware of a task of classes, labels or anomalies.

    Args:
        task: a `keras_s4.datasets.Task`, whose `decision` comes first.
        **chosen: settings that it may leave open, such as a threshold; by default 0.5. Where there are events it is at
            least the release that the task says.

    Raises:
        ValueError: see `Decision`.
    """
    said = dict(task.decision)
    facts = {"every": task.every or task.length, "rate": task.rate}
    facts |= {"kind": _kinds(task)[0], "classes": (ANOMALY,) if task.anomaly else task.classes}
    if task.live is not None and not _is_of_labels(task):
        facts |= {"background": task.live.background}
    settings = facts | {"threshold": 0.5} | chosen | said
    if settings["kind"] != CLASS and "release" in said and "threshold" not in said:
        settings["threshold"] = np.maximum(said["release"], settings["threshold"]).tolist()
    return Decision.from_dict(settings)


def check_decision(task: Any) -> None:
    """Refuses what no decision of a task can be, before anything is trained.

    Args:
        task: a `keras_s4.datasets.Task`.

    Raises:
        ValueError: settings that there are not or that are out of range, that the task says elsewhere, or of a kind
            that its outputs do not have; or decisions of quantities.
    """
    if not task.decision and task.live is None:
        return
    who = f"Task {task.name!r} got decision={quote(dict(task.decision))}"
    if not task.anomaly and not task.classes:
        if task.decision:
            raise ValueError(f"{who}; expected none: it is made between classes, and this task has quantities.")
        return
    elsewhere = {"rate": "the rate of the task", "classes": "its classes", "output": "of which a model has one"}
    if task.live is not None:
        elsewhere |= {"every": "[live] every", "background": "[live] background"}
    elif not task.every_step:
        elsewhere |= {"every": "the length of windows, at whose ends it decides"}
    twice = [f"{name} ({elsewhere[name]})" for name in task.decision if name in elsewhere]
    if twice:
        raise ValueError(f"{who}; the task itself says {', '.join(twice)}. Leave it out there.")
    kinds = _kinds(task)
    if task.decision.get("kind", kinds[0]) not in kinds:
        raise ValueError(f"{who}; expected kind={' or '.join(map(repr, kinds))} for the outputs of this task.")
    try:
        decision = decision_of(task)
        Decider(decision, Scores(count=len(decision.classes), softmax=decision.kind != LABELS))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Task {task.name!r}, its live decisions or its section [decision]: {error}") from error
    for name in ("threshold", "release"):
        values = np.ravel(getattr(decision, name) or 0.0)
        if not task.anomaly and not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{who}; expected a {name} from 0 to 1, of a probability.")


def _kinds(task: Any) -> tuple[str, ...]:
    """The kinds of decisions that the outputs of a task can make; the first by default."""
    return (LABELS,) if _is_of_labels(task) else (CLASS, WAKE_WORD)


def _is_of_labels(task: Any) -> bool:
    return task.anomaly or task.multi_label
