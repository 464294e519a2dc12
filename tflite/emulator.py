"""Runs an integer program in numpy: the oracle that the `.tflite` and the C99 are compared with, bit for bit.

A batch of streams runs side by side; numpy's 32-bit integers wrap as the kernels' do. With `check_overflow` the same
arithmetic is done in 64 bits and any accumulator or state that would not fit 32 bits is reported by name and step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from keras_s4.tflite import fixed_point
from keras_s4.tflite.fixed_point import RANGES, Multiplier
from keras_s4.tflite.program import (
    Accumulate,
    Add,
    Affine,
    DiagonalStep,
    FullyConnected,
    Lookup,
    Multiply,
    Operation,
    Program,
    Requantize,
    Tensor,
)

Values = dict[str, np.ndarray]
Arrays = np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a program did over a batch of streams.

    Args:
        outputs: for each output of the program, its integers `[B, L, ...]`.
        final_states: for each state, its integers after the last step `[B, ...]`.
        tensors: for each recorded tensor, by name, its integers `[B, L, ...]`.
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
        self.peaks: dict[str, int] = {}
        self._accumulator = np.int64 if check_overflow else np.int32
        self._check_overflow = check_overflow
        self._steps_done = 0
        self._kernels = [self._compile(operation) for operation in program.operations]

    def initial_states(self, batch: int) -> tuple[np.ndarray, ...]:
        """The states at the start and after a reset: zeros `[B, ...]`."""
        return tuple(np.zeros((batch, *state.before.shape), state.before.type) for state in self.program.states)

    def step(
        self, inputs: Arrays, states: Sequence[np.ndarray] | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Run one step.

        Args:
            inputs: integers `[B, ...]`; a sequence of them when the program has several inputs.
            states: as returned by the step before, `[B, ...]` each; zeros when omitted.

        Returns:
            The outputs `[B, ...]` and the next states `[B, ...]`, in the program's order.

        Raises:
            ValueError: when shapes do not fit or a value is outside the range of its tensor's type.
            OverflowError: with `check_overflow`, where 32 bits would wrap.
        """
        values = self._values(self._checked(inputs, 1), states)
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
            states: where to start, `[B, ...]` each; zeros when omitted.
            progress: called as `progress(steps done, steps in all)` after each step.

        Returns:
            Outputs, final states and the recorded tensors. A state's trajectory has the name of its `after` tensor.

        Raises:
            ValueError: when a name to record is unknown; otherwise as `step`.
        """
        sequences = self._checked(inputs, 2)
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
        self._steps_done = 0
        for index in range(length):
            values = self._values([sequence[:, index] for sequence in sequences], states)
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

    def _checked(self, inputs: Arrays, leading: int) -> list[np.ndarray]:
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

    def _values(self, inputs: list[np.ndarray], states: Sequence[np.ndarray] | None) -> Values:
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
        self._steps_done += 1
        return values

    def _ends(self, values: Values) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        outputs = tuple(values[tensor.name] for tensor in self.program.outputs)
        return outputs, tuple(values[state.after.name] for state in self.program.states)

    def _guard(self, accumulator: np.ndarray, name: str) -> np.ndarray:
        """Refuse a 64-bit accumulator that would have wrapped in 32 bits."""
        if not self._check_overflow or not accumulator.size:
            return accumulator
        peak = max(int(accumulator.max()), -int(accumulator.min()))
        self.peaks[name] = max(peak, self.peaks.get(name, 0))
        low, high = RANGES["int32"]
        wraps = (accumulator < low) | (accumulator > high)
        if np.any(wraps):
            place = [int(index) for index in np.argwhere(wraps)[0]]
            raise OverflowError(
                f"Step {self._steps_done}: {name} is {int(accumulator[tuple(place)])} at {place}, beyond 32 bits. "
                "Give the tensor a larger scale (more headroom), or calibrate on data that covers this input."
            )
        return accumulator

    def _wide(self, values: np.ndarray, zero_point: int = 0) -> np.ndarray:
        wide = values.astype(self._accumulator)
        return wide - self._accumulator(zero_point) if zero_point else wide

    def _compile(self, operation: Operation) -> Callable[[Values], None]:
        compilers = {
            FullyConnected: self._fully_connected,
            Affine: self._affine,
            DiagonalStep: self._diagonal_step,
            Lookup: self._lookup,
            Multiply: self._multiply,
            Add: self._add,
            Accumulate: self._accumulate,
            Requantize: self._requantize,
        }
        return compilers[type(operation)](operation)

    def _rescaler(self, scale_in: float, output: Tensor) -> Callable[[np.ndarray], np.ndarray]:
        """A function that turns an accumulator of scale `scale_in` into the stored integers of `output`."""
        multiplier = fixed_point.rescale_multiplier(scale_in, output.scale)
        if output.type == "int32" and multiplier == UNIT:
            return lambda accumulator: accumulator.astype(np.int32)

        def rescale(accumulator: np.ndarray) -> np.ndarray:
            if multiplier.shift > 0:
                self._guard(accumulator << multiplier.shift, f"{output.name} (before rounding)")
            return fixed_point.requantize(accumulator, multiplier, output.type, output.zero_point)

        return rescale

    def _fully_connected(self, operation: FullyConnected) -> Callable[[Values], None]:
        input, output = operation.input, operation.output
        multiplier = fixed_point.product_multiplier(input.scale, operation.weights.scale, output.scale)
        # Sums of products stay far below 2**53, where float64 is exact and its matrix product fast.
        weights = operation.weights.data.T.astype(np.float64)
        bias = operation.bias.data.astype(np.int64)

        def run(values: Values):
            centred = values[input.name].astype(np.float64) - input.zero_point
            accumulator = (centred @ weights).astype(np.int64) + bias
            if input.type == "int16":
                if self._check_overflow:
                    self._guard(accumulator * multiplier.real, f"{output.name} (before saturation)")
                values[output.name] = fixed_point.requantize_reduced(accumulator, multiplier, output.type)
                return
            self._guard(accumulator << max(multiplier.shift, 0), f"{output.name} (accumulator)")
            # The kernel's accumulator has 32 bits.
            wrapped = accumulator.astype(np.int32)
            values[output.name] = fixed_point.requantize(wrapped, multiplier, output.type, output.zero_point)

        return run

    def _affine(self, operation: Affine) -> Callable[[Values], None]:
        rescale = self._rescaler(operation.accumulator_scale, operation.output)
        gain, offset = self._wide(operation.gain.data), self._wide(operation.offset.data)

        def run(values: Values):
            accumulator = self._wide(values[operation.input.name], operation.input.zero_point) * gain + offset
            values[operation.output.name] = rescale(self._guard(accumulator, f"{operation.output.name} (accumulator)"))

        return run

    def _diagonal_step(self, operation: DiagonalStep) -> Callable[[Values], None]:
        step = operation
        hidden_multiplier = fixed_point.rescale_multiplier(step.state.scale, step.hidden.scale)
        partial_multiplier = fixed_point.product_multiplier(step.hidden.scale, step.readout.scale, step.partial.scale)
        rescale = self._rescaler(step.accumulator_scale, step.output)
        decay, gain = self._wide(step.decay.data), self._wide(step.input_gain.data)
        # Multiplies the swapped state: minus the imaginary part for the real row, plus the real part for the other.
        rotation = np.stack([-self._wide(step.rotation.data), self._wide(step.rotation.data)])
        feedthrough = self._wide(step.feedthrough.data)
        readout = step.readout.data.astype(np.int32)

        def run(values: Values):
            u = self._wide(values[step.input.name])
            state = self._wide(values[step.state.name])
            hidden = _halving_requantize(state, hidden_multiplier)
            wide = hidden.astype(self._accumulator)
            sums = _sum_of_products(hidden, readout)
            if self._check_overflow:
                self._guard(sums * partial_multiplier.real, f"{step.partial.name} (before saturation)")
            partial = fixed_point.requantize_reduced(sums, partial_multiplier, step.partial.type)
            accumulator = self._wide(partial) * self._accumulator(step.partial_gain)
            self._guard(accumulator, f"{step.output.name} (partial)")
            accumulator += self._guard(u * feedthrough, f"{step.output.name} (feedthrough)")
            next_state = self._guard(u[:, None, None, :] * gain, f"{step.next_state.name} (input)") + state
            self._guard(next_state, f"{step.next_state.name} (after input)")
            next_state += self._guard(wide * decay, f"{step.next_state.name} (decay)")
            self._guard(next_state, f"{step.next_state.name} (after decay)")
            next_state += self._guard(wide[:, ::-1] * rotation, f"{step.next_state.name} (rotation)")
            values[step.hidden.name] = hidden
            values[step.partial.name] = partial
            values[step.output.name] = rescale(self._guard(accumulator, f"{step.output.name} (accumulator)"))
            values[step.next_state.name] = self._guard(next_state, step.next_state.name).astype(np.int32, copy=False)

        return run

    def _lookup(self, operation: Lookup) -> Callable[[Values], None]:
        table = operation.table.data

        def run(values: Values):
            values[operation.output.name] = table[values[operation.input.name].astype(np.int16) + 128]

        return run

    def _multiply(self, operation: Multiply) -> Callable[[Values], None]:
        a, b, output = operation.a, operation.b, operation.output

        def run(values: Values):
            product = self._wide(values[a.name], a.zero_point) * self._wide(values[b.name], b.zero_point)
            values[output.name] = product.astype(np.int32)

        return run

    def _add(self, operation: Add) -> Callable[[Values], None]:
        a, b, output = operation.a, operation.b, operation.output
        rescale = self._rescaler(operation.accumulator_scale, output)

        def run(values: Values):
            first = self._wide(values[a.name], a.zero_point) * self._accumulator(operation.gain_a)
            second = self._wide(values[b.name], b.zero_point) * self._accumulator(operation.gain_b)
            self._guard(first, f"{output.name} (first term)")
            self._guard(second, f"{output.name} (second term)")
            values[output.name] = rescale(self._guard(first + second, f"{output.name} (accumulator)"))

        return run

    def _accumulate(self, operation: Accumulate) -> Callable[[Values], None]:
        input, after = operation.input, operation.next_state

        def run(values: Values):
            total = self._wide(values[operation.state.name]) + self._wide(values[input.name], input.zero_point)
            values[after.name] = self._guard(total, after.name).astype(np.int32)

        return run

    def _requantize(self, operation: Requantize) -> Callable[[Values], None]:
        input, output = operation.input, operation.output
        if (input.type, input.zero_point) == (output.type, output.zero_point) and _same_scale(input, output):
            return lambda values: values.__setitem__(output.name, values[input.name])
        rescale = self._rescaler(input.scale, output)
        return lambda values: values.__setitem__(output.name, rescale(self._wide(values[input.name], input.zero_point)))


UNIT = Multiplier(1 << 30, 1)


def _same_scale(a: Tensor, b: Tensor) -> bool:
    return fixed_point.rescale_multiplier(a.scale, b.scale) == UNIT


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


def _halving_requantize(state: np.ndarray, multiplier: Multiplier) -> np.ndarray:
    """`requantize(state, multiplier, "int16")`, in 32 bits when the multiplier is a power of two: the hot spot."""
    if multiplier.mantissa != 1 << 30 or multiplier.shift > 0:
        return fixed_point.requantize(state, multiplier, "int16")
    high = (state >> 1) + (state & 1)
    right = -multiplier.shift
    if right:
        high += (1 << right >> 1) - (high < 0)
        high >>= right
    return np.clip(high, -(1 << 15), (1 << 15) - 1).astype(np.int16)


def _sum_of_products(hidden: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """`sum_{k, n} hidden[:, k, n, :] * readout[k, n, :]`, int64 `[B, H]`."""
    products = hidden * readout  # int16 times int8, in int32
    rows = readout.shape[0] * readout.shape[1]
    accumulator = np.int32 if rows <= 256 else np.int64  # each product is at most 2**22
    return products.reshape(len(hidden), rows, -1).sum(axis=1, dtype=accumulator).astype(np.int64)
