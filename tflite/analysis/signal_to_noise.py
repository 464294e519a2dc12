"""Signal-to-noise ratios of an integer program: predicted by the noise model, and measured on the emulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_s4.layers import DSS, DiagonalSSM
from keras_s4.padded_sequences import real_values
from keras_s4.samples import arrays_by_name, real_array
from keras_s4.surgery.layer_inputs import measure
from keras_s4.surgery.paths import layers_by_path
from keras_s4.tflite.analysis.noise_model import NoiseModel
from keras_s4.tflite.analysis.real_arithmetic import Values, convolve
from keras_s4.tflite.program.encoding import encode
from keras_s4.tflite.program.fixed_point import RANGES
from keras_s4.tflite.program.interface import Arrays
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# All that is the same in every run: rounded weights, poles, gains and tables, and clipping.
COEFFICIENTS = "coefficients"
_TINY = 1e-300


class Comparison:
    """A program's signals against those of the trained model, or against the program in real arithmetic.

    Args:
        program: the integer program.
        inputs: for each input of the program `[B, L, features]`, or tokens `[B, L]`.
        model: the trained model, or None.
        real: of padded sequences which steps are real, the first ones, bool `[B, L]`; None if all are. Then only these
            are compared.
        padded: the inputs as the model masks them, where those of the program have other values behind the real steps.

    Attributes:
        missing: the operation without a noise model, "" if there is none. Nothing is predicted then.
    """

    def __init__(
        self,
        program: Program,
        inputs: list[np.ndarray],
        model: keras.Model | None,
        real: np.ndarray | None = None,
        padded: list[np.ndarray] | None = None,
    ):
        self._program = program
        self._real = real
        # A program takes the tokens of a step as a vector of one.
        self._inputs = [
            array[..., None] if source.type == "int32" else array
            for source, array in zip(program.inputs, inputs, strict=True)
        ]
        self._exact: Values = {}
        self._noisy: Values = {}
        self.missing = ""
        try:
            self._noise_model = NoiseModel(program)
        except NotImplementedError as error:
            self.missing = str(error)
        else:
            self._exact = self._noise_model.run(self._inputs)
            self._noisy = self._noise_model.run(self._inputs, self._noise_model.stages)
        output = program.outputs[0]
        self._at_end = False
        data = inputs if padded is None else padded
        data = data if len(data) > 1 else data[0]
        self._references = {} if model is None else _layer_outputs(model, data)
        self._output = self._exact.get(output.name)
        if model is not None:
            predictions = keras.tree.flatten(model(data, training=False))[0]
            predictions = keras.ops.convert_to_numpy(predictions).astype(np.float64)
            # What a model gives once for a sequence, its program gives at the last step.
            self._at_end = predictions.ndim == axes_of_output(program) + 1
            self._output = np.log(np.maximum(predictions, _TINY)) if self._softmax else predictions

    def layer(self, name: str, output: Tensor, emulated: np.ndarray) -> tuple[float | None, float | None]:
        """Predicted and measured signal-to-noise ratio of a state space layer's output, in dB; None where unknown.

        What lies beyond the range of the output's type is no noise here: the activation that follows is flat there, or
        the output of the model suffers and shows it.

        Args:
            name: its path.
            output: of the program.
            emulated: the integers of that, `[B, L, H]`.
        """
        reference = self._references.get(name)
        if reference is None:
            reference = self._exact.get(output.name)
        else:
            reference = encode(self._program.encodings.get(output.name), reference)
        if reference is not None:
            reference = np.clip(reference, *(dequantize(output, np.array(limit)) for limit in RANGES[output.type]))
        pairs = self._noisy.get(output.name), dequantize(output, emulated)
        return tuple(ratio(self._select_counting(reference), self._select_counting(values)) for values in pairs)

    def output(self, emulated: np.ndarray) -> tuple[float | None, float | None]:
        """The same of the program's first output."""
        tensor = self._program.outputs[0]
        reference = self._select_reference()
        noisy = self._noisy.get(tensor.name)
        return ratio(reference, self._select_compared(noisy)), ratio(
            reference, self._select_compared(dequantize(tensor, emulated))
        )

    def noise_by_stage(self) -> dict[str, float]:
        """Parts of the noise at the output by the stage that causes it, the largest first."""
        if self.missing:
            return {}
        tensor = self._program.outputs[0]
        exact = self._select_compared(self._exact[tensor.name])
        powers = {COEFFICIENTS: power(exact - self._select_reference())}
        for stage in self._noise_model.stages:
            alone = self._noise_model.run(self._inputs, [stage])[tensor.name]
            powers[stage] = power(self._select_compared(alone) - exact)
        total = max(sum(powers.values()), _TINY)
        ordered = sorted(powers.items(), key=lambda item: -item[1])
        return {stage: part / total for stage, part in ordered}

    @property
    def sources(self) -> tuple[str, ...]:
        """The stages of `noise_by_stage` that are the rounding of an input."""
        return () if self.missing else tuple(self._noise_model.sources)

    @property
    def _softmax(self) -> bool:
        return self._program.output_activation == "softmax"

    def _select_compared(self, values: np.ndarray | None) -> np.ndarray | None:
        """Outputs of all steps `[B, L, ...]` as they are compared: of the steps that the model gives, the last ones."""
        if values is None or self._output is None:
            return None
        if not self._at_end:
            values = self._select_counting(values[:, values.shape[1] - self._output.shape[1] :])
        elif self._real is None:
            values = values[:, -1]
        else:
            last = real_values(self._real, values.shape[1]).sum(axis=1) - 1
            values = values[np.arange(len(values)), last]
        return self._centre_scores(values)

    def _select_reference(self) -> np.ndarray | None:
        """What the outputs are compared with."""
        return self._centre_scores(self._output if self._at_end else self._select_counting(self._output))

    def _select_counting(self, values: np.ndarray | None) -> np.ndarray | None:
        """Of values `[B, L, ...]` those of real steps, `[N, ...]`."""
        if values is None or self._real is None:
            return values
        return values[real_values(self._real, values.shape[1])]

    def _centre_scores(self, values: np.ndarray | None) -> np.ndarray | None:
        """A softmax ignores the mean of its arguments, so that what differs in it is no noise."""
        return centre(values) if self._softmax and values is not None else values


