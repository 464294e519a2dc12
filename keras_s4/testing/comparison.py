"""One model and its readers: emulator, TensorFlow Lite Micro and compiled C beside each other, and beside Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_s4.tflite.c99 import CRunner
from keras_s4.tflite.conversion import Converted, convert
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.runtimes import TflmRunner

# Streams that are computed.
FEW = 3
# Signal to noise ratio in dB below which an output is not what Keras gives.
UNLIKE = 10.0
READERS = ("tflm", "c")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the readers of a program gave.

    Args:
        converted: the exported model.
        differing: readers that differ from the emulator in any output or state of any step or block.
        ratios: signal to noise of each output against Keras, in dB; infinite where nothing differs.
    """

    converted: Converted
    differing: tuple[str, ...]
    ratios: tuple[float, ...]

    @property
    def agree(self) -> bool:
        """Whether no reader differs from the emulator."""
        return not self.differing


def compare_readers(
    model: keras.Model, data: Sequence[np.ndarray], format: Mapping[str, Any], readers: Sequence[str] = ("tflm",)
) -> Comparison:
    """Converts a model and runs a few of its streams on every reader, and in Keras; 32-bit overflows are errors.

    Args:
        model: one that can be exported.
        data: an array `[B, L, features]`, or token numbers `[B, L]`, for each input.
        format: arguments of `keras_s4.tflite.convert`.
        readers: those of `READERS` that are held against the emulator.

    Raises:
        OverflowError: a sum of 32 bits wraps in the emulator.
        ValueError, NotImplementedError: the model cannot be converted.
    """
    converted = convert(model, list(data) if len(data) > 1 else data[0], **format)
    program = converted.program
    few = [x[:FEW] for x in data]
    integers = as_list(converted.quantize(few if len(few) > 1 else few[0]))
    names = [state.after.name for state in program.states]
    trace = Emulator(program, check_overflow=True).trace(integers, record=names)
    after = [trace.tensors[name] for name in names]
    pairs = {}
    if "tflm" in readers:
        # States that are resource variables cannot be read; here they are also compared as outputs of another file.
        outputs, states = TflmRunner(to_tflite(program)).run(integers, keep_states=True)
        pairs["tflm"] = [*zip(as_list(outputs), trace.outputs, strict=True), *zip(states, after, strict=True)]
        if format.get("states") == "variables":
            outputs = as_list(TflmRunner(converted.tflite).run(integers))
            pairs["tflm"] += zip(outputs, trace.outputs, strict=True)
    if "c" in readers:
        outputs, states = CRunner(program, ["-O1"]).run(integers, keep_states=True)
        pairs["c"] = [*zip(as_list(outputs), trace.outputs, strict=True), *zip(states, after, strict=True)]
    differing = tuple(name for name, found in pairs.items() if not all(np.array_equal(*pair) for pair in found))
    received = as_list(converted.dequantize(trace.outputs if len(trace.outputs) > 1 else trace.outputs[0]))
    expected = as_list(model.predict_on_batch(few if len(few) > 1 else few[0]))
    ratios = tuple(decibels(*pair) for pair in zip(expected, received, strict=True))
    return Comparison(converted, differing, ratios)


def as_list(arrays: Any) -> list[np.ndarray]:
    """One array or several as a list."""
    return [arrays] if isinstance(arrays, np.ndarray) else list(arrays)


def decibels(expected: np.ndarray, received: np.ndarray) -> float:
    """Signal to noise of an output: of its last values, of which Keras gives one, or all but the late ones."""
    received = received[:, -1] if received.ndim > expected.ndim else received[:, -expected.shape[1] :]
    noise = float(np.sum((received - expected) ** 2))
    return 10.0 * float(np.log10(np.sum(expected**2.0) / noise)) if noise else np.inf


def kinds_of(layers: Sequence[keras.layers.Layer], supported: set[str]) -> set[str]:
    """The kinds of layers that can be exported, by name, among these layers and those inside of them."""
    kinds = set()
    for layer in layers:
        kinds |= {next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in supported), "")}
        if isinstance(layer, keras.Model):
            kinds |= kinds_of(layer.layers, supported)
        elif isinstance(layer, keras.layers.TimeDistributed):
            kinds |= kinds_of([layer.layer], supported)
    return kinds
