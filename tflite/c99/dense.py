"""Products with a matrix."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.c99.expressions import address_of
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program.dense_kernel import choose_kernel, whole_bias
from keras_s4.tflite.program.operations import FullyConnected


@translates(FullyConnected, does="weights * input + bias")
def translate_fully_connected(operation: FullyConnected, source: Translation) -> None:
    """What the zero point of the input adds to the sums is part of the bias."""
    x, output, weights = operation.input, operation.output, operation.weights
    kernel = choose_kernel(operation)
    outputs, inputs = weights.shape
    layer = source.constants.struct(
        "s4_dense",
        output.name,
        weights=source.pointer(weights),
        # Sums wrap in 32 bits.
        bias=source.constants.array(
            operation.bias.name, whole_bias(operation).astype(np.int32), "int32_t", operation.bias
        ),
        inputs=f"{inputs}U",
        outputs=f"{outputs}U",
        mantissa=kernel.mantissa,
        shift=kernel.shift,
        zero_point=output.zero_point,
    )
    with source.loop("row", operation.rows) as row:
        ends = address_of(source.pointer(x), (row, inputs)), address_of(source.pointer(output), (row, outputs))
        source.call("dense", kernel.name, layer, *ends)
