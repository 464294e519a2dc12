"""Products with a matrix."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.c99.expressions import address_of
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program.dense_kernel import ROWS, choose_kernel, packed_weights, whole_bias
from keras_s4.tflite.program.operations import FullyConnected


@translates(FullyConnected, does="weights * input + bias")
def translate_fully_connected(operation: FullyConnected, source: Translation) -> None:
    """What the zero point of the input adds to the sums is part of the bias."""
    x, output, weights = operation.input, operation.output, operation.weights
    kernel = choose_kernel(operation)
    outputs, inputs = weights.shape
    # Sums wrap in 32 bits.
    bias = whole_bias(operation).astype(np.int32)
    if weights.type == "int4":
        bias = np.pad(bias, (0, -outputs % ROWS))
    layer = source.constants.struct(
        "s4_dense_packed" if weights.type == "int4" else "s4_dense",
        output.name,
        weights=_words(operation, source) if weights.type == "int4" else source.pointer(weights),
        bias=source.constants.array(operation.bias.name, bias, "int32_t", operation.bias),
        inputs=f"{inputs}U",
        outputs=f"{outputs}U",
        mantissa=kernel.mantissa,
        shift=kernel.shift,
        zero_point=output.zero_point,
    )
    library = "dense_packed" if weights.type == "int4" else "dense"
    with source.loop("row", operation.rows) as row:
        ends = address_of(source.pointer(x), (row, inputs)), address_of(source.pointer(output), (row, outputs))
        source.call(library, kernel.name, layer, *ends)


def _words(operation: FullyConnected, source: Translation) -> str:
    """The array of weights of 4 bits."""
    words = np.array([f"0x{word:08X}U" for word in packed_weights(operation).ravel().tolist()])
    return source.share(operation.weights.name, words, "uint32_t", "4 bits each", like=operation.weights)
