"""Products with a matrix."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.c99.expressions import SMALL, address_of, mantissa_and_shift
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier
from keras_s4.tflite.program.operations import FullyConnected

# The fast kernels compute so many outputs at once.
ROWS = 4


@translates(FullyConnected, does="weights * input + bias")
def translate_fully_connected(operation: FullyConnected, source: Translation) -> None:
    """What the zero point of the input adds to the sums is part of the bias."""
    x, output, weights = operation.input, operation.output, operation.weights
    multiplier = fixed_point.product_multiplier(x.scale, weights.scale, output.scale)
    bias = operation.bias.data.astype(np.int64) - x.zero_point * weights.data.astype(np.int64).sum(axis=1)
    function, mantissa, shift = _choose_kernel(operation, multiplier, bias)
    outputs, inputs = weights.shape
    layer = source.constants.struct(
        "s4_dense",
        output.name,
        weights=source.pointer(weights),
        # Sums wrap in 32 bits.
        bias=source.constants.array(operation.bias.name, bias.astype(np.int32), "int32_t", operation.bias),
        inputs=f"{inputs}U",
        outputs=f"{outputs}U",
        mantissa=mantissa,
        shift=shift,
        zero_point=output.zero_point,
    )
    with source.loop("row", operation.rows) as row:
        ends = address_of(source.pointer(x), (row, inputs)), address_of(source.pointer(output), (row, outputs))
        source.call("dense", function, layer, *ends)


def _choose_kernel(operation: FullyConnected, multiplier: Multiplier, bias: np.ndarray) -> tuple[str, int, int]:
    """The fastest kernel that no input can upset, with its mantissa and shift."""
    weights = np.abs(operation.weights.data.astype(np.int64)).sum(axis=1)
    enough = len(weights) >= ROWS
    if operation.input.type == "int8":
        mantissa, shift = int(multiplier.mantissa), int(multiplier.shift)
        small = enough and np.max(weights * 2**7 + np.abs(bias)) < SMALL
        return ("s4_dense_int8", mantissa, -shift) if small and shift < 0 else ("s4_dense_int8_any", mantissa, shift)
    mantissa, shift = mantissa_and_shift(multiplier)
    fits = enough and np.max(weights * 2**15 + np.abs(bias)) < 2**31
    # A mantissa of 15 bits leaves room for the rest of a shift by up to 32.
    if fits and 16 < shift <= 32:
        return "s4_dense_int16", mantissa << (32 - shift), 0
    return "s4_dense_int16_any", mantissa, shift
