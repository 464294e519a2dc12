"""Products with a matrix, and normalisation by the root of an energy."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import INDENT, SMALL, Translation, saturated, scaled, scaled_once
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import FullyConnected, Normalize
from keras_s4.tflite.program.tensors import Tensor

# The fast kernels compute so many outputs at once.
ROWS = 4


@translates(FullyConnected)
def translate_fully_connected(operation: FullyConnected, source: Translation) -> None:
    """See `operations.FullyConnected`. What the zero point of the input adds to the sums is part of the bias."""
    x, output, weights = operation.input, operation.output, operation.weights
    multiplier = fixed_point.product_multiplier(x.scale, weights.scale, output.scale)
    bias = operation.bias.data.astype(np.int64) - x.zero_point * weights.data.astype(np.int64).sum(axis=1)
    function, mantissa, shift = _kernel(operation, multiplier, bias)
    layer = source.struct(
        "s4_dense",
        f"{output.name} layer",
        weights=source.pointer(weights),
        # Sums wrap in 32 bits.
        bias=source.array(operation.bias.name, bias.astype(np.int32), "int32_t", operation.bias),
        inputs=f"{weights.shape[1]}U",
        outputs=f"{weights.shape[0]}U",
        mantissa=mantissa,
        shift=shift,
        zero_point=output.zero_point,
    )
    _for_each_row(source, output, function, layer, (x, weights.shape[1]), (output, weights.shape[0]))


def _kernel(operation: FullyConnected, multiplier: Multiplier, bias: np.ndarray) -> tuple[str, int, int]:
    """The fastest kernel that no input can upset, with its mantissa and shift."""
    weights = np.abs(operation.weights.data.astype(np.int64)).sum(axis=1)
    enough = len(weights) >= ROWS
    if operation.input.type == "int8":
        mantissa, shift = int(multiplier.mantissa), int(multiplier.shift)
        small = enough and np.max(weights * 2**7 + np.abs(bias)) < SMALL
        return ("s4_dense_int8", mantissa, -shift) if small and shift < 0 else ("s4_dense_int8_any", mantissa, shift)
    mantissa, shift = scaled_once(multiplier)
    fits = enough and np.max(weights * 2**15 + np.abs(bias)) < 2**31
    # A mantissa of 15 bits leaves room for the rest of a shift by up to 32.
    if fits and 16 < shift <= 32:
        return "s4_dense_int16", mantissa << (32 - shift), 0
    return "s4_dense_int16_any", mantissa, shift


def _for_each_row(source: Translation, output: Tensor, function: str, layer: str, *ends: tuple[Tensor, int]) -> None:
    """One call, or one for each row of a block in a loop."""
    rows = math.prod(output.shape[:-1])
    source.kernels.add("dense")
    if rows == 1:
        source.call("dense", function, layer, *(source.pointer(tensor) for tensor, _ in ends))
        return
    arguments = ", ".join(f"&{source.pointer(tensor)}[row * {size}U]" for tensor, size in ends)
    source.statements += [
        f"for (uint32_t row = 0; row < {rows}U; ++row) {{",
        f"{INDENT}{function}({layer}, {arguments});",
        "}",
    ]


@translates(Normalize)
def translate_normalize(operation: Normalize, source: Translation) -> None:
    """See `operations.Normalize`."""
    x, output = operation.input, operation.output
    rows, size = math.prod(x.shape[:-1]), x.shape[-1]
    coarse, fine = (
        scaled_once(fixed_point.product_multiplier(x.scale, x.scale, energy.scale))
        for energy in (operation.coarse, operation.fine)
    )
    level = fixed_point.rescale_multiplier(1.0, operation.level.scale)
    root = scaled_once(fixed_point.product_multiplier(1.0, 1.0, operation.root.scale))
    layer = source.struct(
        "s4_normalize",
        f"{output.name} layer",
        coarse_gain=source.pointer(operation.coarse_gain),
        fine_gain=source.pointer(operation.fine_gain),
        table=source.pointer(operation.table),
        weights=source.pointer(operation.weights),
        bias=int(operation.bias.data[0]),
        size=f"{size}U",
        ranges=f"{operation.weights.data.size}U",
        coarse_mantissa=coarse[0],
        coarse_shift=f"{coarse[1]}U",
        fine_mantissa=fine[0],
        fine_shift=f"{fine[1]}U",
        level_mantissa=int(level.mantissa),
        level_shift=int(level.shift),
        level_zero_point=operation.level.zero_point,
        root_mantissa=root[0],
        root_shift=f"{root[1]}U",
    )
    source.kernels.add("normalize")
    multiplier = fixed_point.rescale_multiplier(x.scale * operation.root_scale, output.scale)
    # A value of 16 bits times a root of 17.
    value = saturated(scaled(f"s4_multiply({source.pointer(x)}[i], root)", multiplier, 2**31), output)
    source.statements += [
        f"for (uint32_t start = 0; start < {rows * size}U; start += {size}U) {{",
        f"{INDENT}const int32_t root = s4_reciprocal_root({layer}, &{source.pointer(x)}[start]);",
        f"{INDENT}for (uint32_t i = start; i < start + {size}U; ++i) {{",
        f"{INDENT * 2}{source.pointer(output)}[i] = {value};",
        f"{INDENT}}}",
        "}",
    ]
