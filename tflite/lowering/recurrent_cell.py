"""What the lowerings of all recurrent cells are made of: products of input and state, gates, states."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_s4.tflite.lowering.activation import (
    SIGMOID_SCALE,
    SIGMOID_ZERO_POINT,
    SQUASHED,
    add_table,
    add_wide_activation,
    in_float64,
    squash_scale,
)
from keras_s4.tflite.lowering.builder import ProgramBuilder
from keras_s4.tflite.lowering.calibration import int8_range, power_of_two_scale
from keras_s4.tflite.lowering.dense import add_product, range_between
from keras_s4.tflite.lowering.signal import Signal
from keras_s4.tflite.lowering.units import absorbed
from keras_s4.tflite.program.operations import Add, Multiply, Requantize, Slice, Squash
from keras_s4.tflite.program.program import State
from keras_s4.tflite.program.sigmoid import OUTPUT_SCALE
from keras_s4.tflite.program.tensors import Tensor
from keras_s4.weights import finite_weights

MATRICES = ("kernel", "recurrent_kernel")
# Sigmoid and tanh are at their ends in 16 bits well before this.
FLAT = 64.0


class CellBuilder:
    """A cell under construction: its weights, and the operations that all kinds of cells are made of.

    Args:
        cell: built.
        name: for the tensors.
        builder: takes the operations and states.
    """

    def __init__(self, cell: keras.layers.Layer, name: str, builder: ProgramBuilder):
        self.cell, self.name, self.builder, self.units = cell, name, builder, cell.units
        self._factors = {matrix: finite_weights(cell, *_weight_names(cell, matrix)) for matrix in MATRICES}
        self._left: dict[tuple[str, str], Signal] = {}
        self._biases = np.zeros((2, self._factors["kernel"][-1].shape[1]))
        if cell.use_bias:
            (bias,) = finite_weights(cell, "bias")
            bias = np.atleast_2d(bias)  # a GRU with `reset_after` has one for each product
            self._biases[: len(bias)] = bias

    @property
    def gate_scale(self) -> float:
        """The scale of `gates`."""
        wide = self._wide or self.cell.recurrent_activation in SQUASHED
        return OUTPUT_SCALE if wide else SIGMOID_SCALE

    @property
    def _wide(self) -> bool:
        """Whether what sigmoid and tanh are not may be int16, too."""
        return self.builder.activations == "int16"

    def absorb(self, inputs: Signal) -> Signal:
        """Takes units and offsets of the input's features into the kernel and its bias; the input without them."""
        first, *rest = self._factors["kernel"]
        first, offset, inputs = absorbed(first, np.zeros(first.shape[1]), inputs)
        self._factors["kernel"] = [first, *rest]
        self._biases[0] += functools.reduce(np.matmul, rest, offset)
        return inputs

    def gate(self, values: np.ndarray) -> np.ndarray:
        """The recurrent activation in float64."""
        return in_float64(self.cell.recurrent_activation, values)

    def activate(self, values: np.ndarray) -> np.ndarray:
        """The activation in float64."""
        return in_float64(self.cell.activation, values)

    def columns(self, *gates: int) -> np.ndarray:
        """The columns of the matrices that belong to some gates, in this order."""
        return np.concatenate([np.arange(self.units) + gate * self.units for gate in gates])

    def affine(self, matrix: str, values: np.ndarray, columns: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Product with a matrix ("kernel" or "recurrent_kernel") and its bias in float64."""
        product = functools.reduce(np.matmul, self._factors[matrix], values)
        return (product + self._biases[MATRICES.index(matrix)])[..., columns]

    def tensor(self, name: str, size: int, type: str, scale: float, zero_point: int = 0) -> Tensor:
        """A new tensor of this cell."""
        return self.builder.tensor(f"{self.name}/{name}", size, type, scale, zero_point)

    def products(
        self, name: str, inputs: Signal, hidden: Signal, columns: np.ndarray, signs: np.ndarray | float = 1.0
    ) -> list[Signal]:
        """Both matrices' products with their biases, some columns negated: int16, both of one power of two as scale."""
        signals = dict(zip(MATRICES, (inputs, hidden), strict=True))
        peaks = [self.builder.peak(self.affine(matrix, signals[matrix].values, columns)) for matrix in MATRICES]
        activation = self.cell.activation if name == "candidate" else self.cell.recurrent_activation
        if activation in SQUASHED:
            # What the other product cannot bring back from where the activation is flat may saturate.
            peaks[0] = max(min(peaks[0], FLAT + 2 * peaks[1]), peaks[0] * 2.0**-14)
        steps = [
            signals[matrix].tensor.scale * np.abs(functools.reduce(np.matmul, self._factors[matrix])).max() / 127.0
            for matrix in MATRICES
        ]
        scale = power_of_two_scale(float(max(peaks)), 16, finest=2.0 ** np.ceil(np.log2(max(*steps, 1e-30))))
        results = []
        for matrix, bias in zip(MATRICES, self._biases, strict=True):
            *left, kernel = self._factors[matrix]
            signal = self._product_with_left(matrix, left, signals[matrix])
            label = f"{self.name}/{name}/{matrix}"
            kernel, bias = kernel[:, columns] * signs, bias[columns] * signs
            results.append(
                add_product(label, kernel, bias, signal, self.builder, lambda values: (scale, 0), on_data=False)
            )
        return results

    def gates(self, a: Signal, b: Signal) -> Signal:
        """The recurrent activation of `a + b`, between 0 and 1."""
        grid = SIGMOID_SCALE, SIGMOID_ZERO_POINT
        return self._activated_sum("gates", self.cell.recurrent_activation, a, b, OUTPUT_SCALE, grid)

    def candidate(self, a: Signal, b: Signal, scale: float) -> Signal:
        """The activation of `a + b`: int16 of this scale, or, from a table, int8 of 256 times the scale."""
        return self._activated_sum("candidate", self.cell.activation, a, b, scale, (256 * scale, 0))

    def activated(self, name: str, value: Signal, scale: float) -> Signal:
        """The activation of an int32 signal; the result as that of `candidate`."""
        argument = self._argument(name, self.cell.activation, value.values, scale)
        self.builder.add(Requantize(value.tensor, argument))
        return self._apply(name, self.cell.activation, Signal(argument, value.values), scale, (256 * scale, 0))

    def activation_scale(self, peak: float) -> float:
        """The scale of int16 that holds results of the activation up to `peak`."""
        return OUTPUT_SCALE if self.cell.activation in SQUASHED else power_of_two_scale(peak, 16)

    def part(self, name: str, signal: Signal, index: int) -> Signal:
        """The gate of this index."""
        start = index * self.units
        tensor = signal.tensor
        output = self.tensor(name, self.units, tensor.type, tensor.scale, tensor.zero_point)
        self.builder.add(Slice(tensor, start, output))
        return Signal(output, signal.values[..., start : start + self.units])

    def add(self, name: str, a: Signal, b: Signal, sign: int = 1, into: Tensor | None = None) -> Signal:
        """`a + sign * b`, exact in int32; a new tensor unless it goes `into` one."""
        scale = min(a.tensor.scale, b.tensor.scale)
        output = into or self.tensor(name, self.units, "int32", scale)
        gains = round(a.tensor.scale / scale), sign * round(b.tensor.scale / scale)
        self.builder.add(Add(a.tensor, b.tensor, *gains, scale, output))
        return Signal(output, a.values + sign * b.values)

    def multiply(self, name: str, a: Signal, b: Signal) -> Signal:
        """`a * b`, exact in int32."""
        output = self.tensor(name, self.units, "int32", a.tensor.scale * b.tensor.scale)
        self.builder.add(Multiply(a.tensor, b.tensor, output))
        return Signal(output, a.values * b.values)

    def rounded(self, name: str, signal: Signal, scale: float) -> Signal:
        """The signal in int16."""
        output = self.tensor(name, self.units, "int16", scale)
        self.builder.add(Requantize(signal.tensor, output))
        return Signal(output, signal.values)

    def state(self, name: str, scale: float, type: str) -> State:
        """A new state."""
        return self.builder.state(f"{self.name}/{name}", (self.units,), scale, type)

    def _product_with_left(self, matrix: str, left: Sequence[np.ndarray], signal: Signal) -> Signal:
        """The signal times the left factor of a factored matrix, computed once."""
        key = matrix, signal.tensor.name
        if left and key not in self._left:
            name, nothing = f"{self.name}/{matrix}_left/{len(self._left)}", np.zeros(left[0].shape[1])
            self._left[key] = add_product(
                name, left[0], nothing, signal, self.builder, range_between(signal), on_data=False
            )
        return self._left.get(key, signal)

    def _activated_sum(
        self, name: str, activation: Callable, a: Signal, b: Signal, scale: float, grid: tuple[float, int]
    ) -> Signal:
        values = a.values + b.values
        argument = self._argument(name, activation, values, scale)
        finest = min(a.tensor.scale, b.tensor.scale)
        gains = round(a.tensor.scale / finest), round(b.tensor.scale / finest)
        self.builder.add(Add(a.tensor, b.tensor, *gains, finest, argument))
        return self._apply(name, activation, Signal(argument, values), scale, grid)

    def _argument(self, name: str, activation: Callable, values: np.ndarray, scale: float) -> Tensor:
        """The tensor that an activation reads."""
        size = values.shape[-1]
        if activation in SQUASHED:
            return self.tensor(f"{name}/sum", size, "int16", squash_scale(self.builder.observed(values)))
        if activation is keras.activations.linear:
            return self.tensor(f"{name}/sum", size, "int16", scale)
        if self._wide:
            return self.tensor(f"{name}/sum", size, "int16", power_of_two_scale(self.builder.peak(values), 16))
        return self.tensor(
            f"{name}/sum",
            size,
            "int8",
            *int8_range(self.builder.observed(values), lambda values: in_float64(activation, values)),
        )

    def _apply(self, name: str, activation: Callable, signal: Signal, scale: float, grid: tuple[float, int]) -> Signal:
        """The activation in int16 of this scale, or on the grid of int8."""
        if activation in SQUASHED:
            output = self.tensor(f"{name}/output", signal.tensor.shape[0], "int16", OUTPUT_SCALE)
            self.builder.add(Squash(SQUASHED[activation], signal.tensor, output))
            return Signal(output, in_float64(activation, signal.values))
        if activation is keras.activations.linear:
            return signal
        if self._wide:
            return add_wide_activation(f"{self.name}/{name}", activation, signal, self.builder, scale)
        return add_table(f"{self.name}/{name}", activation, signal, self.builder, grid)


def _weight_names(cell: keras.layers.Layer, matrix: str) -> tuple[str, ...]:
    """The weights of a matrix: one, or two factors in a cell of low rank."""
    whole = getattr(cell, "ranks", {}).get(matrix) is None
    return (matrix,) if whole else (f"{matrix}_left", f"{matrix}_right")
