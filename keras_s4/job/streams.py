"""Continuous streams of a task, what a model and its firmware say in them, from a start on, and how good that is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.brief import Brief
from keras_s4.datasets import Task
from keras_s4.decisions import CLASS, Decider, Decision, Scores
from keras_s4.recordings import UNLABELLED, Recordings
from keras_s4.recordings.joining import join_groups
from keras_s4.scoring.heads import CLASSES
from keras_s4.scoring.scores import against_targets
from keras_s4.scoring.streams import Answers, score_decisions, score_events
from keras_s4.streaming import StreamingModel
from keras_s4.tflite import Converted, engines
from keras_s4.tflite.emulator import Emulator

# About so many steps a streaming model runs at once.
CHUNK = 1000
# The emulator, the slowest engine, runs so many steps of each stream.
EMULATED = 1500


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
    def of(cls, task: Task, split: str, seed: int = 0, normal: bool = False) -> Streams:
        """The streams of a split, "train", "validation" or "test".

        Args:
            task: with `live` decisions.
            split: of its recordings; those with one label are joined, see `join_groups`.
            seed: of the order in which they are joined.
            normal: of anomalies, whether in normal recordings alone.

        Raises:
            ValueError: the task does not say what a decision in a stream is; no recording is normal.
        """
        if task.live is None:
            raise ValueError(f"Task {task.name!r} has live=None; expected keras_s4.datasets.Live(...).")
        recordings = getattr(task.splits, split)
        recordings = task.normal(recordings, split) if normal else recordings
        return cls(join_groups(recordings, seed, task.background), task.every)

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
    streaming, run = _in_chunks(model)
    length = reset_every or streams.every * max(1, CHUNK // streams.every)
    signals, found = streams.side_by_side(length), []
    states = start = streaming.initial_state(len(signals))
    for first in range(0, signals.shape[1], length):
        outputs, states = run(signals[:, first : first + length], start if reset_every else states)
        found.append(keras.ops.convert_to_numpy(outputs))
    return streams.at_decisions(np.concatenate(found, axis=1))


@functools.lru_cache(maxsize=1)
def _in_chunks(model: keras.Model) -> tuple[StreamingModel, Callable]:
    """A model in step mode, and its chunks as one function, compiled once for validation and test."""
    streaming = StreamingModel(model)
    return streaming, streaming.compiled_chunk()


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
    found = run(pieces)
    return in_reals(firmware, streams.at_decisions(found.reshape(len(streams.signals), -1, *found.shape[2:])))


def in_reals(firmware: Converted, integers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Integers of the program's output, `[D, C]` of each stream, as real numbers."""
    return [firmware.dequantize(each[None])[0] for each in integers]


def run_engines(firmware: Converted, streams: Streams) -> dict[str, np.ndarray]:
    """The integers of every step of streams, `[R, L, C]`, by engine, from all that this computer has, never reset.

    The emulator, the slowest, is the last; where it is not alone, it runs the first `EMULATED` steps.
    """
    integers = firmware.quantize(streams.side_by_side(), whole=False)
    found = {
        name: engines.choose_engine(name, firmware.program, firmware.tflite)(integers)
        for name in ("tflm", "c")
        if not engines.why_missing(name)
    }
    return found | {"emulator": Emulator(firmware.program).run(integers[:, :EMULATED] if found else integers)}


def compare_engines(found: Mapping[str, np.ndarray], streams: Streams) -> dict[str, Any]:
    """Whether all engines gave equal integers.

    Args:
        found: what `run_engines` returns.
        streams: that were run.

    Returns:
        JSON-ready: the "engines", how many "steps" all streams have together, how many of these the emulator ran,
        "emulated", which are the "first" so many of each stream, and whether all are "equal".
    """
    lengths = [len(signal) for signal in streams.signals]
    whole, first = next(iter(found.values())), found["emulator"].shape[1]
    return {
        "engines": list(found),
        "steps": sum(lengths),
        "emulated": sum(min(length, first) for length in lengths),
        "first": first,
        "equal": all(np.array_equal(each, whole[:, : each.shape[1]]) for each in found.values()),
    }


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


def score_classes(task: Task, classes: Sequence[np.ndarray], streams: Streams, kind: str = CLASS) -> dict[str, Any]:
    """How good classes that were decided for in each stream, `[D]`, are; see `score`.

    Of kind "wake word" each is an event, -1 is none, and no share is right: `keras_s4.scoring.streams.score_events`.
    """
    answers = [
        Answers(streams.decisions(index), said, labels)
        for index, (said, labels) in enumerate(zip(classes, streams.recordings.labels, strict=True))
    ]
    judged = (task.rate, task.live.tolerance, task.background)
    if kind != CLASS:
        return {"accuracy": None, "settled_accuracy": None, **score_events(answers, *judged)}
    return score_decisions(answers, len(task.classes), *judged)


def decide(decision: Decision, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The classes that a decision layer says in each stream, `[D]`, from outputs at its decisions, `[D, C]`."""
    decider = Decider(decision, Scores(count=outputs[0].shape[-1]))
    return [decider.run(each).classes for each in outputs]
