"""Operations on each element: tables, gains, products, sums, the larger and the smaller, other scales."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.flatbuffer.expansion import Expansion, expands, quantization_of
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program import fixed_point, sigmoid
from keras_s4.tflite.program.operations import Add, Affine, Lookup, Maximum, Minimum, Multiply, Requantize, Squash

# MAXIMUM and MINIMUM of CMSIS-NN take no more.
_MOST_AXES = 4


@expands(Affine)
def expand_affine(operation: Affine, file: Expansion) -> None:
    input, gain = operation.input, operation.gain.data.astype(np.int64)
    if _is_product(operation, file):
        _expand_product(operation, file)
        return
    offset = operation.offset.data - input.zero_point * gain
    x = file.widen(input)
    shape = file.shape_of(x)
    # One constant for each value is the faster operator; broadcasting serves where there are several rows.
    constants = shape if math.prod(shape) == gain.size else gain.shape
    uniform = bool(np.all(offset == offset[0]))

    def write(output: int) -> int:
        if np.all(gain == 1) and uniform:
            return file.cast(file.index[input.name], output) if input.type != "int32" else file.retag(x, output)
        if np.all(gain == 1):
            return file.combine("ADD", x, file.new_constant(offset, constants), output)
        factor = file.new_constant(gain, constants)
        if uniform:
            return file.combine("MUL", x, factor, output)
        return file.combine("ADD", file.combine("MUL", x, factor), file.new_constant(offset, constants), output)

    zero_point = -int(offset[0]) if uniform else 0
    file.round_to(operation.output, operation.accumulator_scale, zero_point, shape, write)


def _is_product(operation: Affine, file: Expansion) -> bool:
    """Whether a MUL of int16 does all of it: gains fit, and all engines agree on the multiplier."""
    input, output, gain = operation.input, operation.output, operation.gain.data
    narrow = (input.type, output.type) == ("int16", "int16") and not np.any(operation.offset.data)
    if not narrow or gain.size != math.prod(file.shape_of(file.index[input.name])) or np.abs(gain).max() >= 2**15:
        return False
    wanted = fixed_point.rescale_multiplier(operation.accumulator_scale, output.scale)
    made = fixed_point.product_multiplier(input.scale, operation.accumulator_scale / input.scale, output.scale)
    return made == wanted and wanted.mantissa == fixed_point.UNIT.mantissa


def _expand_product(operation: Affine, file: Expansion) -> None:
    """One MUL, which rounds as QUANTIZE does."""
    index = file.index[operation.input.name]
    if file.writer.tensors[index].quantization is None:
        index = file.copy(index, Quantization((float(operation.input.scale),)))
    shape = file.shape_of(index)
    tag = Quantization((float(operation.accumulator_scale / operation.input.scale),))
    gain = file.writer.tensor(shape, "int16", tag, operation.gain.data.reshape(shape))
    file.writer.operator("MUL", [index, gain], file.declare(operation.output, shape))


@expands(Lookup)
def expand_lookup(operation: Lookup, file: Expansion) -> None:
    input, output = operation.input, operation.output
    position = file.derive_once("position", input, lambda: file.add_constant(file.widen(input), 128))
    table = file.writer.tensor((256,), "int8", quantization_of(output), operation.table.data)
    file.writer.operator("GATHER", [table, position], file.declare(output, file.shape_of(position)))


@expands(Squash)
def expand_squash(operation: Squash, file: Expansion) -> None:
    input, output = operation.input, operation.output
    sigmoid.check_scales(input, output)
    index = file.index[input.name]
    name = {"sigmoid": "LOGISTIC", "tanh": "TANH"}[operation.function]
    file.writer.operator(name, [index], file.declare(output, file.shape_of(index)))


@expands(Multiply)
def expand_multiply(operation: Multiply, file: Expansion) -> None:
    a, b, output = file.centre(operation.a), file.centre(operation.b), operation.output
    shape = np.broadcast_shapes(file.shape_of(a), file.shape_of(b))
    if output.name in file.rescaled_only:
        file.index[output.name] = file.new_integers(shape, Quantization((float(output.scale),)))
    else:
        file.declare(output, shape)
    file.combine("MUL", a, b, file.index[output.name])


@expands(Maximum, Minimum)
def expand_extremum(operation: Maximum | Minimum, file: Expansion) -> None:
    a, b, output = file.centre(operation.a), operation.b, operation.output
    constant = b.data is not None
    b = file.new_constant(b.data, b.shape) if constant else file.centre(b)
    shape = np.broadcast_shapes(file.shape_of(a), file.shape_of(b))
    tag = Quantization((float(output.scale),)) if output.name in file.rescaled_only else None
    name = type(operation).__name__.upper()
    if len(shape) <= _MOST_AXES:
        file.index[output.name] = file.new_integers(shape, tag) if tag else file.declare(output, shape)
        file.writer.operator(name, [a, b], file.index[output.name])
        return
    shapes = joined_axes(file.shape_of(a), file.shape_of(b))
    a = file.reshape(a, shapes[0])
    b = file.new_constant(operation.b.data, shapes[1]) if constant else file.reshape(b, shapes[1])
    joined = file.writer.operator(name, [a, b], file.new_integers(np.broadcast_shapes(*shapes)))
    file.index[output.name] = file.new_integers(shape, tag) if tag else file.declare(output, shape)
    file.reshape(joined, shape, file.index[output.name])


def joined_axes(*shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes with as few axes as there can be for the same broadcast.

    Neighbouring axes are one where the same shapes are repeated along both, and axes of size 1 in all vanish.
    """
    most = max(map(len, shapes))
    sizes = np.array([(1,) * (most - len(shape)) + shape for shape in shapes]).T
    axes: list[np.ndarray] = []
    for axis in sizes[np.any(sizes != 1, axis=1)]:
        if axes and np.array_equal(axes[-1] == 1, axis == 1):
            axes[-1] = axes[-1] * axis
        else:
            axes.append(axis)
    return [tuple(int(axis[index]) for axis in axes) or (1,) for index in range(len(shapes))]


