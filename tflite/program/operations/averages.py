"""Averages of a stream that never ends: what has faded, and what has left the window, does not count any more."""

from __future__ import annotations

import dataclasses

from keras_s4.tflite.program.operations.operation import Operation, read, written
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class RecentMean(Operation):
    """An exponentially weighted average in delta form: the mean goes a part of the way to each value.

    ::

        [mean, count] = state
        value         = (q_in - zero_point_in) * finer
        part          = 2**15 if count == start else rate
        mean'         = mean + (value - requantize(mean, 2**-15)) * part     if count >= start, else mean
        next_state    = [mean', min(count + 1, start + 1)]
        q_out         = requantize(mean', 2**-15)

    All fits 32 bits, and nothing drifts, however long it runs: value and rounded mean have 16 bits, so that the change
    has 31; the mean stays between the least and the largest value, to half a unit of `output`; and as `rate` is at
    least 1, it moves until its rounded value is the input: a constant is its own mean, exactly. The first value is its
    own mean at once. Rounding keeps the mean within half a unit of `output` of the exact average with this rate.

    Args:
        input: int8, or int16 or int32 with values of 16 bits, `[H]`.
        state: mean and count, int32 `[H + 1]`.
        next_state: the state after the step.
        rate: int32 `[H]`, 1 to 2**15 of 2**15.
        finer: a power of two with which all values of `input`, less their zero point, fit 16 bits.
        start: steps that mean nothing yet.
        output: int16 `[H]`, of scale `s_in / finer`; `s_state` is 2**-15 of it.
    """

    input: Tensor = read()
    state: Tensor = read()
    next_state: Tensor = written()
    rate: Tensor = read()
    finer: int
    start: int
    output: Tensor = written(rounded=True)

    holds_state = True
    repeats = True

    def multiply_accumulates(self) -> int:
        """One for each channel."""
        return self.rate.data.size


@dataclasses.dataclass(frozen=True, eq=False)
class SlidingSum(Operation):
    """The sum of the last K full hops, renewed when a hop is full; before the first one all hops are like it.

    ::

        [ring, partial, total, count] = state               ring: [K * H], the oldest hop first
        partial' = partial + (q_in - zero_point_in)         if count >= start, else partial
        count'   = count + 1
        first, later = count' == start + hop, count' == start + 2 * hop
        if first:           ring, total = [partial'] * K, K * partial'
        if later:           ring, total = [ring[H:], partial'], total + partial' - ring[:H]
        if first or later:  partial' = 0
        if later:           count' = start + hop
        q_out    = total

    Whole numbers, so that the total is the sum of the ring at every step, bit for bit, however long it runs; the
    lowering proves that it fits 32 bits.

    Args:
        input: int8, int16 or int32, `[H]`.
        state: int32 `[(K + 2) * H + 1]`.
        next_state: the state after the step.
        hop: steps.
        start: steps that mean nothing yet.
        output: the total, int32 `[H]`; in real numbers the mean: `s_out` is `s_in / (K * hop)`.
    """

    input: Tensor = read()
    state: Tensor = read()
    next_state: Tensor = written()
    hop: int
    start: int
    output: Tensor = written()

    holds_state = True
    repeats = True

    @property
    def hops(self) -> int:
        """K, in a window."""
        return (self.state.shape[0] - 1) // self.output.shape[0] - 2