def input_arrays(program: Program, data: Arrays) -> list[np.ndarray]:
    """The data for each input of a program: an array for a single one, a list in the program's order, or a dict.

    Raises:
        TypeError: data that holds no real numbers.
        ValueError: another number of arrays, or names that do not fit.
    """
    names = [source.name for source in program.inputs]
    alone = len(names) == 1 and not isinstance(data, Mapping)
    found = [data] if alone else arrays_by_name(names, data, f"Program {program.name!r}")
    return [real_array(array, f"Program {program.name!r} received data", finite=False) for array in found]


def axes_of_output(program: Program) -> int:
    """Of one step of a program's first output, without the rows of a block."""
    rows = program.output_rows[0] if program.output_rows else 1
    return len(program.outputs[0].shape) - (rows > 1)


def centre(scores: np.ndarray) -> np.ndarray:
    """The arguments of a softmax less their mean, `[..., C]`."""
    return scores - scores.mean(axis=-1, keepdims=True)


def power(values: np.ndarray) -> float:
    """The mean square."""
    return float(np.mean(values**2))


def ratio(reference: np.ndarray | None, received: np.ndarray | None) -> float | None:
    """Signal-to-noise ratio in dB; None where one of both is unknown."""
    if reference is None or received is None:
        return None
    return float(10.0 * np.log10(max(power(reference), _TINY) / max(power(received - reference), _TINY)))


def dequantize(tensor: Tensor, integers: np.ndarray) -> np.ndarray:
    """The real numbers that a tensor's integers stand for."""
    return (integers.astype(np.float64) - tensor.zero_point) * tensor.scale


class _Recorder:
    """Keeps what a layer receives."""

    def __init__(self):
        self.batches: list[np.ndarray] = []

    def add(self, inputs: np.ndarray, mask: np.ndarray | None, states: Any = None) -> None:
        """Takes one batch `[B, L, H]`; masked steps are zeros to a DSS layer."""
        self.batches.append(np.float64(inputs if mask is None else np.where(mask[..., None], inputs, 0.0)))


def _layer_outputs(model: keras.Model, inputs: np.ndarray) -> Values:
    """The outputs of a model's state space layers `[B, L, H]`, by name."""
    layers = {path: layer for path, layer in layers_by_path(model).items() if isinstance(layer, (DSS, DiagonalSSM))}
    recorders = {name: _Recorder() for name in layers}
    measure(model, recorders, inputs)
    received = {name: np.concatenate(recorder.batches) for name, recorder in recorders.items()}
    return {name: _output_of(layers[name], values) for name, values in received.items()}


def _output_of(layer: DSS | DiagonalSSM, inputs: np.ndarray) -> np.ndarray:
    """What a layer makes of inputs `[B, L, H]`, in float64."""
    system = layer.system()
    if isinstance(layer, DiagonalSSM):
        return system.simulate(inputs)[0]
    return convolve(system.impulse_response(inputs.shape[1]), inputs)
