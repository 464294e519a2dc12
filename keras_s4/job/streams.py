"""How a model and its firmware decide in continuous streams, from a start on and never reset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_s4.brief import Brief
from keras_s4.datasets import Task
from keras_s4.decisions import Choice, Decider, Decision, Scores, choose_threshold
from keras_s4.job.job import Report
from keras_s4.recordings import UNLABELLED, Recordings
from keras_s4.recordings.joining import join_groups
from keras_s4.scoring.heads import CLASSES
from keras_s4.scoring.scores import against_targets
from keras_s4.scoring.streams import Answers, score_decisions
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import Converted, engines
from keras_s4.tflite.emulator import Emulator

# About so many steps a streaming model runs at once.
CHUNK = 1000
# The emulator, the slowest engine, runs so many steps of each stream.
EMULATED = 1500

# Time constants of smoothing that are tried, as parts of the pooling's seconds.
SMOOTHINGS = (0.0, 0.25, 0.5, 1.0)


class Evaluation(NamedTuple):
    """What streams showed.

    Args:
        figures: JSON-ready: how many "streams" with a decision "every" so many seconds and which "tolerance"; whether
            the "engines" agree (`compare_engines`); of "keras" and the "device" what `score` returns. Of classes also
            the share of "equal_classes"; the "decision" layer with the "curve" of its threshold, chosen on validation
            streams, and what is "decided" by it, of both; and with "resets" of the device after every window, wherever
            that ends.
        arrays: of the first test stream, for a figure: the "signal" `[T, features]` and its "labels" `[T, ...]`; the
            "steps" of decisions `[D]`, the outputs there of "keras" and "device" `[D, C]`, and the classes "decided".
    """

    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, repr=False)
class Streams(Brief):
    """Continuous recordings of a task, as they are or joined, and when decisions are made in them.

    Args:
        recordings: with labels at each step.
        every: steps from one decision to the next.
    """

    recordings: Recordings
    every: int

    @classmethod
    def of(cls, task: Task, split: str, seed: int = 0) -> Streams:
        """The streams of a split, "train", "validation" or "test".

        Args:
            task: with `live` decisions.
            split: of its recordings; those with one label are joined, see `join_groups`.
            seed: of the order in which they are joined.

        Raises:
            ValueError: the task does not say what a decision in a stream is.
        """
        if task.live is None:
            raise ValueError(f"Task {task.name!r} has live=None; expected keras_s4.datasets.Live(...).")
        joined = join_groups(getattr(task.splits, split), seed, task.background)
        return cls(joined, task.every)

    @property
    def signals(self) -> list[np.ndarray]:
        """R arrays `[steps, features]`."""
        return self.recordings.signals

    def decisions(self, index: int) -> np.ndarray:
        """The steps of a stream after which decisions are made, `[D]`."""
        return np.arange(self.every - 1, len(self.signals[index]), self.every)

    def at_decisions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Of outputs at every step of streams side by side, `[R, L, C]`, those of each at its decisions, `[D, C]`."""
        return [outputs[index, self.decisions(index)] for index in range(len(self.signals))]

    def side_by_side(self, multiple: int = 1) -> np.ndarray:
        """The signals `[R, L, features]`; behind its end each stays at its last sample."""
        longest = -(-max(map(len, self.signals)) // multiple) * multiple
        return np.stack([np.pad(each, [(0, longest - len(each)), (0, 0)], mode="edge") for each in self.signals])

    def labels(self) -> list[np.ndarray]:
        """The labels of each stream at its decisions."""
        return [labels[self.decisions(index)] for index, labels in enumerate(self.recordings.labels)]


def run_keras(model: keras.Model, streams: Streams, reset_every: int | None = None) -> list[np.ndarray]:
    """What a model gives at the decisions in streams, each `[D, C]`: run as `StreamingModel`, chunk by chunk.

    Args:
        model: built.
        streams: R of them.
        reset_every: steps from one reset to the next; None for none but the start.
    """
    streaming = StreamingModel(model)
    length = reset_every or streams.every * max(1, CHUNK // streams.every)
    signals = streams.side_by_side(length)
    run, found = streaming.compiled_chunk(), []
    states = start = streaming.initial_state(len(signals))
    for first in range(0, signals.shape[1], length):
        outputs, states = run(signals[:, first : first + length], start if reset_every else states)
        found.append(keras.ops.convert_to_numpy(outputs))
    return streams.at_decisions(np.concatenate(found, axis=1))


def run_device(firmware: Converted, streams: Streams, reset_every: int | None = None) -> list[np.ndarray]:
    """What the integer program gives at the decisions in streams, as real numbers, each `[D, C]`.

    Args:
        firmware: converted from the model.
        streams: R of them.
        reset_every: steps from one reset to the next; None for none but the start.
    """
    integers = firmware.quantize(streams.side_by_side(reset_every or 1), whole=False)
    run = engines.choose_engine(None, firmware.program, firmware.tflite)
    pieces = integers.reshape(-1, reset_every or integers.shape[1], *integers.shape[2:])
    outputs = firmware.dequantize(run(pieces))
    return streams.at_decisions(outputs.reshape(len(streams.signals), -1, *outputs.shape[2:]))


def compare_engines(firmware: Converted, streams: Streams) -> dict[str, Any]:
    """Whether all engines of this computer give equal integers in streams without a reset.

    Returns:
        JSON-ready: "engines" that ran, "steps" of TensorFlow Lite Micro and C, "emulated" steps, and whether all are
        "equal".
    """
    integers = firmware.quantize(streams.side_by_side(), whole=False)
    first = integers[:, :EMULATED]
    wanted = Emulator(firmware.program).run(first)
    found = {
        name: engines.choose_engine(name, firmware.program, firmware.tflite)(integers)
        for name in ("tflm", "c")
        if not engines.why_missing(name)
    }
    whole = next(iter(found.values()), None)
    equal = [np.array_equal(outputs[:, :EMULATED], wanted) for outputs in found.values()]
    equal += [np.array_equal(outputs, whole) for outputs in found.values()]
    steps = integers.shape[0] * integers.shape[1]
    emulated = first.shape[0] * first.shape[1]
    return {"engines": ["emulator", *found], "steps": steps, "emulated": emulated, "equal": bool(all(equal))}


def score(task: Task, outputs: Sequence[np.ndarray], streams: Streams) -> dict[str, Any]:
    """How good outputs at decisions are, JSON-ready.

    Args:
        task: whose outputs they are.
        outputs: of each stream, `[D, C]`.
        streams: with the truth.

    Returns:
        Of classes what `keras_s4.scoring.streams.score_decisions` returns; of quantities and several labels
        "decisions", how many, and what `keras_s4.scoring.scores.against_targets` returns.
    """
    if task.head.task != CLASSES:
        given, wanted = np.concatenate(list(outputs)), np.concatenate(streams.labels())
        known = np.ones(len(wanted), bool) if wanted.dtype.kind == "f" else (wanted != UNLABELLED).all(axis=-1)
        return {"decisions": int(known.sum()), **against_targets(task.head, given[known], wanted[known])}
    return score_classes(task, [task.head.decide(each) for each in outputs], streams)


def score_classes(task: Task, classes: Sequence[np.ndarray], streams: Streams) -> dict[str, Any]:
    """How good classes that were decided for in each stream, `[D]`, are; see `score`."""
    answers = [
        Answers(streams.decisions(index), said, labels)
        for index, (said, labels) in enumerate(zip(classes, streams.recordings.labels, strict=True))
    ]
    return score_decisions(answers, len(task.classes), task.rate, task.live.tolerance, task.background)


def choose_decision(task: Task, outputs: Sequence[np.ndarray], streams: Streams) -> Choice:
    """The decision layer of a task of classes, chosen on validation streams.

    Of each smoothing the threshold with the best F1 of changes is tried; the one whose decisions are right most often
    outside of the tolerance is taken, of equal ones the first. What the task says of its `decision` comes first.

    Args:
        task: of classes.
        outputs: of the model, of each validation stream `[D, C]`.
        streams: of the validation recordings.
    """
    best, best_share = None, -1.0
    for smoothing in SMOOTHINGS:
        decision = Decision(
            every=streams.every,
            rate=task.rate,
            smoothing=smoothing * task.live.seconds,
            background=task.live.background,
            classes=task.classes,
        )
        choice = choose_threshold(decision, outputs, streams.labels(), tolerance=task.live.tolerance)
        share = score_classes(task, decide(choice.decision, outputs), streams)["settled_accuracy"] or 0.0
        if share > best_share:
            best, best_share = choice, share
    said = Decision.from_dict(best.decision.to_dict() | dict(task.decision))
    return dataclasses.replace(best, decision=said)


def decide(decision: Decision, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The classes that a decision layer says in each stream, `[D]`, from outputs at its decisions, `[D, C]`."""
    decider = Decider(decision, Scores(count=outputs[0].shape[-1]))
    return [decider.run(each).classes for each in outputs]


def evaluate(
    task: Task,
    model: keras.Model,
    firmware: Converted,
    seed: int = 0,
    report: Report | None = None,
    in_units: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluation:
    """How a model and its firmware decide in the test streams.

    Args:
        task: with `live` decisions.
        model: that decides, built.
        firmware: converted from it.
        seed: of the order in which recordings are joined.
        report: called as `report(done, all, note)`.
        in_units: brings outputs `[D, C]` into the units of the labels; by default they are.

    Raises:
        ValueError: the task does not say what a decision in a stream is.
    """
    report = report or (lambda done, total, note: None)
    test = Streams.of(task, "test", seed)
    report(0, 4, "Keras")
    outputs = {"keras": run_keras(model, test)}
    report(1, 4, "the integer program")
    outputs["device"] = run_device(firmware, test)
    if in_units is not None:
        outputs = {name: [in_units(each) for each in found] for name, found in outputs.items()}
    report(2, 4, "all engines")
    figures = {
        "streams": len(test.signals),
        "every": test.every / task.rate,
        "tolerance": task.live.tolerance,
        "engines": compare_engines(firmware, test),
        **{name: score(task, found, test) for name, found in outputs.items()},
    }
    arrays = _arrays_of(test, outputs)
    if task.head.task == CLASSES:
        report(3, 4, "a threshold")
        validation = Streams.of(task, "validation", seed)
        choice = choose_decision(task, run_keras(model, validation), validation)
        said = {name: decide(choice.decision, found) for name, found in outputs.items()}
        figures |= {
            "equal_classes": _equal_share(outputs["keras"], outputs["device"]),
            "decision": choice.decision.to_dict(),
            "curve": _curve_of(choice),
            "decided": {name: score_classes(task, classes, test) for name, classes in said.items()},
            "resets": score(task, run_device(firmware, test, task.length), test),
        }
        arrays["decided"] = said["device"][0]
    return Evaluation(figures, arrays)


def _equal_share(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    return float(np.mean(np.concatenate(list(some)).argmax(axis=-1) == np.concatenate(list(others)).argmax(axis=-1)))


def _curve_of(choice: Choice) -> list[dict[str, float | None]]:
    """The thresholds that were tried, and what they did on validation streams."""
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


def _arrays_of(streams: Streams, outputs: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """The first stream, for a figure."""
    return {
        "signal": streams.signals[0],
        "labels": streams.recordings.labels[0],
        "steps": streams.decisions(0),
        **{name: found[0] for name, found in outputs.items()},
    }
