"""The arithmetic that all kernels share, and which kernel runs which operation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import RANGES, UNIT
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.tensors import Tensor

Values = dict[str, np.ndarray]
Run = Callable[[Values], None]
Kernel = Callable[[Operation, "Arithmetic"], Run]

KERNELS: dict[type, Kernel] = {}


def compiles(*operations: type) -> Callable[[Kernel], Kernel]:
    """Decorator: this function compiles operations of these classes; it gets the operation and the arithmetic."""

    def add(function: Kernel) -> Kernel:
        KERNELS.update(dict.fromkeys(operations, function))
        return function

    return add


def compile_operation(operation: Operation, arithmetic: Arithmetic) -> Run:
    """A function that computes one step of an operation: it reads from and writes to a dictionary of tensors."""
    return KERNELS[type(operation)](operation, arithmetic)


class Arithmetic:
    """32-bit arithmetic, which wraps as the kernels' does, or the same in 64 bits with every overflow reported.

    Args:
        check_overflow: compute in 64 bits and raise `OverflowError` where 32 bits would wrap.

    Attributes:
        accumulator: the type of accumulators, int32 or int64.
        peaks: with `check_overflow`, the largest magnitude of each 32-bit accumulator and state so far, by name.
        steps_done: since the start of the stream, for messages.
    """

    def __init__(self, check_overflow: bool):
        self.check_overflow = check_overflow
        self.accumulator = np.int64 if check_overflow else np.int32
        self.peaks: dict[str, int] = {}
        self.steps_done = 0

    def guard(self, accumulator: np.ndarray, name: str) -> np.ndarray:
        """Refuse a 64-bit accumulator that would have wrapped in 32 bits."""
        if not self.check_overflow or not accumulator.size:
            return accumulator
        peak = max(int(accumulator.max()), -int(accumulator.min()))
        self.peaks[name] = max(peak, self.peaks.get(name, 0))
        low, high = RANGES["int32"]
        wraps = (accumulator < low) | (accumulator > high)
        if np.any(wraps):
            place = [int(index) for index in np.argwhere(wraps)[0]]
            raise OverflowError(
                f"Step {self.steps_done}: {name} is {int(accumulator[tuple(place)])} at {place}, beyond 32 bits. "
                "Give the tensor a larger scale (more headroom), or calibrate on data that covers this input."
            )
        return accumulator

    def wide(self, values: np.ndarray, zero_point: int = 0) -> np.ndarray:
        """Stored integers less their zero point, in the type of accumulators."""
        wide = values.astype(self.accumulator)
        return wide - self.accumulator(zero_point) if zero_point else wide

    def rescaler(self, scale_in: float, output: Tensor) -> Callable[[np.ndarray], np.ndarray]:
        """A function that turns an accumulator of scale `scale_in` into the stored integers of `output`."""
        multiplier = fixed_point.rescale_multiplier(scale_in, output.scale)
        if output.type == "int32" and multiplier == UNIT:
            return lambda accumulator: accumulator.astype(np.int32)

        def rescale(accumulator: np.ndarray) -> np.ndarray:
            if multiplier.shift > 0:
                self.guard(accumulator << multiplier.shift, f"{output.name} (before rounding)")
            return fixed_point.requantize(accumulator, multiplier, output.type, output.zero_point)

        return rescale
