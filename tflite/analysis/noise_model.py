"""An integer program in real arithmetic, with rounding modelled as noise: where does its error come from?

The program's own integers (weights, poles, gains, tables) are taken as the real numbers that they stand for, and every
tensor is clipped to the range of its type. A rounding adds an error that is uniform within half a unit, white, and
independent of the signal (Widrow and Kollar, Quantization Noise, 2008). Only the rounding of a DSS layer's state is not
white at its output: it enters the state again, multiplied by `pole - 1`.

Operations run on whole sequences, so that a run with the noise of one stage alone costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from keras_s4.tflite.analysis import real_arithmetic
from keras_s4.tflite.analysis.real_arithmetic import Values
from keras_s4.tflite.program.encoding import encode
from keras_s4.tflite.program.fixed_point import RANGES
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# Features of an input up to which each is a stage of its own.
MOST_FEATURES = 16


class NoiseModel:
    """A program in real arithmetic.

    Args:
        program: the integer program.

    Attributes:
        stages: the names of the tensors that are rounded, in the order in which they are written; of an input with
            some features one for each, "input[2]".
        sources: the stages that are inputs.

    Raises:
        NotImplementedError: an operation whose real arithmetic is not written down, a recurrence other than those of
            DSS layers, sums and windows over time, or a program for blocks of steps.
    """

    def __init__(self, program: Program):
        if program.steps > 1:
            raise NotImplementedError(
                f"the program takes {program.steps} steps at once. Where no layer drops steps, that of "
                "convert(model, data, steps=1) computes the same, and has a prediction."
            )
        self._program = program
        states = {state.before.name for state in program.states}
        tensors = []
        for operation in program.operations:
            kind = type(operation)
            if kind not in real_arithmetic.RUNS:
                raise NotImplementedError(f"there is no real arithmetic for {kind.__name__}.")
            if not operation.holds_state and states & {tensor.name for tensor in operation.reads()}:
                raise NotImplementedError(f"{kind.__name__} reads a state: a recurrence that cannot run on sequences.")
            tensors += operation.rounds()
        # 32-bit tensors are exact, or so fine that their rounding does not matter.
        self.sources = [stage for tensor in program.inputs for stage in _stages_of_input(tensor)]
        self.stages = self.sources + [tensor.name for tensor in tensors if tensor.type != "int32"]
        self._random = np.random.default_rng(0)
        self._rounded: Collection[str] = ()

    def run(self, inputs: Sequence[np.ndarray], rounded: Collection[str] = ()) -> Values:
        """Every activation of the program, in real numbers.

        Args:
            inputs: real numbers `[B, L, features]` of each input of the program; they are rounded, and limited to
                their range, as the host does it.
            rounded: the stages whose rounding is modelled; the others compute exactly.

        Returns:
            float64 `[B, L, ...]` by the name of the tensor.
        """
        self._rounded = frozenset(rounded)
        values = {
            source.name: self._encode(np.asarray(array, np.float64), source)
            for source, array in zip(self._program.inputs, inputs, strict=True)
        }
        for operation in self._program.operations:
            real_arithmetic.RUNS[type(operation)](operation, values, self)
        return values

    def _encode(self, real: np.ndarray, source: Tensor) -> np.ndarray:
        """An input as the host gives it, in the features whose rounding is wanted."""
        values = encode(self._program.encodings.get(source.name), real)
        stages = _stages_of_input(source)
        wanted = [stage in self._rounded for stage in stages]
        if not any(wanted):
            return values
        integers = np.clip(np.rint(values / source.scale) + source.zero_point, *RANGES[source.type])
        given = (integers - source.zero_point) * source.scale
        return np.where(wanted if len(wanted) > 1 else True, given, values)

    def round(self, values: np.ndarray, tensor: Tensor) -> np.ndarray:
        """Values in the range of a tensor, with the noise of their rounding if it is wanted."""
        low, high = ((limit - tensor.zero_point) * tensor.scale for limit in RANGES[tensor.type])
        clipped = np.clip(values, low, high)
        if not self.is_rounded(tensor):
            return clipped
        # What lies beyond the range ends at a limit, which is no rounding.
        return np.where(values == clipped, clipped + tensor.scale * self.draw_noise(values.shape), clipped)

    def is_rounded(self, tensor: Tensor) -> bool:
        """Whether the rounding of a tensor is modelled in this run."""
        return tensor.name in self._rounded

    def draw_noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Rounding errors in units."""
        return self._random.uniform(-0.5, 0.5, shape)


def _stages_of_input(source: Tensor) -> list[str]:
    """One for each feature, or one for all; none for tokens."""
    if source.type == "int32":
        return []
    features = source.shape[-1]
    return [f"{source.name}[{index}]" for index in range(features)] if 1 < features <= MOST_FEATURES else [source.name]
