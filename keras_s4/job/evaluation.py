"""How a model and its firmware decide in continuous test streams, from a start on and never reset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_s4.datasets import Task
from keras_s4.decisions import Decision
from keras_s4.job import streams
from keras_s4.job.job import Report
from keras_s4.job.streams import Streams
from keras_s4.scoring.heads import CLASSES
from keras_s4.tflite import Converted


class Evaluation(NamedTuple):
    """What streams showed.

    Args:
        figures: JSON-ready: how many "streams" with a decision "every" so many seconds and which "tolerance"; whether
            the "engines" agree (`compare_engines`); of "keras" and the "device" what `score` returns. Of classes also
            the share of "equal_classes"; the "decision" layer, what is "decided" by it, of both; and with "resets" of
            the device after every window, wherever that ends.
        arrays: of the first test stream, for a figure: the "signal" `[T, features]` and its "labels" `[T, ...]`; the
            "steps" of decisions `[D]`, the outputs there of "keras" and "device" `[D, C]`, and the classes "decided".
    """

    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]


def evaluate(
    task: Task,
    model: keras.Model,
    firmware: Converted,
    decision: Decision | None = None,
    seed: int = 0,
    report: Report | None = None,
    in_units: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluation:
    """How a model and its firmware decide in the test streams.

    Args:
        task: with `live` decisions.
        model: that decides, built.
        firmware: converted from it.
        decision: how the firmware decides; of classes.
        seed: of the order in which recordings are joined.
        report: called as `report(done, all, note)`.
        in_units: brings outputs `[D, C]` into the units of the labels; by default they are.

    Raises:
        ValueError: the task does not say what a decision in a stream is.
    """
    report = report or (lambda done, total, note: None)
    test = Streams.of(task, "test", seed)
    report(0, 3, "Keras")
    outputs = {"keras": streams.run_keras(model, test)}
    report(1, 3, "all engines")
    found = streams.run_engines(firmware, test)
    integers = test.at_decisions(next(iter(found.values())))
    outputs["device"] = streams.in_reals(firmware, integers)
    if in_units is not None:
        outputs = {name: [in_units(each) for each in values] for name, values in outputs.items()}
    figures = {
        "streams": len(test.signals),
        "every": test.every / task.rate,
        "tolerance": task.live.tolerance,
        "engines": streams.compare_engines(found, test),
        **{name: streams.score(task, values, test) for name, values in outputs.items()},
    }
    arrays = _arrays_of(test, outputs)
    if task.head.task == CLASSES:
        report(2, 3, "with resets")
        decider = firmware.decider(decision)
        scores = {"keras": outputs["keras"], "device": integers}
        said = {name: [decider.run(each).classes for each in values] for name, values in scores.items()}
        figures |= {
            "equal_classes": _equal_share(outputs["keras"], outputs["device"]),
            "decision": decision.to_dict(),
            "decided": {
                name: streams.score_classes(task, classes, test, decision.kind) for name, classes in said.items()
            },
            "resets": streams.score(task, streams.run_device(firmware, test, task.length), test),
        }
        arrays["decided"] = said["device"][0]
    return Evaluation(figures, arrays)


def _equal_share(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    return float(np.mean(np.concatenate(list(some)).argmax(axis=-1) == np.concatenate(list(others)).argmax(axis=-1)))


def _arrays_of(test: Streams, outputs: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """The first stream, for a figure."""
    return {
        "signal": test.signals[0],
        "labels": test.recordings.labels[0],
        "steps": test.decisions(0),
        **{name: found[0] for name, found in outputs.items()},
    }
