"""Averages of a stream that never ends."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import RecentMean, SlidingSum


@compiles(RecentMean)
def compile_recent_mean(operation: RecentMean, arithmetic: Arithmetic) -> Run:
    input, after, output, start = operation.input, operation.next_state, operation.output, operation.start
    multiplier = fixed_point.rescale_multiplier(after.scale, output.scale)
    rate, whole = arithmetic.wide(operation.rate.data), arithmetic.accumulator(2**15)
    finer = arithmetic.accumulator(operation.finer)

    def run(values: Values):
        state = arithmetic.wide(values[operation.state.name])
        mean, count = state[:, :-1], state[:, -1:]
        distance = arithmetic.wide(values[input.name], input.zero_point) * finer
        distance -= arithmetic.wide(fixed_point.requantize(mean, multiplier, output.type))
        change = distance * np.where(count == start, whole, rate) * (count >= start)
        mean = mean + arithmetic.guard(change, f"{after.name} (change)")
        count = np.minimum(count + arithmetic.accumulator(1), arithmetic.accumulator(start + 1))
        next_state = np.concatenate([arithmetic.guard(mean, after.name), count], axis=1)
        values[after.name] = next_state.astype(np.int32)
        values[output.name] = fixed_point.requantize(mean, multiplier, output.type)

    return run


@compiles(SlidingSum)
def compile_sliding_sum(operation: SlidingSum, arithmetic: Arithmetic) -> Run:
    input, after, output = operation.input, operation.next_state, operation.output
    channels, hop, hops, start = output.shape[0], operation.hop, operation.hops, operation.start

    def run(values: Values):
        state = arithmetic.wide(values[operation.state.name])
        rows = state[:, :-1].reshape(len(state), hops + 2, channels)
        ring, partial, total, count = rows[:, :hops], rows[:, hops], rows[:, hops + 1], state[:, -1:]
        added = arithmetic.wide(values[input.name], input.zero_point)
        partial = arithmetic.guard(partial + added * (count >= start), f"{output.name} (partial)")
        count = count + arithmetic.accumulator(1)
        first, later = count == start + hop, count == start + 2 * hop
        shifted = np.concatenate([ring[:, 1:], partial[:, None]], axis=1)
        total = np.where(later, total + partial - ring[:, 0], np.where(first, partial * hops, total))
        ring = np.where(later[:, None], shifted, np.where(first[:, None], partial[:, None], ring))
        partial = np.where(first | later, 0, partial)
        arithmetic.guard(total, output.name)
        parts = [ring.reshape(len(ring), -1), partial, total, np.where(later, start + hop, count)]
        values[after.name] = np.concatenate(parts, axis=1).astype(np.int32)
        values[output.name] = total.astype(np.int32)

    return run
