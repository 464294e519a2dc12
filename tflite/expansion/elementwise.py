"""Operations on each element: tables, products, sums, the larger and the smaller, other scales."""

from __future__ import annotations

import numpy as np

from keras_s4.tflite import fixed_point, sigmoid
from keras_s4.tflite.expansion.expansion import Expansion, expands, quantization
from keras_s4.tflite.flatbuffer_writer import Quantization
from keras_s4.tflite.operations import Add, Lookup, Maximum, Minimum, Multiply, Requantize, Squash


@expands(Lookup)
def expand_lookup(operation: Lookup, file: Expansion) -> None:
    """See `operations.Lookup`."""
    input, output = operation.input, operation.output
    position = file.once("position", input, lambda: file.offset(file.plain(input), 128))
    table = file.writer.tensor((256,), "int8", quantization(output), operation.table.data)
    file.writer.operator("GATHER", [table, position], file.declare(output, file.shape(position)))


@expands(Squash)
def expand_squash(operation: Squash, file: Expansion) -> None:
    """See `operations.Squash`."""
    input, output = operation.input, operation.output
    sigmoid.check_scales(input, output)
    index = file.index[input.name]
    name = {"sigmoid": "LOGISTIC", "tanh": "TANH"}[operation.function]
    file.writer.operator(name, [index], file.declare(output, file.shape(index)))


@expands(Multiply)
def expand_multiply(operation: Multiply, file: Expansion) -> None:
    """See `operations.Multiply`."""
    a, b, output = file.centred(operation.a), file.centred(operation.b), operation.output
    shape = np.broadcast_shapes(file.shape(a), file.shape(b))
    if output.name in file.rescaled_only:
        file.index[output.name] = file.integers(shape, Quantization((float(output.scale),)))
    else:
        file.declare(output, shape)
    file.binary("MUL", a, b, file.index[output.name])


@expands(Maximum, Minimum)
def expand_extremum(operation: Maximum | Minimum, file: Expansion) -> None:
    """See `operations.Maximum` and `operations.Minimum`."""
    a, b, output = file.centred(operation.a), operation.b, operation.output
    b = file.centred(b) if b.data is None else file.constant(b.data, b.shape)
    shape = np.broadcast_shapes(file.shape(a), file.shape(b))
    if output.name in file.rescaled_only:
        file.index[output.name] = file.integers(shape, Quantization((float(output.scale),)))
    else:
        file.declare(output, shape)
    file.writer.operator(type(operation).__name__.upper(), [a, b], file.index[output.name])


@expands(Add)
def expand_add(operation: Add, file: Expansion) -> None:
    """See `operations.Add`."""
    a, b = (
        file.times(file.plain(operation.a), operation.gain_a),
        file.times(file.plain(operation.b), operation.gain_b),
    )
    zero_point = operation.a.zero_point * operation.gain_a + operation.b.zero_point * operation.gain_b
    shape = np.broadcast_shapes(file.shape(a), file.shape(b))
    file.round_to(
        operation.output,
        operation.accumulator_scale,
        zero_point,
        shape,
        lambda output: file.binary("ADD", a, b, output),
    )


@expands(Requantize)
def expand_requantize(operation: Requantize, file: Expansion) -> None:
    """See `operations.Requantize`."""
    input, output = operation.input, operation.output
    index = file.index[input.name]
    unit = fixed_point.rescale_multiplier(input.scale, output.scale) == fixed_point.quantize_multiplier(1.0)
    if unit and (input.type, input.zero_point) == (output.type, output.zero_point):
        if file.state_ends.isdisjoint((input.name, output.name)):
            file.index[output.name] = index
        else:  # the ends of a state carry no scale
            file.reshape(index, file.end_shape(output), file.declare(output, file.end_shape(output)))
    elif output.type == "int32":
        file.round_to(output, input.scale, 0, file.shape(index), lambda to: file.retag(file.centred(input), to))
    elif (input.type, output.type) != ("int8", "int16"):
        tagged = file.writer.tensors[index].quantization is not None
        source = index if tagged else file.copy(index, Quantization((float(input.scale),)))
        file.writer.operator("QUANTIZE", [source], file.declare(output, file.shape(index)))
    elif unit and not input.zero_point:
        file.cast(index, file.declare(output, file.shape(index)))
    else:
        # TensorFlow's interpreter has no QUANTIZE from int8 to int16.
        file.round_to(output, input.scale, input.zero_point, file.shape(index), lambda to: file.cast(index, to))
