"""Which C kernel of dense layers a product calls for, and with which constants: for all who call them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_s4.tflite.program import fixed_point, nibbles
from keras_s4.tflite.program.operations import FullyConnected

# The fast kernels compute so many outputs at once.
ROWS = 4
# S4_DENSE_INT4_INPUTS, and the weights of a word.
MOST_PACKED, WORD = 128, 8
# What s4_scale_down and s4_to_int8_near take is smaller.
SMALL = 2**30
# Above a shift to the right by as many bits there is room for the zero point that s4_rounding adds.
MOST_RIGHT = 21


class DenseKernel(NamedTuple):
    """A kernel of `keras_s4_dense.h`: its name, whether it is a fast one, and the mantissa and shift that it takes."""

    name: str
    fast: bool
    mantissa: int
    shift: int


def whole_bias(operation: FullyConnected) -> np.ndarray:
    """The bias with what the zero point of the input adds to the sums, int64; the kernels' sums wrap in 32 bits."""
    weights = operation.weights.data.astype(np.int64)
    return operation.bias.data.astype(np.int64) - operation.input.zero_point * weights.sum(axis=1)


def packed_weights(operation: FullyConnected) -> np.ndarray:
    """Weights of 4 bits as s4_dense_packed has them: uint32 `[outputs / 4, inputs / 8, 4]`."""
    weights = operation.weights.data
    missing = [(0, -size % whole) for size, whole in zip(weights.shape, (ROWS, WORD), strict=True)]
    words = nibbles.pack(np.pad(weights, missing)).view("<u4").reshape(-(-len(weights) // ROWS), ROWS, -1)
    return words.transpose(0, 2, 1)


def choose_kernel(operation: FullyConnected, packs: bool = True) -> DenseKernel:
    """The fastest kernel that no input can upset; of weights of 4 bits one for 8 where they are not packed."""
    x, weights = operation.input, operation.weights
    multiplier = fixed_point.product_multiplier(x.scale, weights.scale, operation.output.scale)
    magnitudes, bias = np.abs(weights.data.astype(np.int64)).sum(axis=1), np.abs(whole_bias(operation))
    enough = len(magnitudes) >= ROWS
    if x.type == "int8":
        mantissa, shift = int(multiplier.mantissa), int(multiplier.shift)
        packs = packs and weights.type == "int4"
        name = "s4_dense_int4" if packs else "s4_dense_int8"
        enough = weights.shape[1] <= MOST_PACKED if packs else enough
        if enough and np.max(magnitudes * 2**7 + bias) < SMALL and 1 <= -shift <= MOST_RIGHT:
            return DenseKernel(name, True, mantissa, -shift)
        return DenseKernel(f"{name}_any", False, mantissa, shift)
    mantissa, shift = int(fixed_point.reduced_mantissa(multiplier.mantissa)), 15 - int(multiplier.shift)
    # A mantissa of 15 bits leaves room for the rest of a shift by up to 32.
    if enough and np.max(magnitudes * 2**15 + bias) < 2**31 and 16 < shift <= 32:
        return DenseKernel("s4_dense_int16", True, mantissa << (32 - shift), 0)
    return DenseKernel("s4_dense_int16_any", False, mantissa, shift)
