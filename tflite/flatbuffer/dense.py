"""Products with a matrix."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import FullyConnected


@expands(FullyConnected)
def expand_fully_connected(operation: FullyConnected, file: Expansion) -> None:
    """Weights of 4 bits whose rows end inside a byte are stored in 8, as the rule of the operator has it."""
    input, weights, output = operation.input, operation.weights, operation.output
    scale_bias = float(np.float32(input.scale) * np.float32(weights.scale))
    packs = weights.type == "int4" and weights.shape[1] % 2 == 0
    filter = file.writer.tensor(weights.shape, "int4" if packs else "int8", quantization_of(weights), weights.data)
    bias = file.writer.tensor(
        operation.bias.shape,
        "int32" if input.type == "int8" else "int64",
        Quantization((scale_bias,)),
        operation.bias.data,
    )
    operands = [file.index[input.name], filter, bias]
    shape = operation.rows, output.shape[-1]
    file.write_in_shape(output, shape, lambda index: file.writer.operator("FULLY_CONNECTED", operands, index))
