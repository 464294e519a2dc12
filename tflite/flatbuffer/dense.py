"""Products with a matrix, and gains per channel."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program.operations import Affine, FullyConnected


@expands(FullyConnected)
def expand_fully_connected(operation: FullyConnected, file: Expansion) -> None:
    """See `operations.FullyConnected`."""
    input, weights, output = operation.input, operation.weights, operation.output
    scale_bias = float(np.float32(input.scale) * np.float32(weights.scale))
    filter = file.writer.tensor(weights.shape, weights.type, quantization(weights), weights.data)
    bias = file.writer.tensor(
        operation.bias.shape,
        "int32" if input.type == "int8" else "int64",
        Quantization((scale_bias,)),
        operation.bias.data,
    )
    operands = [file.index[input.name], filter, bias]
    shape = math.prod(output.shape[:-1]), output.shape[-1]
    file.in_shape(output, shape, lambda index: file.writer.operator("FULLY_CONNECTED", operands, index))


@expands(Affine)
def expand_affine(operation: Affine, file: Expansion) -> None:
    """See `operations.Affine`."""
    input, gain = operation.input, operation.gain.data.astype(np.int64)
    offset = operation.offset.data - input.zero_point * gain
    x = file.plain(input)
    shape = file.shape(x)
    # One constant for each value is the faster operator; broadcasting serves where there are several rows.
    constants = shape if math.prod(shape) == gain.size else gain.shape
    uniform = bool(np.all(offset == offset[0]))

    def write(output: int) -> int:
        if np.all(gain == 1) and uniform:
            return file.cast(file.index[input.name], output) if input.type != "int32" else file.retag(x, output)
        if np.all(gain == 1):
            return file.binary("ADD", x, file.constant(offset, constants), output)
        factor = file.constant(gain, constants)
        if uniform:
            return file.binary("MUL", x, factor, output)
        return file.binary("ADD", file.binary("MUL", x, factor), file.constant(offset, constants), output)

    zero_point = -int(offset[0]) if uniform else 0
    file.round_to(operation.output, operation.accumulator_scale, zero_point, shape, write)
