"""The inputs of the last few steps, and what is computed from them channel by channel."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.emulator.arithmetic import Arithmetic, Run, Values, compiles
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import DepthwiseProduct, Window, WindowMaximum


@compiles(Window)
def compile_window(operation: Window, arithmetic: Arithmetic) -> Run:
    input, state, output = operation.input, operation.state, operation.output
    rows = math.prod(input.shape[:-1])
    positions = operation.positions()

    def run(values: Values):
        batch = len(values[input.name])
        parts = [values[tensor.name].reshape(batch, -1, input.shape[-1]) for tensor in (state, input) if tensor]
        window = np.concatenate(parts, axis=1)
        values[output.name] = window[:, positions].reshape(batch, *output.shape)
        if state is not None:
            values[operation.next_state.name] = window[:, rows:].reshape(batch, -1)

    return run


@compiles(DepthwiseProduct)
def compile_depthwise_product(operation: DepthwiseProduct, arithmetic: Arithmetic) -> Run:
    input, output = operation.input, operation.output
    steps, size = operation.weights.shape
    multiplier = fixed_point.product_multiplier(input.scale, operation.weights.scale, output.scale)
    weights, bias = (tensor.data.astype(np.int64) for tensor in (operation.weights, operation.bias))

    def run(values: Values):
        window = values[input.name].reshape(*values[input.name].shape[:-1], steps, -1).astype(np.int64)
        repeated = np.repeat(window, size // window.shape[-1], axis=-1)
        accumulator = (repeated * weights).sum(axis=-2) + bias
        if arithmetic.check_overflow:
            arithmetic.guard(accumulator * multiplier.real, f"{output.name} (before saturation)")
        values[output.name] = fixed_point.requantize_reduced(accumulator, multiplier, output.type)

    return run


@compiles(WindowMaximum)
def compile_window_maximum(operation: WindowMaximum, arithmetic: Arithmetic) -> Run:
    channels = operation.output.shape[-1]

    def run(values: Values):
        window = values[operation.input.name]
        values[operation.output.name] = window.reshape(*window.shape[:-1], -1, channels).max(axis=-2)

    return run
