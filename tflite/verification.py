"""Does the exported program do what the Keras model does? Each stage of the way, compared on real data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_s4.streaming import StreamingModel
from keras_s4.tflite import runtimes
from keras_s4.tflite.conversion import Converted
from keras_s4.tflite.emulator import Emulator

Progress = Callable[[str, int, int], None]
TENSORFLOW_SEQUENCES = 20
SEQUENCES_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Args:
        accuracy: by stage ("keras", "streamed", "emulator", "tflm", "tensorflow"): fraction of right labels.
        agreement: by stage: fraction of labels equal to those of the whole-sequence Keras model.
        streamed_deviation: largest difference of a probability between streamed and whole-sequence Keras.
        steps: steps compared between emulator and TFLM.
        first_difference: where emulator and TFLM first differ, "" if every output and state of every step is equal.
        largest_accumulator: the largest 32-bit accumulator or state, as a part of what 32 bits hold.
        tensorflow_sequences: how many of the sequences TensorFlow's reference interpreter ran.
        tensorflow_difference: largest difference of an output integer at their ends between it and TFLM.
        tflm_labels: the labels on TFLM, `[B]`.
    """

    accuracy: dict[str, float]
    agreement: dict[str, float]
    streamed_deviation: float
    steps: int
    first_difference: str
    largest_accumulator: float
    tensorflow_sequences: int
    tensorflow_difference: int
    tflm_labels: np.ndarray

    @property
    def bit_exact(self) -> bool:
        """Emulator and TFLM are equal in every output and state of every step."""
        return not self.first_difference

    def figures(self) -> dict[str, Any]:
        """Everything but the labels, JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**{name: value for name, value in values.items() if name != "tflm_labels"}, "bit_exact": self.bit_exact}

    def __str__(self) -> str:
        rows = [f"{'stage':<12}{'accuracy':>10}{'equal labels':>14}"]
        rows += [f"{s:<12}{self.accuracy[s]:>10.2%}{self.agreement[s]:>14.2%}" for s in self.accuracy]
        equal = f"equal in all {self.steps:,} steps" if self.bit_exact else f"DIFFER: {self.first_difference}"
        return "\n".join(
            [
                *rows,
                f"emulator and TFLM: {equal}",
                f"largest 32-bit accumulator: {self.largest_accumulator:.0%} of full scale",
                f"TensorFlow's interpreter: within {self.tensorflow_difference}",
            ]
        )


def verify(
    converted: Converted, model: keras.Model, x: np.ndarray, y: np.ndarray, progress: Progress | None = None
) -> Verification:
    """Compares Keras on whole sequences, Keras streamed, the emulator, TFLM, and TensorFlow's reference interpreter.

    Emulator and TFLM are compared in every output and every state of every step of all of `x`. TensorFlow's
    interpreter, which rounds its fully connected layers in another way, runs the first 20 sequences.

    Args:
        converted: what `convert` returned.
        model: the model that was converted.
        x: `[B, L, features]`.
        y: labels `[B]`.
        progress: called as `progress(stage, done, all)`.

    Raises:
        ValueError: `x` is empty or `y` has another length.
        OverflowError: `x` is so far beyond the calibration data that a 32-bit accumulator or state would wrap: which,
            and at which step.
    """
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"verify got {len(x)} sequences and {len(y)} labels; expected as many of both, at least one.")
    report = progress or (lambda stage, done, total: None)
    whole = model.predict(x, verbose=0)
    report("streamed", 0, len(x))
    streamed = StreamingModel(model, converted.length).predict(x, batch_size=64, verbose=0)[:, -1]
    integers = converted.quantize(x)
    emulator = Emulator(converted.program, check_overflow=True)
    emulated, tflm, first_difference = _compare(converted, emulator, integers, report)
    few = integers[:TENSORFLOW_SEQUENCES]
    tensorflow = runtimes.TensorFlowRunner(converted.tflite).run(
        few, progress=lambda done, total: report("tensorflow", done, total)
    )[:, -1]
    last = {"keras": whole, "streamed": streamed, "emulator": emulated, "tflm": tflm, "tensorflow": tensorflow}
    labels = {stage: values.argmax(axis=1) for stage, values in last.items()}
    return Verification(
        accuracy={stage: float(np.mean(label == y[: len(label)])) for stage, label in labels.items()},
        agreement={stage: float(np.mean(label == labels["keras"][: len(label)])) for stage, label in labels.items()},
        streamed_deviation=float(np.abs(whole - streamed).max()),
        steps=int(integers.shape[0] * integers.shape[1]),
        first_difference=first_difference,
        largest_accumulator=max(emulator.peaks.values(), default=0) / 2**31,
        tensorflow_sequences=len(few),
        tensorflow_difference=int(np.abs(tensorflow.astype(np.int64) - tflm[: len(few)]).max()),
        tflm_labels=labels["tflm"],
    )


def _compare(
    converted: Converted, emulator: Emulator, integers: np.ndarray, report: Progress
) -> tuple[np.ndarray, np.ndarray, str]:
    """The last outputs of emulator and TFLM for every sequence, and where any output or state first differs.

    Some sequences at a time, since the states of all steps of all sequences can take gigabytes.
    """
    program, runner = converted.program, runtimes.TflmRunner(converted.tflite)
    names = [program.outputs[0].name, *(state.after.name for state in program.states)]
    emulated, measured, difference = [], [], ""
    for start in range(0, len(integers), SEQUENCES_AT_ONCE):
        chunk = integers[start : start + SEQUENCES_AT_ONCE]
        trace = emulator.trace(chunk, record=names)
        outputs, states = runner.run(chunk, keep_states=True)
        expected = [trace.tensors[name] for name in names]
        difference = difference or _first_difference(names, expected, [outputs, *states], start)
        emulated.append(expected[0][:, -1])
        measured.append(outputs[:, -1])
        report("tflm", start + len(chunk), len(integers))
    return np.concatenate(emulated), np.concatenate(measured), difference


def _first_difference(names: list[str], expected: list[np.ndarray], received: list[np.ndarray], start: int) -> str:
    """The earliest step, over these sequences, at which a tensor differs: a sentence, or "" if none does."""
    found = []
    for name, ours, theirs in zip(names, expected, received, strict=True):
        places = np.argwhere(ours != theirs)
        if len(places):
            place = tuple(int(index) for index in places[places[:, 1].argmin()])
            found.append((place[1], name, place, ours[place], theirs[place]))
    if not found:
        return ""
    step, name, place, ours, theirs = min(found, key=lambda entry: entry[0])
    return f"{name}{list(place[2:])} of sequence {start + place[0]} at step {step}: emulator {ours}, TFLM {theirs}"
