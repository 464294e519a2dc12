"""The inputs of the last few steps, and what is computed from them channel by channel."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import DepthwiseProduct, Window, WindowMaximum


@expands(Window)
def expand_window(operation: Window, file: Expansion) -> None:
    input, state, output = operation.input, operation.state, operation.output
    channels, size = input.shape[-1], math.prod(input.shape)
    tag = quantization_of(input)
    positions = operation.positions()
    window = file.reshape(file.index[input.name], (1, size)) if len(input.shape) > 1 else file.restore_shape(input)
    if state is not None:
        kept = file.copy(file.index[state.name], tag)
        size += state.shape[0]
        whole = (1, size)
        # Where the window is the output, it needs no other tensor.
        joined = (
            file.declare(output, whole)
            if positions.size * channels == size and len(output.shape) == 1
            else file.writer.tensor(whole, input.type, tag)
        )
        window = file.writer.operator("CONCATENATION", [kept, window], joined, axis=1)
        file.slice(window, (0, math.prod(input.shape)), (1, 1), file.declare(operation.next_state))
    if output.name not in file.index:
        _read_window(operation, positions, window, file)


def _read_window(operation: Window, positions: np.ndarray, window: int, file: Expansion) -> None:
    """Writes the output from all inputs, one after the other in one axis, with as few operators as there can be.

    That is a slice for each output, or one for each tap, which then are joined; or nothing but another shape.
    """
    output, channels = operation.output, operation.input.shape[-1]
    count, taps = positions.shape
    if np.array_equal(positions.ravel(), np.arange(file.shape_of(window)[1] // channels)):
        file.reshape(window, (1, *output.shape), file.declare(output))
        return
    rows = file.reshape(window, (1, file.shape_of(window)[1] // channels, channels))
    tag = quantization_of(operation.input)

    def cut(places: np.ndarray, stride: int, into: int | None = None) -> int:
        if into is None:
            into = file.writer.tensor((1, len(places), channels), operation.input.type, tag)
        end = (1, int(places[-1]) + 1, channels)
        return file.slice(rows, (0, int(places[0]), 0), (1, stride, 1), into, end)

    if taps == 1:
        cut(positions[:, 0], operation.stride, file.declare(output, (1, count, channels)))
    elif count <= taps:
        parts = [cut(places, operation.dilation) for places in positions]
        file.reshape(file.concatenate(parts, 1), (1, *output.shape), file.declare(output))
    else:
        parts = [cut(positions[:, tap], operation.stride) for tap in range(taps)]
        file.concatenate(parts, 2, file.declare(output))


@expands(DepthwiseProduct)
def expand_depthwise_product(operation: DepthwiseProduct, file: Expansion) -> None:
    """The taps lie side by side: CMSIS-NN takes half as long as where they are lines of an image."""
    input, weights, output = operation.input, operation.weights, operation.output
    steps, size = weights.shape
    channels = input.shape[-1] // steps
    rows = operation.rows
    image = file.reshape(file.index[input.name], (rows, 1, steps, channels))
    filter = file.writer.tensor((1, 1, steps, size), "int8", quantization_of(weights, 3), weights.data[None, None])
    scales = np.float32(input.scale) * np.broadcast_to(np.asarray(weights.scale, np.float32), size)
    bias_scales = Quantization(tuple(float(scale) for scale in scales))
    bias = file.writer.tensor((size,), "int64", bias_scales, operation.bias.data)
    options = {"depth_multiplier": size // channels}
    file.write_in_shape(
        output,
        (rows, 1, 1, size),
        lambda index: file.writer.operator("DEPTHWISE_CONV_2D", [image, filter, bias], index, **options),
    )


@expands(WindowMaximum)
def expand_window_maximum(operation: WindowMaximum, file: Expansion) -> None:
    """All rows are lines of one image: CMSIS-NN may read no more images."""
    channels, rows = operation.output.shape[-1], operation.rows
    steps = operation.input.shape[-1] // channels
    image = file.reshape(file.index[operation.input.name], (1, rows, steps, channels))
    file.write_in_shape(
        operation.output,
        (1, rows, 1, channels),
        lambda index: file.writer.operator("MAX_POOL_2D", [image], index, width=steps),
    )