@expands(Add)
def expand_add(operation: Add, file: Expansion) -> None:
    a, b = (
        file.multiply_by(file.widen(operation.a), operation.gain_a),
        file.multiply_by(file.widen(operation.b), operation.gain_b),
    )
    zero_point = operation.a.zero_point * operation.gain_a + operation.b.zero_point * operation.gain_b
    shape = np.broadcast_shapes(file.shape_of(a), file.shape_of(b))
    file.round_to(
        operation.output,
        operation.accumulator_scale,
        zero_point,
        shape,
        lambda output: file.combine("ADD", a, b, output),
    )


@expands(Requantize)
def expand_requantize(operation: Requantize, file: Expansion) -> None:
    input, output = operation.input, operation.output
    index = file.index[input.name]
    unit = fixed_point.rescale_multiplier(input.scale, output.scale) == fixed_point.UNIT
    if operation.is_copy:
        if file.state_ends.isdisjoint((input.name, output.name)):
            file.index[output.name] = index
        else:  # the ends of a state carry no scale
            file.reshape(index, file.shape_of_end(output), file.declare(output, file.shape_of_end(output)))
    elif output.type == "int32":
        file.round_to(output, input.scale, 0, file.shape_of(index), lambda to: file.retag(file.centre(input), to))
    elif (input.type, output.type) != ("int8", "int16"):
        tagged = file.writer.tensors[index].quantization is not None
        source = index if tagged else file.copy(index, Quantization((float(input.scale),)))
        file.writer.operator("QUANTIZE", [source], file.declare(output, file.shape_of(index)))
    elif unit and not input.zero_point:
        file.cast(index, file.declare(output, file.shape_of(index)))
    else:
        # TensorFlow's interpreter has no QUANTIZE from int8 to int16.
        file.round_to(output, input.scale, input.zero_point, file.shape_of(index), lambda to: file.cast(index, to))
