"""From a trained Keras model to an integer program and its `.tflite`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4.graph import graph_of
from keras_s4.tflite import runtimes
from keras_s4.tflite.calibration import Signal, check_representative_data, power_of_two_scale
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.lowering import ProgramBuilder, lower
from keras_s4.tflite.manifest import manifest_of
from keras_s4.tflite.program import Program, Tensor


def convert(model: keras.Model, representative_data: np.ndarray, length: int | None = None) -> Converted:
    """Turns a trained model into an integer program, calibrated on data.

    Args:
        model: a built functional or sequential model of layers that can be exported.
        representative_data: `[B, L, features]`, some hundred windows of the training data; every scale is chosen from
            the values that they cause, each stream carrying its state from its first step to its last.
        length: steps that an average over time divides by; by default the model's sequence length.

    Returns:
        The program, its `.tflite` and its manifest.

    Raises:
        NotImplementedError: a layer that cannot be exported, by name, with the list of those that can.
        ValueError: unusable representative data, NaN in weights, an unstable pole, a model that is not built.
    """
    graph = graph_of(model)
    data = check_representative_data(model, representative_data)
    length = length if length is not None else model.input_shape[1]
    builder = ProgramBuilder(length, output_layer=graph.outputs[0][0])
    scale = power_of_two_scale(float(np.abs(data).max()), 16)
    source = Signal(Tensor("input", data.shape[2:], "int16", scale), data)
    (result,) = graph.run(lambda layer, inputs: lower(layer, inputs, builder), [source])
    program = Program(
        name=model.name,
        inputs=(source.tensor,),
        outputs=(result.tensor,),
        states=tuple(builder.states),
        operations=tuple(builder.operations),
        output_activation=builder.output_activation,
    )
    return Converted(program, to_tflite(program), length)


@dataclasses.dataclass(frozen=True)
class Converted:
    """An exported model.

    Args:
        program: the integer program.
        tflite: the bytes of the `.tflite` file.
        length: steps of a window.
    """

    program: Program
    tflite: bytes
    length: int | None

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What a firmware project must know, measured: bytes, arena, operators, tensors, versions and hashes."""
        return manifest_of(self.program, self.tflite)

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Samples as the integers that the program takes; same shape."""
        tensor = self.program.inputs[0]
        limits = np.iinfo(tensor.type)
        integers = np.rint(np.asarray(x, np.float64) / tensor.scale) + tensor.zero_point
        return np.clip(integers, limits.min, limits.max).astype(tensor.type)

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """Integer outputs as real numbers, with the output activation that the device is spared."""
        tensor = self.program.outputs[0]
        values = (integers.astype(np.float64) - tensor.zero_point) * tensor.scale
        if self.program.output_activation == "softmax":
            values = np.exp(values - values.max(axis=-1, keepdims=True))
            values /= values.sum(axis=-1, keepdims=True)
        return values

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Runs TensorFlow Lite Micro on the host, one step at a time, each sequence from a reset.

        Args:
            x: `[B, L, features]`.

        Returns:
            What the Keras model's `predict` returns: for a classifier the probabilities after the last step, `[B, C]`.
        """
        return self.dequantize(runtimes.run_tflm(self.tflite, self.quantize(x)))[:, -1]

    def verify(self, model: keras.Model, x: np.ndarray, y: np.ndarray):
        """Compares Keras, streamed Keras, emulator, TFLM and TensorFlow's interpreter; see `keras_s4.tflite.verify`."""
        from keras_s4.tflite.verification import verify

        return verify(self, model, x, y)

    def save(self, folder: str | Path) -> Path:
        """Writes `model.tflite`, `manifest.json` and `golden.npz` (inputs, outputs and states of a few steps).

        Raises:
            OSError: the folder cannot be written; nothing half-written remains.
        """
        from keras_s4.tflite.manifest import save

        return save(self, Path(folder))
