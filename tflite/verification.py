"""Does the exported program do what the Keras model does? Each stage of the way, compared on real data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_s4.streaming import StreamingModel
from keras_s4.tflite import runtimes
from keras_s4.tflite.analysis.layers import layer_ratios
from keras_s4.tflite.conversion import Converted
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.first_difference import first_differing_tensor
from keras_s4.tflite.flatbuffer_reader import read_summary

Progress = Callable[[str, int, int], None]
TENSORFLOW_SEQUENCES = 20
SEQUENCES_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Args:
        accuracy: by stage ("keras", "streamed", "emulator", "tflm", "tensorflow"): fraction of right labels.
        agreement: by stage: fraction of labels equal to those of the whole-sequence Keras model.
        streamed_deviation: largest difference of a probability between streamed and whole-sequence Keras; None for a
            model with several inputs or outputs, which `StreamingModel` does not run.
        steps: steps compared between emulator and TFLM.
        first_difference: where emulator and TFLM first differ, "" if every output and state of every step is equal: an
            output or a state, and the first tensor inside the program.
        largest_accumulator: the largest 32-bit accumulator or state, as a part of what 32 bits hold.
        tensorflow_sequences: how many of the sequences TensorFlow's reference interpreter ran.
        tensorflow_difference: largest difference of an output integer at their ends between it and TFLM.
        tflm_labels: the labels on TFLM, `[B]`.
        states_inside: the states are resource variables of the file, so that only outputs were compared.
        layers: signal-to-noise ratio of each layer's output in dB, integers against Keras, in the order in which the
            program computes them: see `keras_s4.tflite.analysis.layer_ratios`.
    """

    accuracy: dict[str, float]
    agreement: dict[str, float]
    streamed_deviation: float | None
    steps: int
    first_difference: str
    largest_accumulator: float
    tensorflow_sequences: int
    tensorflow_difference: int
    tflm_labels: np.ndarray
    states_inside: bool = False
    layers: dict[str, float | None] = dataclasses.field(default_factory=dict)

    @property
    def bit_exact(self) -> bool:
        """Emulator and TFLM are equal in every output and, unless `states_inside`, every state of every step."""
        return not self.first_difference

    def figures(self) -> dict[str, Any]:
        """Everything but the labels, JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**{name: value for name, value in values.items() if name != "tflm_labels"}, "bit_exact": self.bit_exact}

    def __str__(self) -> str:
        rows = [f"{'stage':<12}{'accuracy':>10}{'equal labels':>14}"]
        rows += [f"{s:<12}{self.accuracy[s]:>10.2%}{self.agreement[s]:>14.2%}" for s in self.accuracy]
        equal = f"equal in all {self.steps:,} steps" if self.bit_exact else f"DIFFER: {self.first_difference}"
        equal += " (outputs only: the states are inside the interpreter)" if self.states_inside else ""
        return "\n".join(
            [
                *rows,
                f"emulator and TFLM: {equal}",
                f"largest 32-bit accumulator: {self.largest_accumulator:.0%} of full scale",
                f"TensorFlow's interpreter: within {self.tensorflow_difference}",
                *self._layer_rows(),
            ]
        )

    def _layer_rows(self) -> list[str]:
        """The table of the layers."""
        width = max([len("layer"), *map(len, self.layers)])
        rows = [(name, "–" if ratio is None else f"{ratio:.1f}") for name, ratio in self.layers.items()]
        return [f"{name:<{width}}{ratio:>10}" for name, ratio in [("layer", "SNR in dB"), *rows]] if rows else []


def verify(
    converted: Converted, model: keras.Model, x: np.ndarray, y: np.ndarray, progress: Progress | None = None
) -> Verification:
    """Compares Keras on whole sequences, Keras streamed, the emulator, TFLM, and TensorFlow's reference interpreter.

    Emulator and TFLM are compared in every output and every state of every step of all of `x` (states that are resource
    variables are inside the interpreter, and show in the outputs only); where they differ, the file is looked into for
    the first tensor that does. TensorFlow's interpreter, which rounds its fully connected layers in another way, runs
    the first 20 sequences. What each layer loses against Keras is measured on the first 32.

    Args:
        converted: what `convert` returned.
        model: the model that was converted.
        x: `[B, L, features]`; of a model with several inputs a list or a dict of them.
        y: labels `[B]`, of the first output if there are several.
        progress: called as `progress(stage, done, all)`.

    Raises:
        ValueError: `x` is empty or `y` has another length.
        OverflowError: `x` is so far beyond the calibration data that a 32-bit accumulator or state would wrap: which,
            and at which step.
    """
    counts = {len(array) for array in keras.tree.flatten(x)} if isinstance(x, (dict, list, tuple)) else {len(x)}
    count = max(counts)
    if count == 0 or counts != {len(y)}:
        raise ValueError(f"verify got {count} sequences and {len(y)} labels; expected as many of both, at least one.")
    report = progress or (lambda stage, done, total: None)
    program = converted.program
    whole = _first_output(converted, model.predict(x, verbose=0))
    streamed = {}
    if len(program.inputs) == len(program.outputs) == 1:
        report("streamed", 0, count)
        streaming = StreamingModel(model, converted.length)
        streamed = {"streamed": streaming.predict(x, batch_size=64, verbose=0)[:, -1]}
    integers = converted.quantize(x)
    integers = integers if isinstance(integers, list) else [integers]
    emulator = Emulator(converted.program, check_overflow=True)
    emulated, tflm, first_difference = _compare(converted, emulator, integers, report)
    tensorflow = runtimes.TensorFlowRunner(converted.tflite).run(
        [array[:TENSORFLOW_SEQUENCES] for array in integers],
        progress=lambda done, total: report("tensorflow", done, total),
    )
    tensorflow = (tensorflow[0] if isinstance(tensorflow, tuple) else tensorflow)[:, -1]
    last = {"keras": whole, **streamed, "emulator": emulated, "tflm": tflm, "tensorflow": tensorflow}
    labels = {stage: values.argmax(axis=1) for stage, values in last.items()}
    return Verification(
        accuracy={stage: float(np.mean(label == y[: len(label)])) for stage, label in labels.items()},
        agreement={stage: float(np.mean(label == labels["keras"][: len(label)])) for stage, label in labels.items()},
        streamed_deviation=float(np.abs(whole - streamed["streamed"]).max()) if streamed else None,
        steps=int(count * integers[0].shape[1] * program.steps),
        first_difference=first_difference,
        largest_accumulator=max(emulator.peaks.values(), default=0) / 2**31,
        tensorflow_sequences=len(tensorflow),
        tensorflow_difference=int(np.abs(tensorflow.astype(np.int64) - tflm[: len(tensorflow)]).max()),
        tflm_labels=labels["tflm"],
        states_inside=bool(read_summary(converted.tflite).variables),
        layers=layer_ratios(converted, model, x),
    )


def _first_output(converted: Converted, outputs) -> np.ndarray:
    """The first output of the program among what the Keras model gives."""
    if isinstance(outputs, dict):
        return outputs[converted.output_names[0]]
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _compare(
    converted: Converted, emulator: Emulator, integers: list[np.ndarray], report: Progress
) -> tuple[np.ndarray, np.ndarray, str]:
    """The last (first) outputs of emulator and TFLM for every sequence, and where any output or state first differs.

    States that are variables are not compared.

    Some sequences at a time, since the states of all steps of all sequences can take gigabytes.
    """
    program, runner = converted.program, runtimes.TflmRunner(converted.tflite)
    explicit = () if runner.summary.variables else program.states
    names = [tensor.name for tensor in (*program.outputs, *(state.after for state in explicit))]
    emulated, measured, difference = [], [], ""
    for start in range(0, len(integers[0]), SEQUENCES_AT_ONCE):
        chunk = [array[start : start + SEQUENCES_AT_ONCE] for array in integers]
        trace = emulator.trace(chunk, record=names)
        outputs, states = runner.run(chunk, keep_states=True) if explicit else (runner.run(chunk), ())
        expected = [trace.tensors[name] for name in names]
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if not difference and (found := _first_difference(names, expected, [*outputs, *states], start)):
            sequence, step, ends = found
            inside = first_differing_tensor(converted.tflite, program, [array[sequence] for array in chunk], step)
            difference = f"{ends}. {inside}"
        emulated.append(expected[0][:, -1])
        measured.append(outputs[0][:, -1])
        report("tflm", start + len(chunk[0]), len(integers[0]))
    return np.concatenate(emulated), np.concatenate(measured), difference


def _first_difference(
    names: list[str], expected: list[np.ndarray], received: list[np.ndarray], start: int
) -> tuple[int, int, str] | None:
    """The earliest step, over these sequences, at which a tensor differs.

    Returns:
        The sequence, the step, and a sentence that counts sequences from `start`; None if nothing differs.
    """
    found = []
    for name, ours, theirs in zip(names, expected, received, strict=True):
        places = np.argwhere(ours != theirs)
        if len(places):
            place = tuple(int(index) for index in places[places[:, 1].argmin()])
            found.append((place[1], name, place, ours[place], theirs[place]))
    if not found:
        return None
    step, name, place, ours, theirs = min(found, key=lambda entry: entry[0])
    where = f"{name}{list(place[2:])} of sequence {start + place[0]} at step {step}"
    return place[0], step, f"{where}: emulator {ours}, TFLM {theirs}"
