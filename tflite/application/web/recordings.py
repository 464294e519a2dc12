"""Recordings that a page replays, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.web.packing import pack
from keras_s4.tflite.program.encoding import decode
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.samples import sample_arrays

# Numbers of all recordings of a page, and of recordings that are made of the windows of an array.
MOST_NUMBERS, MOST_WINDOWS = 4_000_000, 12


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Replay(Brief):
    """A recording that a page replays.

    Args:
        samples: `[L, features]` in the unit of the training data, or tokens `[L]`; of a model with several inputs a
            list in its order, or a dict by their names.
        name: in the page's list.
        truth: what it is: the number or the name of a class, or one for each step `[L]`, below 0 for none; of several
            labels zeros and ones `[C]` or `[L, C]`; quantities `[Q]` or `[L, Q]`. None: nobody knows.
    """

    samples: Any
    name: str = "recording"
    truth: Any = None


def replays_of(recordings: Any, program: Program, golden: Golden) -> list[Replay]:
    """What a page replays.

    Args:
        recordings: `Replay`s; or an array of windows `[B, L, features]`, of a program with several inputs a list or a
            dict of them, of which the first `MOST_WINDOWS` are taken; None for the golden vectors.
        program: the integer program.
        golden: vectors of it.
    """
    if recordings is None:
        return _golden_replays(program, golden)
    if isinstance(recordings, Replay):
        return [recordings]
    if isinstance(recordings, Sequence) and recordings and all(isinstance(each, Replay) for each in recordings):
        return list(recordings)
    arrays = sample_arrays(program, recordings)
    count = min(len(arrays[0]), MOST_WINDOWS)
    windows = ([array[index] for array in arrays] for index in range(count))
    return [Replay(own if len(own) > 1 else own[0], f"recording {index}") for index, own in enumerate(windows, start=1)]


def pack_replays(
    replays: Sequence[Replay], program: Program, classes: Sequence[str], exclusive: bool
) -> list[dict[str, Any]]:
    """Recordings as the page has them, JSON-ready.

    Args:
        replays: the recordings.
        program: the integer program.
        classes: that are said; empty for quantities.
        exclusive: whether one class is said at a time, and not several labels.

    Raises:
        TypeError, ValueError: samples that the program cannot take; labels of something else; too many numbers.
    """
    packed = []
    for replay in replays:
        samples = _samples_of(replay, program)
        truth = None if replay.truth is None else _truth_of(replay, len(samples), classes, exclusive)
        packed.append({"name": replay.name, "samples": pack(samples), "truth": truth, "size": samples.size})
    total = sum(each.pop("size") for each in packed)
    if total > MOST_NUMBERS:
        raise ValueError(
            f"A page got recordings of {total:,} numbers in all; expected at most {MOST_NUMBERS:,}, which a phone can "
            "load. Give fewer recordings, or parts of them."
        )
    return packed


def _samples_of(replay: Replay, program: Program) -> np.ndarray:
    """`[L, features]` of all inputs, one behind the other."""
    if isinstance(replay.samples, Mapping):
        given: Any = {name: np.asarray(array)[None] for name, array in replay.samples.items()}
    elif len(program.inputs) > 1:
        given = [np.asarray(array)[None] for array in replay.samples]
    else:
        given = np.asarray(replay.samples)[None]
    arrays = sample_arrays(program, given)
    return np.concatenate([array.reshape(array.shape[1], -1) for array in arrays], axis=1)


def _truth_of(replay: Replay, length: int, classes: Sequence[str], exclusive: bool) -> dict[str, Any]:
    truth = np.asarray(replay.truth)
    if classes and exclusive:
        return {"spans": _spans_of(_numbers(truth, classes, replay.name), length)}
    if classes:
        rows = np.broadcast_to(truth, (length, len(classes))) if truth.ndim < 2 else truth
        _check_length(rows, length, replay.name)
        marks = [np.where(rows[:, label] > 0, label, -1) for label in range(len(classes))]
        return {"spans": [span for own in marks for span in _spans_of(own, length)]}
    values = np.atleast_1d(truth).astype(np.float64)
    if values.ndim == 1:
        return {"times": pack([1, length]), "values": pack(np.stack([values] * 2)), "columns": len(values)}
    _check_length(values, length, replay.name)
    times = np.arange(1, length + 1)
    return {"times": pack(times), "values": pack(values.reshape(length, -1)), "columns": values[0].size}


def _numbers(truth: np.ndarray, classes: Sequence[str], name: str) -> np.ndarray:
    """Names of classes as their numbers."""
    if truth.dtype.kind in "biuf":
        return truth.astype(np.int64)
    unknown = sorted({str(each) for each in truth.ravel()} - set(classes))
    if unknown:
        raise ValueError(f"Recording {name!r} has the label {unknown[0]!r}; expected one of {', '.join(classes)}.")
    return np.vectorize(list(classes).index, otypes=[np.int64])(truth)


def _spans_of(labels: np.ndarray, length: int) -> list[list[int]]:
    """`[from, to, label]` of each stretch of one label; what is below 0 has none."""
    if labels.ndim == 0:
        labels = np.broadcast_to(labels, length)
    _check_length(labels, length, "labels")
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    spans = zip(starts.tolist(), [*starts[1:].tolist(), length], labels[starts].tolist(), strict=True)
    return [[start, end, label] for start, end, label in spans if label >= 0]


def _check_length(rows: np.ndarray, length: int, name: str) -> None:
    if len(rows) != length:
        raise ValueError(
            f"Recording {name!r} has {length} samples and {len(rows)} labels; expected one for each, or one for all."
        )


def _golden_replays(program: Program, golden: Golden) -> list[Replay]:
    """The golden streams in real numbers: all that the model can be given."""
    replays = []
    for stream in range(len(golden.inputs[0])):
        samples = []
        for tensor, array in zip(program.inputs, golden.inputs, strict=True):
            integers = array[stream].reshape(-1, *tensor.shape[1:]) if program.steps > 1 else array[stream]
            if tensor.type == "int32":
                samples.append(integers.reshape(len(integers)))
            else:
                values = (integers.astype(np.float64) - tensor.zero_point) * tensor.scale
                samples.append(decode(program.encodings.get(tensor.name), values))
        name = f"golden vectors {stream + 1}: noise over the whole range"
        replays.append(Replay(samples if len(samples) > 1 else samples[0], name))
    return replays
