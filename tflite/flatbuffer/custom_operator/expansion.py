"""Diagonal steps of a program as the custom operator KERAS_S4_DSS."""

from __future__ import annotations

import struct

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.diagonal_kernel import check_supported, plain_modes
from keras_s4.tflite.program.operations import DiagonalStep
from keras_s4.tflite.program.program import Program

LAYOUT_VERSION = 1


def state_shapes_of(program: Program) -> dict[str, tuple[int, ...]]:
    """The shape `[1, H, N, 2]` of both ends of the states of DSS layers, by name."""
    shapes = {}
    for operation in program.operations:
        if isinstance(operation, DiagonalStep):
            shape = (1, *operation.state.shape[::-1])
            shapes |= {operation.state.name: shape, operation.next_state.name: shape}
    return shapes


def expand_step(operation: DiagonalStep, file: Expansion) -> None:
    """One KERAS_S4_DSS; of a block, it takes all its steps.

    Raises:
        NotImplementedError: a form that the kernel leaves out, such as more than 255 modes.
    """
    check_supported(operation)
    modes, (_, _, channels) = mode_words(operation), operation.state.shape
    scales = np.broadcast_to(operation.readout.scale, (channels,))
    partial = fixed_point.product_multiplier(operation.hidden.scale, scales, operation.partial.scale)
    inputs = [
        file.index[operation.input.name],
        file.index[operation.state.name],
        file.new_constant(modes, modes.shape),
        file.new_constant(plain_modes(operation), (channels,), "uint8"),
        file.new_constant(fixed_point.reduced_mantissa(partial.mantissa), (channels,)),
        file.new_constant(15 - np.asarray(partial.shift), (channels,), "uint8"),
        file.new_constant(operation.feedthrough.data, (channels,)),
    ]
    output = file.declare(operation.output, file.shape_of(inputs[0]))
    state = file.declare(operation.next_state, file.shape_of(inputs[1]))
    file.writer.custom_step(inputs, [output, state], options_of(operation))


def mode_words(operation: DiagonalStep) -> np.ndarray:
    """The constants of each mode as the four int32 of `S4_MODE` in C, `[H, N, 4]`."""
    decay, rotation, readout = operation.decay.data, operation.rotation.data, operation.readout.data[0]
    words = [
        *operation.input_gain.data,
        _pair(decay, rotation),
        # Decays from -65536 to -32769 have 17 bits.
        _pair(readout, np.where(decay < -(2**15), -1, 0)),
    ]
    return np.stack([word.T for word in words], axis=-1).astype(np.int32)


def _pair(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`S4_PAIR`: the lower 16 bits of one integer below those of another."""
    return (low.astype(np.int64) & 0xFFFF) + high.astype(np.int64) * 2**16


def options_of(operation: DiagonalStep) -> bytes:
    """See the package."""
    _, modes, channels = operation.state.shape
    multiplier = fixed_point.rescale_multiplier(operation.accumulator_scale, operation.output.scale)
    return struct.pack(
        "<8i",
        LAYOUT_VERSION,
        channels,
        modes,
        operation.partial_gain,
        int(multiplier.mantissa),
        int(multiplier.shift),
        operation.output.zero_point,
        int(operation.limit > 0),
    )
