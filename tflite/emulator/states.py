"""Steps of diagonal state spaces in delta form, and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import Accumulate, DiagonalStep, ModalStep
from keras_s4.tflite.program.tensors import Tensor

# Twice what comes of it is 2**-15 of what whole poles would give.
FEEDBACK = fixed_point.rescale_multiplier(1.0, 2.0**15)


@compiles(DiagonalStep)
def compile_diagonal_step(operation: DiagonalStep, arithmetic: Arithmetic) -> Run:
    step = operation
    round_state, advance = _delta_form(step, arithmetic)
    partial_multiplier = fixed_point.product_multiplier(step.hidden.scale, step.readout.scale, step.partial.scale)
    rescale = arithmetic.rescaler(step.accumulator_scale, step.output)
    feedthrough = arithmetic.wide(step.feedthrough.data)
    readout = step.readout.data.astype(np.int32)

    def run_step(u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, ...]:
        hidden = round_state(state)
        sums = _sum_of_products(hidden, readout)
        if arithmetic.check_overflow:
            arithmetic.guard(sums * partial_multiplier.real, f"{step.partial.name} (before saturation)")
        partial = fixed_point.requantize_reduced(sums, partial_multiplier, step.partial.type)
        accumulator = arithmetic.wide(partial) * arithmetic.accumulator(step.partial_gain)
        arithmetic.guard(accumulator, f"{step.output.name} (partial)")
        accumulator += arithmetic.guard(u * feedthrough, f"{step.output.name} (feedthrough)")
        output = rescale(arithmetic.guard(accumulator, f"{step.output.name} (accumulator)"))
        return advance(u[:, None, None, :], state, hidden), hidden, partial, output

    def run(values: Values):
        state = arithmetic.wide(values[step.state.name])
        inputs = arithmetic.wide(values[step.input.name]).reshape(len(state), -1, step.state.shape[-1])
        _run_rows(step, values, inputs, run_step, (step.hidden, step.partial, step.output), state)

    return run


@compiles(ModalStep)
def compile_modal_step(operation: ModalStep, arithmetic: Arithmetic) -> Run:
    step = operation
    round_state, advance = _delta_form(step, arithmetic)

    def run_step(u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, ...]:
        hidden = round_state(state)
        state = advance(u, state, hidden)
        return state, hidden, round_state(state).reshape(len(state), -1)

    def run(values: Values):
        state = arithmetic.wide(values[step.state.name])
        inputs = arithmetic.wide(values[step.input.name]).reshape(len(state), -1, *step.state.shape)
        _run_rows(step, values, inputs, run_step, (step.hidden, step.output), state)

    return run


@compiles(Accumulate)
def compile_accumulate(operation: Accumulate, arithmetic: Arithmetic) -> Run:
    input, after = operation.input, operation.next_state

    def run(values: Values):
        added = arithmetic.wide(values[input.name], input.zero_point)
        if len(input.shape) > len(after.shape):
            added = added.sum(axis=1, dtype=added.dtype)
        total = arithmetic.wide(values[operation.state.name]) + added
        arithmetic.guard(total, after.name)
        values[after.name] = np.clip(total, -operation.limit, operation.limit - 1).astype(np.int32)

    return run


def _delta_form(step: DiagonalStep | ModalStep, arithmetic: Arithmetic) -> tuple[Callable, Callable]:
    """Two functions: from a state to the rounded one, and from input, state and rounded state to the next state."""
    multiplier = fixed_point.rescale_multiplier(step.state.scale, step.hidden.scale)
    decay, gain = arithmetic.wide(step.decay.data), arithmetic.wide(step.input_gain.data)
    # Multiplies the swapped state: minus the imaginary part for the real row, plus the real part for the other.
    rotation = np.stack([-arithmetic.wide(step.rotation.data), arithmetic.wide(step.rotation.data)])
    half_decay, half_rotation = (arithmetic.wide(half) for half in step.halves())
    half_turn = np.stack([-half_rotation, half_rotation])
    name = step.next_state.name

    def feed_back(state: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        residue = np.clip(state - (hidden << 15), *fixed_point.RANGES["int16"])
        turned = arithmetic.guard(residue[:, ::-1] * half_turn, f"{name} (rotation of the residue)")
        turned = arithmetic.guard(turned + residue * half_decay, f"{name} (turned residue)")
        return 2 * arithmetic.wide(_halving_requantize(turned, FEEDBACK))

    def advance(u: np.ndarray, state: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        wide = hidden.astype(arithmetic.accumulator)
        next_state = arithmetic.guard(u * gain, f"{name} (input)") + state
        arithmetic.guard(next_state, f"{name} (after input)")
        next_state += arithmetic.guard(wide * decay, f"{name} (decay)")
        arithmetic.guard(next_state, f"{name} (after decay)")
        next_state += arithmetic.guard(wide[:, ::-1] * rotation, f"{name} (rotation)")
        if half_decay.any():
            next_state += arithmetic.guard(feed_back(state, wide), f"{name} (feedback)")
        if step.limit:
            arithmetic.guard(next_state, f"{name} (before clamping)")
            next_state = np.clip(next_state, -step.limit, step.limit - 1)
        return arithmetic.guard(next_state, name)

    return lambda state: _halving_requantize(state, multiplier), advance


def _run_rows(
    step: DiagonalStep | ModalStep,
    values: Values,
    inputs: np.ndarray,
    run_step: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]],
    tensors: Sequence[Tensor],
    state: np.ndarray,
) -> None:
    """The steps of a block one after the other: their inputs `[B, R, ..]`, and the tensors that each of them gives."""
    rows = []
    for index in range(inputs.shape[1]):
        state, *row = run_step(inputs[:, index], state)
        rows.append(row)
    for tensor, arrays in zip(tensors, zip(*rows, strict=True), strict=True):
        values[tensor.name] = arrays[0] if len(rows) == 1 else np.stack(arrays, axis=1)
    values[step.next_state.name] = state.astype(np.int32, copy=False)


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
