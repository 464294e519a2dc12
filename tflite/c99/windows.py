"""The inputs of the last few steps, and what is computed from them channel by channel."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.expressions import address_of, index_of
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import DepthwiseProduct, Window, WindowMaximum
from keras_s4.tflite.program.tensors import Tensor


def joined_inputs(operation: Window) -> Tensor | None:
    """The last inputs and the new ones in one array, where the output is anything else; None where it is just that."""
    channels = operation.input.shape[-1]
    kept = 0 if operation.state is None else math.prod(operation.state.shape)
    size = kept + math.prod(operation.input.shape)
    whole = operation.dilation == 1 and len(operation.output.shape) == 1 and math.prod(operation.output.shape) == size
    if whole and math.prod(operation.input.shape) == channels:
        return None
    return Tensor(f"{operation.output.name} (joined)", (size,), operation.input.type)


def _does(operation: Window) -> str:
    taps = operation.output.shape[-1] // operation.input.shape[-1]
    every = f", every {operation.dilation} steps" if operation.dilation > 1 else ""
    return f"the last {taps} inputs{every}"


@translates(Window, does=_does, helper=joined_inputs)
def translate_window(operation: Window, source: Translation) -> None:
    """The state and the new inputs are joined, in the output where it is nothing else."""
    x = operation.input
    kept = 0 if operation.state is None else math.prod(operation.state.shape)
    new = math.prod(x.shape)
    state = None if operation.state is None else source.pointer(operation.state)
    helper = source.helper(operation, "joined")
    joined = helper or source.pointer(operation.output)
    if state is not None:
        source.copy(joined, state, x, kept)
    source.copy(address_of(joined, first=kept), source.pointer(x), x, new)
    if helper is not None:
        _gather(operation, helper, source)
    if state is not None:
        source.copy(state, address_of(joined, first=new), x, kept)


def _gather(operation: Window, joined: str, source: Translation) -> None:
    """The inputs that each output reads: equal steps along the taps, and from output to output."""
    positions, channels = operation.positions(), operation.input.shape[-1]
    rows, taps = positions.shape
    output = source.pointer(operation.output)
    with source.loop("row", rows) as row, source.loop("tap", taps) as tap:
        strides = (row, operation.stride * channels), (tap, operation.dilation * channels)
        origin = address_of(joined, *strides, first=int(positions[0, 0]) * channels)
        source.copy(address_of(output, (row, taps * channels), (tap, channels)), origin, operation.input, channels)


@translates(WindowMaximum, does="the largest of each channel")
def translate_window_maximum(operation: WindowMaximum, source: Translation) -> None:
    x, output = operation.input, operation.output
    size, channels = x.shape[-1], output.shape[-1]
    with source.loop("row", math.prod(x.shape[:-1])) as row, source.loop("channel", channels) as channel:
        source.line(f"int32_t largest = {output.type.upper()}_MIN;")
        with source.loop("i", size, start=channel, step=channels) as i:
            value = source.element(x, index_of((row, size), (i, 1)))
            source.line(f"largest = s4_maximum(largest, {value});")
        target = f"{source.pointer(output)}[{index_of((row, channels), (channel, 1))}]"
        source.line(f"{target} = ({output.type}_t)largest;")


@translates(DepthwiseProduct, does="each channel's inputs times weights of its own, + bias")
def translate_depthwise_product(operation: DepthwiseProduct, source: Translation) -> None:
    x, weights, output = operation.input, operation.weights, operation.output
    taps, size = weights.shape
    channels = x.shape[-1] // taps
    multiplier = fixed_point.product_multiplier(x.scale, np.broadcast_to(weights.scale, size), output.scale)
    mantissas = fixed_point.reduced_mantissa(multiplier.mantissa)
    layer = source.constants.struct(
        "s4_depthwise",
        output.name,
        weights=source.pointer(weights),
        bias=source.pointer(operation.bias),
        mantissas=source.constants.array(f"{output.name} mantissas", mantissas, "int16_t"),
        shifts=source.constants.array(f"{output.name} shifts", 15 - np.asarray(multiplier.shift), "uint8_t"),
        taps=f"{taps}U",
        channels=f"{channels}U",
        multiplier=f"{size // channels}U",
    )
    with source.loop("row", operation.rows) as row:
        ends = address_of(source.pointer(x), (row, x.shape[-1])), address_of(source.pointer(output), (row, size))
        source.call("depthwise", "s4_depthwise_product", layer, *ends)
