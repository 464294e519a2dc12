"""Does the exported program do what the Keras model does? Each stage of the way, compared on real data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.checks import check_model
from keras_s4.padded_sequences import fill_padding, real_values
from keras_s4.samples import as_list
from keras_s4.scoring import scores
from keras_s4.scoring.heads import Head
from keras_s4.scoring.outputs import check_targets, outputs_by_name
from keras_s4.streaming import StreamingModel
from keras_s4.tflite.analysis.layers import layer_ratios
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.program.interface import Interface
from keras_s4.tflite.program.output_steps import OutputSteps
from keras_s4.tflite.program.own_lengths import count_blocks, keep_real_steps
from keras_s4.tflite.program.samples import shape_of_sample
from keras_s4.tflite.verification.comparison import Comparison, Integers, compare_engines
from keras_s4.tflite.verification.result import OutputVerification, Verification

Progress = Callable[[str, int, int], None]
WHO = "verify"

__all__ = ["OutputVerification", "Verification", "verify"]


def verify(
    converted: Interface,
    model: keras.Model,
    x: Any,
    y: Any = None,
    progress: Progress | None = None,
    task: str | Head | Mapping[str, str | Head] | list[str | Head] | None = None,
) -> Verification:
    """Compares Keras on whole sequences, Keras streamed, the emulator, TFLM, C, and TensorFlow's reference interpreter.

    Emulator, TFLM and compiled C are compared in every output and every state of every step of all of `x` (states that
    are resource variables are inside the interpreter, and show in the outputs only); where TFLM differs, the file is
    looked into for the first tensor that does. TensorFlow's interpreter, which rounds its fully connected layers in
    another way, runs the first 20 sequences. What each layer loses against Keras is measured on the first 32.

    How the outputs are compared follows from what they mean (see `keras_s4.scoring.heads.Head`): labels are counted,
    quantities have a signal-to-noise ratio. All steps of a sequence count, but for those that the model masks: each
    padded sequence is run to its own length (see `Interface.real_steps`).

    An engine that is not installed is left out, and the result says so.

    Args:
        converted: what `convert` returned.
        model: the model that was converted.
        x: `[B, L, features]`; of a model with several inputs a list or a dict of them.
        y: targets, or None. Classes `[B]`, `[B, 1]` or one-hot `[B, C]`; yes or no, `[B]` or `[B, 1]`; several labels
            and quantities as the model gives them; for each step of a sequence `[B, L]`, `[B, L, 1]` or `[B, L, C]`. Of
            several outputs a list, or a dict by name; a single array is for the first.
        progress: called as `progress(stage, done, all)`.
        task: what the outputs mean, where model, loss and targets say it wrongly: "classes", "binary", "multi_label" or
            "regression", or a `Head`; for several outputs a list, or a dict by name.

    Raises:
        TypeError: samples or targets that are no numbers.
        ValueError: `x` is empty, has NaN or another shape; `y` does not fit it or the outputs; another model.
        OverflowError: `x` is so far beyond the calibration data that a 32-bit accumulator or state would wrap: which,
            and at which step.
    """
    check_model(model, x, WHO)
    report = progress or (lambda stage, done, total: None)
    arrays = converted.samples(x)
    x = arrays[0] if len(arrays) == 1 else x
    _check_model(converted, model)
    real = converted.real_steps(x)
    heads, targets = check_targets(model, x, _fill_targets(converted, y, real), task, WHO)
    whole = outputs_by_name(model.predict(x, verbose=0), list(heads))
    for name, values in whole.items():
        if not np.isfinite(values).all():
            raise ValueError(f"Output {name!r} of model {model.name!r} is NaN or infinite on x; see its weights.")
    report("streamed", 0, len(_first(whole)))
    found = {"keras": whole, "streamed": _stream(converted, model, x, heads)}
    compared = _run_engines(converted, x, real, report)
    found |= {
        stage: _convert_to_keras(converted, list(heads), values, real) for stage, values in compared.outputs.items()
    }
    device = _first(found[compared.judge])
    if real is not None:
        sequences = _find_sequences(converted, heads)
        found = {stage: _take_real_steps(values, real, sequences) for stage, values in found.items()}
        targets, whole = _take_real_steps(targets, real, sequences), found["keras"]
    outputs = tuple(
        OutputVerification(
            name,
            head,
            {stage: _score(head, values[name], whole[name], targets[name]) for stage, values in found.items()},
        )
        for name, head in heads.items()
    )
    return Verification(
        outputs=outputs,
        streamed_deviation=max(float(np.abs(whole[name] - found["streamed"][name]).max()) for name in heads),
        steps=compared.steps,
        first_difference=compared.first_difference,
        largest_accumulator=compared.largest_accumulator,
        tensorflow_sequences=compared.tensorflow_sequences,
        tensorflow_difference=compared.tensorflow_difference,
        labels=_first(heads).decide(device) if _first(heads).has_labels else None,
        states_inside=bool(read_summary(converted.tflite).variables),
        layers=layer_ratios(converted, model, x),
        clipped={name: [float(share) for share in shares] for name, shares in converted.clipped(x).items()},
        missing=compared.missing,
        values={stage: _first(values) for stage, values in found.items()},
    )


def _check_model(converted: Interface, model: keras.Model) -> None:
    """Refuse another model than the one that was converted, as far as its inputs and outputs tell.

    Raises:
        ValueError: they have other shapes.
    """
    program = converted.program
    rows = program.output_rows or (1,) * len(program.outputs)
    samples = [shape_of_sample(program, tensor) for tensor in program.inputs]
    ends = [t.shape[1:] if count > 1 else t.shape for t, count in zip(program.outputs, rows, strict=True)]
    inputs, outputs = ([tuple(t.shape) for t in tensors] for tensors in (model.inputs, model.outputs))
    fit = sorted(samples) == sorted(shape[2:] for shape in inputs) and len(ends) == len(outputs)
    if not fit or not all(any(shape[len(shape) - len(end) :] == end for shape in outputs) for end in ends):
        raise ValueError(
            f"Model {model.name!r} takes {inputs} and gives {outputs}, but program {program.name!r} takes {samples} "
            f"and gives {ends} a step; give verify the model that was converted."
        )


def _run_engines(converted: Interface, x: Any, real: np.ndarray | None, report: Progress) -> Comparison:
    """All engines, each padded sequence to its own length."""
    if real is None:
        return compare_engines(converted, as_list(converted.quantize(x)), report)
    integers = as_list(converted.quantize(keep_real_steps(converted.samples(x), real)))
    program = converted.program
    return compare_engines(converted, integers, report, count_blocks(real, program.steps, program.name))


def _find_sequences(converted: Interface, heads: Mapping[str, Head]) -> dict[str, bool]:
    """By output, whether it is a sequence."""
    steps = converted.output_steps or (OutputSteps(),) * len(heads)
    return {name: each.sequence for name, each in zip(heads, steps, strict=True)}


def _take_real_steps(
    values: Mapping[str, np.ndarray | None], real: np.ndarray, sequences: Mapping[str, bool]
) -> dict[str, np.ndarray | None]:
    """Of outputs, or targets, that are sequences the real steps of all, one after the other `[N, ...]`."""
    return {
        name: array[real_values(real[: len(array)], array.shape[1])] if array is not None and sequences[name] else array
        for name, array in values.items()
    }


def _fill_targets(converted: Interface, y: Any, real: np.ndarray | None) -> Any:
    """The targets; of sequences those of padded steps, which do not count, are replaced by ones of real steps."""
    if real is None or y is None:
        return y
    flags = [each.sequence for each in converted.output_steps]

    def fill(array, sequence):
        return fill_padding(np.asarray(array), real) if sequence and np.shape(array)[:2] == real.shape else array

    if isinstance(y, Mapping):
        by_name = dict(zip(converted.output_names, flags, strict=False))
        return {name: fill(array, by_name.get(name, False)) for name, array in y.items()}
    if isinstance(y, (list, tuple)) and len(flags) > 1:
        return [fill(array, flag) for array, flag in zip(y, flags, strict=False)]
    return fill(y, flags[0])


def _stream(converted: Interface, model: keras.Model, x: Any, heads: Mapping[str, Head]) -> dict[str, np.ndarray]:
    """The outputs of the streaming model at the steps that Keras gives."""
    stream = StreamingModel(model, converted.length)
    given = stream.predict(x, batch_size=64, verbose=0), stream.phase, stream.period
    values, phases, periods = (outputs_by_name(each, list(heads)) for each in given)
    return {
        name: values[name][:, phases[name] :: periods[name]] if sequence else values[name][:, -1]
        for name, sequence in _find_sequences(converted, heads).items()
    }


def _convert_to_keras(
    converted: Interface, names: list[str], integers: Integers, real: np.ndarray | None
) -> dict[str, np.ndarray]:
    return outputs_by_name(converted.outputs_of_keras(integers if len(integers) > 1 else integers[0], real), names)


def _score(head: Head, values: np.ndarray, whole: np.ndarray, targets: np.ndarray | None) -> dict[str, float | None]:
    """The figures of one stage at one output; it may have run the first sequences only."""
    figures = scores.against_reference(head, values, whole[: len(values)])
    return figures if targets is None else {**scores.against_targets(head, values, targets[: len(values)]), **figures}


def _first(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values()))
