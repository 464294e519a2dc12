"""Whether a layer of one's own keeps what Keras, step mode and export expect of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.streaming import StreamingModel
from keras_s4.testing.comparison import READERS, compare_readers
from keras_s4.testing.manners import MANNERS, Flaw, Subject, compare, move_weights, to_array
from keras_s4.tflite.c99.host import CompilerError, compiler
from keras_s4.tflite.runtimes import load_tflm

# Steps and sequences without which too little is seen of states and masks.
LEAST_SEQUENCES, LEAST_STEPS = 2, 8
# With states as variables, states as inputs are compared, too.
FORMATS: dict[str, dict[str, Any]] = {"8 bits": {"states": "variables"}, "16 bits": {"activations": "int16"}}
LONGEST_MESSAGE = 2_000


@dataclasses.dataclass(frozen=True)
class Finding:
    """One property.

    Args:
        name: the property.
        holds: whether the layer has it.
        detail: what was measured, or what is wrong.
    """

    name: str
    holds: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """What `check_layer` has found.

    Args:
        layer: name and class of the layer.
        findings: the properties, in the order in which they were looked at.
    """

    layer: str
    findings: tuple[Finding, ...]

    @property
    def flaws(self) -> tuple[Finding, ...]:
        """The properties that the layer lacks."""
        return tuple(finding for finding in self.findings if not finding.holds)

    def __str__(self) -> str:
        lines = [f"{each.name}: {'' if each.holds else 'FAILS: '}{each.detail}" for each in self.findings]
        return "\n".join([self.layer, *(f"  {line}" for line in lines)])


def check_layer(
    layer: keras.layers.Layer,
    data: np.ndarray,
    *,
    step_mode: bool = True,
    export: bool = True,
    tolerance: float = 1e-4,
    least_decibels: float = 20.0,
) -> LayerReport:
    """Checks a layer in a small model around it: Keras' manners, step mode, export.

    - Keras: the configuration makes an equal layer, a saved model an equal model; the output shape is foretold; masked
      padding is as if it were not there; compiled outputs equal eager ones; a step of training stays finite.
    - Step mode: `StreamingModel` gives, step by step and in chunks, what the layer gives for whole sequences.
    - Export: emulator, TensorFlow Lite Micro and compiled C give equal integers, all outputs and states of all steps,
      which are near what Keras gives; the layer alone, and between Dense layers. Readers that are not installed here
      are left out, and named.

    Weights that are all equal, as fresh biases are, are moved apart meanwhile; afterwards the layer is as it was.

    Args:
        layer: the layer, built or not.
        data: samples `[B, L, ...]` that the layer is for, or token numbers `[B, L]`: 2 sequences of 8 steps or more.
        step_mode: whether the layer is meant to run step by step.
        export: whether the layer is meant to be exported.
        tolerance: difference that the same computation in another order may make, of the largest output.
        least_decibels: signal to noise ratio of the integers that is enough.

    Returns:
        The properties, with what was measured.

    Raises:
        TypeError: no layer, or no array of numbers.
        ValueError: too few sequences or steps.
        AssertionError: the layer lacks properties; names each, and what is wrong.
    """
    data = _checked_data(layer, data)
    subject = Subject.of(layer, data, tolerance)
    checks: dict[str, Callable[[Subject], str]] = dict(MANNERS)
    if step_mode:
        checks |= {"step mode": check_steps, "chunks": check_chunks}
    if export:
        for name, format in FORMATS.items():
            checks[f"export, {name}"] = lambda subject, format=format: check_export(subject, format, least_decibels)
    with move_weights(layer):
        subject = dataclasses.replace(subject, outputs=to_array(subject.model(data)))
        findings = tuple(_look_at(name, check, subject) for name, check in checks.items())
    report = LayerReport(f"{layer.name} ({type(layer).__name__})", findings)
    if report.flaws:
        raise AssertionError("\n".join(f"{report.layer}, {each.name}: {each.detail}." for each in report.flaws))
    return report


def check_steps(subject: Subject) -> str:
    """Step mode gives what the layer gives for whole sequences."""
    stream = StreamingModel(subject.model)
    outputs = stream.predict(subject.data, verbose=0)
    difference = compare(_kept_outputs(stream, outputs, subject), subject.outputs, subject.tolerance, "step mode")
    return f"within {difference:.1g}"


def check_chunks(subject: Subject) -> str:
    """Chunks at random splits, one of them a single step, give what single steps give."""
    stream, length = StreamingModel(subject.model), subject.data.shape[1]
    cuts = np.random.default_rng(0).choice(np.arange(2, length), min(3, length - 2), replace=False)
    states, pieces = stream.initial_state(len(subject.data)), []
    for piece in np.split(subject.data, sorted({1, *cuts.tolist()}), axis=1):
        outputs, states = stream.chunk(piece, states)
        pieces.append(to_array(outputs))
    outputs = _kept_outputs(stream, np.concatenate(pieces, axis=1), subject)
    return f"within {compare(outputs, subject.outputs, subject.tolerance, 'a stream in chunks'):.1g}"


def check_export(subject: Subject, format: Mapping[str, Any], least_decibels: float) -> str:
    """All readers give equal integers, near what Keras gives."""
    readers, left_out = _readers_here()
    ratios = []
    for place, model in _models_around(subject).items():
        compared = compare_readers(model, [subject.data], format, readers)
        if compared.differing:
            raise Flaw(f"{place}, the emulator and {' and '.join(compared.differing)} give different integers")
        ratios.append(min(compared.ratios))
        if not ratios[-1] >= least_decibels:
            raise Flaw(
                f"{place}, the integers are {ratios[-1]:.1f} dB from Keras; expected at least {least_decibels:g}"
            )
    missing = f"; without {', '.join(left_out)}, not installed here" if left_out else ""
    return f"emulator = {' = '.join(readers)}, {min(ratios):.0f} dB{missing}" if readers else f"{min(ratios):.0f} dB"


def _checked_data(layer: keras.layers.Layer, data: np.ndarray) -> np.ndarray:
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"check_layer received {type(layer).__name__}; expected a Keras layer, then data for it.")
    data = np.asarray(data)
    if data.dtype.kind not in "iuf":
        raise TypeError(f"check_layer received data of {data.dtype}; expected samples, or whole numbers of tokens.")
    if data.ndim < 2 or data.shape[0] < LEAST_SEQUENCES or data.shape[1] < LEAST_STEPS:
        raise ValueError(
            f"check_layer received data of shape {list(data.shape)}; expected [B, L, features], or tokens [B, L], with "
            f"at least {LEAST_SEQUENCES} sequences of {LEAST_STEPS} steps."
        )
    return data.astype("int32" if data.dtype.kind in "iu" else "float32")


def _look_at(name: str, check: Callable[[Subject], str], subject: Subject) -> Finding:
    """One property; every exception is a flaw."""
    try:
        return Finding(name, True, check(subject))
    except Flaw as flaw:
        return Finding(name, False, str(flaw))
    except Exception as error:
        message = str(error).strip() or "without a message"
        return Finding(name, False, f"{type(error).__name__}: {message[:LONGEST_MESSAGE]}".rstrip("."))


def _kept_outputs(stream: StreamingModel, outputs: np.ndarray, subject: Subject) -> np.ndarray:
    """Of the outputs after every step those that whole sequences have."""
    if not subject.keeps_time:
        return outputs[:, -1]
    return outputs[:, stream.phase :: stream.period]


def _models_around(subject: Subject) -> dict[str, keras.Model]:
    """Models that the layer is exported in, by words for where it stands."""
    start = keras.Input(subject.data.shape[1:], dtype=subject.data.dtype.name)
    x = start
    if subject.data.dtype.kind == "f":
        x = keras.layers.Dense(subject.data.shape[-1], activation="relu", name="before")(x)
    end = keras.layers.Dense(3, name="behind")(subject.layer(x))
    return {"alone": subject.model, "between Dense layers": keras.Model(start, end)}


def _readers_here() -> tuple[list[str], list[str]]:
    """The readers that run on this computer, and those that do not."""
    here = [name for name in READERS if _runs_here(name)]
    return here, [name for name in READERS if name not in here]


def _runs_here(reader: str) -> bool:
    try:
        return bool(load_tflm() if reader == "tflm" else compiler())
    except (ImportError, CompilerError):
        return False
