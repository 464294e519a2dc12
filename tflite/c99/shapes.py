"""Operations that move values: windows of the last inputs, parts, rows of tables; and what is taken from windows."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import INDENT, Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import (
    Concatenate,
    DepthwiseProduct,
    Embed,
    Reshape,
    Slice,
    Window,
    WindowMaximum,
)
from keras_s4.tflite.program.tensors import Tensor


@translates(Reshape)
def translate_reshape(operation: Reshape, source: Translation) -> None:
    """See `operations.Reshape`."""
    source.copy(source.pointer(operation.output), source.pointer(operation.input), operation.output)


@translates(Slice)
def translate_slice(operation: Slice, source: Translation) -> None:
    """See `operations.Slice`."""
    _copy_columns(operation.output, 0, operation.input, operation.start, operation.output.shape[-1], source)


@translates(Concatenate)
def translate_concatenate(operation: Concatenate, source: Translation) -> None:
    """See `operations.Concatenate`."""
    start = 0
    for tensor in operation.inputs:
        _copy_columns(operation.output, start, tensor, 0, tensor.shape[-1], source)
        start += tensor.shape[-1]


def _copy_columns(to: Tensor, start_to: int, x: Tensor, start: int, columns: int, source: Translation) -> None:
    """Copy columns of each row."""
    rows = math.prod(to.shape[:-1])
    if rows == 1:
        source.copy(f"&{source.pointer(to)}[{start_to}]", f"&{source.pointer(x)}[{start}]", to, columns)
        return
    source.statements.append(f"for (uint32_t row = 0; row < {rows}U; ++row) {{")
    pairs = ((to, start_to), (x, start))
    ends = [f"&{source.pointer(t)}[row * {t.shape[-1]}U + {first}U]" for t, first in pairs]
    source.statements += [f"{INDENT}(void)memcpy({', '.join(ends)}, {columns}U * sizeof({to.type}_t));", "}"]


@translates(Embed)
def translate_embed(operation: Embed, source: Translation) -> None:
    """See `operations.Embed`; the step has checked the numbers."""
    size, rows = operation.output.shape[-1], math.prod(operation.output.shape[:-1])
    table, token = source.pointer(operation.table), source.pointer(operation.input)
    for row in range(rows):
        to = f"&{source.pointer(operation.output)}[{row * size}]"
        source.copy(to, f"&{table}[(uint32_t){token}[{row}] * {size}U]", operation.output, size)


def joined_inputs(operation: Window) -> Tensor | None:
    """The last inputs and the new ones in one array, where the output is anything else; None where it is just that."""
    channels = operation.input.shape[-1]
    kept = 0 if operation.state is None else math.prod(operation.state.shape)
    size = kept + math.prod(operation.input.shape)
    whole = operation.dilation == 1 and len(operation.output.shape) == 1 and math.prod(operation.output.shape) == size
    if whole and math.prod(operation.input.shape) == channels:
        return None
    return Tensor(f"{operation.output.name} (joined)", (size,), operation.input.type)


@translates(Window, helper=joined_inputs)
def translate_window(operation: Window, source: Translation) -> None:
    """See `operations.Window`. The state and the new inputs are joined, in the output where it is nothing else."""
    x, output = operation.input, operation.output
    kept = 0 if operation.state is None else math.prod(operation.state.shape)
    new = math.prod(x.shape)
    state = None if operation.state is None else source.pointer(operation.state)
    joined = source.placement.helpers.get(output.name, source.pointer(output))
    if state is not None:
        source.copy(joined, state, x, kept)
    source.copy(f"&{joined}[{kept}]", source.pointer(x), x, new)
    if joined != source.pointer(output):
        _gather(operation, joined, source)
    if state is not None:
        source.copy(state, f"&{joined}[{new}]", x, kept)


def _gather(operation: Window, joined: str, source: Translation) -> None:
    """The inputs that each output reads: equal steps along the taps, and from output to output."""
    positions, channels = operation.positions(), operation.input.shape[-1]
    rows, taps = positions.shape
    start, tap, row = positions[0, 0], operation.dilation, operation.stride
    target = f"&{source.pointer(operation.output)}[(row * {taps}U + tap) * {channels}U]"
    origin = f"&{joined}[({start}U + row * {row}U + tap * {tap}U) * {channels}U]"
    source.statements += [
        f"for (uint32_t row = 0; row < {rows}U; ++row) {{",
        f"{INDENT}for (uint32_t tap = 0; tap < {taps}U; ++tap) {{",
        f"{INDENT * 2}(void)memcpy({target}, {origin}, {channels}U * sizeof({operation.input.type}_t));",
        f"{INDENT}}}",
        "}",
    ]


@translates(WindowMaximum)
def translate_window_maximum(operation: WindowMaximum, source: Translation) -> None:
    """See `operations.WindowMaximum`."""
    x, output = operation.input, operation.output
    rows, size, channels = math.prod(x.shape[:-1]), x.shape[-1], output.shape[-1]
    value = f"{source.pointer(x)}[row * {size}U + i]"
    source.statements += [
        f"for (uint32_t row = 0; row < {rows}U; ++row) {{",
        f"{INDENT}for (uint32_t channel = 0; channel < {channels}U; ++channel) {{",
        f"{INDENT * 2}int32_t largest = {output.type.upper()}_MIN;",
        f"{INDENT * 2}for (uint32_t i = channel; i < {size}U; i += {channels}U) {{",
        f"{INDENT * 3}largest = s4_maximum(largest, {value});",
        f"{INDENT * 2}}}",
        f"{INDENT * 2}{source.pointer(output)}[row * {channels}U + channel] = ({output.type}_t)largest;",
        f"{INDENT}}}",
        "}",
    ]


@translates(DepthwiseProduct)
def translate_depthwise_product(operation: DepthwiseProduct, source: Translation) -> None:
    """See `operations.DepthwiseProduct`."""
    x, weights, output = operation.input, operation.weights, operation.output
    taps, size = weights.shape
    channels = x.shape[-1] // taps
    multiplier = fixed_point.product_multiplier(x.scale, np.broadcast_to(weights.scale, size), output.scale)
    mantissas = fixed_point.reduced_mantissa(multiplier.mantissa)
    layer = source.struct(
        "s4_depthwise",
        f"{output.name} layer",
        weights=source.pointer(weights),
        bias=source.pointer(operation.bias),
        mantissas=source.array(f"{output.name} mantissas", mantissas, "int16_t"),
        shifts=source.array(f"{output.name} shifts", 15 - np.asarray(multiplier.shift), "uint8_t"),
        taps=f"{taps}U",
        channels=f"{channels}U",
        multiplier=f"{size // channels}U",
    )
    source.kernels.add("depthwise")
    rows = math.prod(output.shape[:-1])
    for row in range(rows):
        ends = (source.pointer(x), row * x.shape[-1]), (source.pointer(output), row * size)
        source.call("depthwise", "s4_depthwise_product", layer, *(f"&{name}[{start}]" for name, start in ends))
