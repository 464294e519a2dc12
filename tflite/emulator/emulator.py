"""Runs an integer program in numpy: the oracle that the `.tflite` and the C99 are compared with, bit for bit.

A batch of streams runs side by side; numpy's 32-bit integers wrap as the kernels' do. With `check_overflow` the same
arithmetic is done in 64 bits and any accumulator or state that would not fit 32 bits is reported by name and step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.emulator.arithmetic import Arithmetic, Values, compile_operation
from keras_s4.tflite.program.fixed_point import RANGES
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

Arrays = np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True, repr=False)
class Trace(Brief):
    """What a program did over a batch of streams.

    Args:
        outputs: integers `[B, L, ...]` of each output of the program.
        final_states: integers `[B, ...]` of each state after the last step.
        tensors: integers `[B, L, ...]` of each recorded tensor, by name.
    """

    outputs: tuple[np.ndarray, ...]
    final_states: tuple[np.ndarray, ...]
    tensors: Mapping[str, np.ndarray]


class Emulator:
    """Runs a program step by step.

    Args:
        program: the integer program.
        check_overflow: compute in 64 bits and raise `OverflowError` where 32 bits would wrap; about three times slower.

    Attributes:
        peaks: with `check_overflow`, the largest magnitude of each 32-bit accumulator and state so far, by name.

    Raises:
        ValueError: when an operation reads a tensor that nothing has written.
    """

    def __init__(self, program: Program, check_overflow: bool = False):
        program.check()
        self.program = program
        self._arithmetic = Arithmetic(check_overflow)
        self.peaks = self._arithmetic.peaks
        self._kernels = [compile_operation(operation, self._arithmetic) for operation in program.operations]

    def initial_states(self, batch: int) -> tuple[np.ndarray, ...]:
        """The states at the start and after a reset: zeros `[B, ...]`."""
        return tuple(np.zeros((batch, *state.before.shape), state.before.type) for state in self.program.states)

    def step(
        self, inputs: Arrays, states: Sequence[np.ndarray] | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Run one step.

        Args:
            inputs: integers `[B, ...]`; a sequence of them when the program has several inputs.
            states: what the step before returned, `[B, ...]` each; zeros when omitted.

        Returns:
            The outputs `[B, ...]` and the next states `[B, ...]`, in the program's order.

        Raises:
            ValueError: when shapes do not fit or a value is outside the range of its tensor's type.
            OverflowError: with `check_overflow`, where 32 bits would wrap.
        """
        values = self._compute(self._as_arrays(inputs, 1), states)
        return self._ends(values)

    def run(self, inputs: Arrays) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run streams from zeroed states.

        Args:
            inputs: integers `[B, L, H]`; a sequence of them when the program has several inputs.

        Returns:
            Integers `[B, L, C]`; a tuple of them when the program has several outputs.
        """
        outputs = self.trace(inputs).outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def trace(
        self,
        inputs: Arrays,
        record: Collection[str] | None = (),
        states: Sequence[np.ndarray] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        """Run streams and keep the trajectories of tensors.

        Args:
            inputs: integers `[B, L, H]`; a sequence of them when the program has several inputs.
            record: the names of tensors to keep; None keeps every tensor that is no constant.
            states: the states before the first step, `[B, ...]` each; zeros when omitted.
            progress: a function that is called as `progress(steps done, steps in all)` after each step.

        Returns:
            Outputs, final states and the recorded tensors. A state's trajectory has the name of its `after` tensor.

        Raises:
            ValueError: when a name to record is unknown; otherwise as `step`.
        """
        sequences = self._as_arrays(inputs, 2)
        names = self._recordable() if record is None else list(record)
        if unknown := set(names) - set(self._recordable()):
            raise ValueError(
                f"No tensor named {', '.join(sorted(unknown))}; there are {', '.join(self._recordable())}."
            )
        batch, length = sequences[0].shape[:2]
        if not length:
            raise ValueError(f"Received inputs of shape {list(sequences[0].shape)}; expected at least one step.")
        states = self.initial_states(batch) if states is None else tuple(states)
        kept: dict[str, np.ndarray] = {}
        self._arithmetic.steps_done = 0
        for index in range(length):
            values = self._compute([sequence[:, index] for sequence in sequences], states)
            outputs, states = self._ends(values)
            for key, value in [*((n, values[n]) for n in names), *((i, v) for i, v in enumerate(outputs))]:
                if key not in kept:
                    kept[key] = np.empty((batch, length, *value.shape[1:]), value.dtype)
                kept[key][:, index] = value
            if progress:
                progress(index + 1, length)
        return Trace(
            tuple(kept[index] for index in range(len(self.program.outputs))),
            states,
            {name: kept[name] for name in names},
        )

    def _recordable(self) -> list[str]:
        return [tensor.name for tensor in self.program.tensors() if tensor.data is None]

    def _as_arrays(self, inputs: Arrays, leading: int) -> list[np.ndarray]:
        """The inputs as a list, their shapes and values checked; `leading` axes come before the tensor's own."""
        arrays = [inputs] if isinstance(inputs, np.ndarray) else [np.asarray(value) for value in inputs]
        tensors = self.program.inputs
        if len(arrays) != len(tensors):
            raise ValueError(f"Received {len(arrays)} inputs; program {self.program.name!r} has {len(tensors)}.")
        for array, tensor in zip(arrays, tensors, strict=True):
            _check_values(array, tensor, leading)
        if len({array.shape[:leading] for array in arrays}) > 1:
            raise ValueError(f"Received inputs of shapes {[array.shape for array in arrays]}; batch or length differ.")
        return [array.astype(tensor.type) for array, tensor in zip(arrays, tensors, strict=True)]

    def _compute(self, inputs: list[np.ndarray], states: Sequence[np.ndarray] | None) -> Values:
        states = self.initial_states(len(inputs[0])) if states is None else states
        if len(states) != len(self.program.states):
            raise ValueError(
                f"Received {len(states)} states; program {self.program.name!r} has {len(self.program.states)}."
            )
        values = {tensor.name: array for tensor, array in zip(self.program.inputs, inputs, strict=True)}
        for state, array in zip(self.program.states, states, strict=True):
            if array.shape != (len(inputs[0]), *state.before.shape):
                expected = [len(inputs[0]), *state.before.shape]
                raise ValueError(f"State {state.before.name!r} has shape {list(array.shape)}; expected {expected}.")
            values[state.before.name] = array
        for kernel in self._kernels:
            kernel(values)
        self._arithmetic.steps_done += 1
        return values

    def _ends(self, values: Values) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        outputs = tuple(values[tensor.name] for tensor in self.program.outputs)
        return outputs, tuple(values[state.after.name] for state in self.program.states)


def _check_values(array: np.ndarray, tensor: Tensor, leading: int) -> None:
    low, high = RANGES[tensor.type]
    if array.shape[leading:] != tensor.shape or array.ndim != leading + len(tensor.shape):
        axes = ", ".join(["B", "L"][:leading] + [str(size) for size in tensor.shape])
        raise ValueError(f"Input {tensor.name!r} received shape {list(array.shape)}; expected [{axes}].")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"Input {tensor.name!r} received {array.dtype}; expected integers ({tensor.type}): quantise first."
        )
    if array.size and (array.min() < low or array.max() > high):
        raise ValueError(
            f"Input {tensor.name!r} received {array.min()} to {array.max()}; {tensor.type} holds {low} to {high}."
        )
