"""Operations as instructions of KERAS_S4_BLOCK: their constants, and where everything lies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from keras_s4.tflite.flatbuffer.custom_operator.instructions import (
    CONSTANT,
    MOST_COUNT,
    MOST_SIZE,
    OFFSET_BITS,
    Code,
    Instruction,
)
from keras_s4.tflite.program import fixed_point, sigmoid
from keras_s4.tflite.program.dense_kernel import choose_kernel, whole_bias
from keras_s4.tflite.program.diagonal_kernel import (
    check_modal_step,
    check_supported,
    form_of,
    modal_words,
    mode_words,
)
from keras_s4.tflite.program.operations import (
    Add,
    Affine,
    DiagonalStep,
    FullyConnected,
    Interpolate,
    Lookup,
    Maximum,
    Minimum,
    ModalStep,
    Multiply,
    Operation,
    Requantize,
    Squash,
)
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

# What an operator is made around.
Step = DiagonalStep | ModalStep
# Weights of 4 bits are stored in 8.
BYTES = {"int4": 1, "int8": 1, "int16": 2, "int32": 4}


class Constants:
    """The constants of an operator, one behind the other, equal ones once."""

    def __init__(self):
        self._content = bytearray()
        self._places: dict[tuple[bytes, int], int] = {}

    def add(self, values: np.ndarray, type: str) -> int:
        """The address of an array."""
        stored = np.ascontiguousarray(values, np.dtype(type).newbyteorder("<"))
        key = stored.tobytes(), stored.itemsize
        if key not in self._places:
            self._content += bytes(-len(self._content) % 4)
            self._places[key] = len(self._content)
            self._content += key[0]
        return (CONSTANT << OFFSET_BITS) + self._places[key]

    def array(self) -> np.ndarray:
        """All of them as bytes."""
        return np.frombuffer(bytes(self._content + bytes(-len(self._content) % 4)), np.uint8)


class Encoding:
    """What the instructions of a run share.

    Args:
        place: gives the address of a tensor that is computed, by its name.
        sums: gives the address of a step's scratch array, by the name of its output.
    """

    def __init__(self, place: Callable[[str], int], sums: Callable[[str], int]):
        self.constants = Constants()
        self.place = place
        self.sums = sums

    def encode(self, operation: Operation) -> Instruction:
        """The instruction of an operation that `can_encode`."""
        return _ENCODERS[type(operation)](operation, self)

    def operand(self, tensor: Tensor, shape: tuple[int, ...]) -> int:
        """The address of a tensor of a joining operation; of a constant, in the shape of the result."""
        if tensor.data is None:
            return self.place(tensor.name)
        return self.constants.add(np.broadcast_to(tensor.data, shape), tensor.type)


def can_encode(operation: Operation, program: Program) -> bool:
    """Whether there is an instruction for an operation as it is.

    Raises:
        NotImplementedError: a step of a DSS layer or a bank of modes in a form that the C kernel leaves out.
    """
    if isinstance(operation, Step):
        check = check_supported if isinstance(operation, DiagonalStep) else check_modal_step
        check(operation)
        return True
    states = {end.name for state in program.states for end in (state.before, state.after)}
    if type(operation) not in _ENCODERS or any(tensor.name in states for tensor in operation.tensors()):
        return False
    if any(tensor.type not in BYTES or not _is_small(tensor) for tensor in operation.tensors()):
        return False
    output = operation.result
    match operation:
        case Affine():
            return _rounds(operation.accumulator_scale, output) and operation.input.shape == output.shape
        case Requantize():
            return operation.is_copy or _rounds(operation.input.scale, output)
        case Add():
            return _rounds(operation.accumulator_scale, output) and _joins(operation)
        case Multiply() | Maximum() | Minimum():
            return output.type == "int32" and _joins(operation)
    return True


def _is_small(tensor: Tensor) -> bool:
    """Whether the numbers of an instruction have room for a tensor's sizes."""
    return math.prod(tensor.shape) <= MOST_COUNT and max(tensor.shape, default=1) <= MOST_SIZE


def _rounds(scale: float, output: Tensor) -> bool:
    """Whether a sum of this scale can be brought to the output: int32 sums stay as they are."""
    if output.type != "int32":
        return True
    return not output.zero_point and fixed_point.rescale_multiplier(scale, output.scale) == fixed_point.UNIT


def _joins(operation: Add | Multiply | Maximum | Minimum) -> bool:
    """Whether element i of the output comes of elements i, or of constants that are stored so."""
    return all(
        tensor.data is not None or tensor.shape == operation.output.shape for tensor in (operation.a, operation.b)
    )


def _affine(operation: Affine, encoding: Encoding) -> Instruction:
    x, gain = operation.input, operation.gain.data.astype(np.int64)
    offset = (operation.offset.data.astype(np.int64) - x.zero_point * gain).astype(np.int32)
    return Instruction(
        Code.AFFINE,
        inner=gain.size,
        constants=(encoding.constants.add(gain, "int32"), encoding.constants.add(offset, "int32")),
        **_ends(operation, encoding),
        **_scaling(operation.accumulator_scale, operation.output),
    )


def _lookup(operation: Lookup, encoding: Encoding) -> Instruction:
    table = encoding.constants.add(operation.table.data, "int8")
    return Instruction(Code.LOOKUP, constants=(table,), **_ends(operation, encoding))


def _dense(operation: FullyConnected, encoding: Encoding) -> Instruction:
    weights = operation.weights.data
    kernel = choose_kernel(operation, packs=False)
    constants = encoding.constants.add(weights, "int8"), encoding.constants.add(whole_bias(operation), "int32")
    return Instruction(
        Code.DENSE,
        inner=weights.shape[1],
        outer=weights.shape[0],
        type_b=int(kernel.fast),
        constants=constants,
        mantissa=kernel.mantissa,
        shift=kernel.shift,
        zero_point=operation.output.zero_point,
        **_ends(operation, encoding),
    )


def _multiply(operation: Multiply, encoding: Encoding) -> Instruction:
    return Instruction(Code.MULTIPLY, **_both(operation, encoding), **_zero_points(operation))


def _extremum(operation: Maximum | Minimum, encoding: Encoding) -> Instruction:
    code = Code.MAXIMUM if isinstance(operation, Maximum) else Code.MINIMUM
    return Instruction(code, **_both(operation, encoding), **_zero_points(operation))


def _add(operation: Add, encoding: Encoding) -> Instruction:
    a, b = operation.a, operation.b
    offset = -(a.zero_point * operation.gain_a + b.zero_point * operation.gain_b)
    return Instruction(
        Code.ADD,
        gain_a=operation.gain_a,
        gain_b=operation.gain_b,
        offset=offset,
        **_both(operation, encoding),
        **_scaling(operation.accumulator_scale, operation.output),
    )


def _requantize(operation: Requantize, encoding: Encoding) -> Instruction:
    """A sum with nothing."""
    x, address = operation.input, encoding.place(operation.input.name)
    return Instruction(
        Code.ADD,
        gain_a=1,
        offset=-x.zero_point,
        type_b=BYTES[x.type],
        b=address,
        **_ends(operation, encoding),
        **_scaling(x.scale, operation.output),
    )


def _squash(operation: Squash, encoding: Encoding) -> Instruction:
    sigmoid.check_scales(operation.input, operation.output)
    return Instruction(
        {"sigmoid": Code.SIGMOID, "tanh": Code.TANH}[operation.function],
        gain_a=3 << sigmoid.INPUT_SCALES.index(operation.input.scale),
        constants=(encoding.constants.add(sigmoid.sigmoid_table(), "uint16"),),
        **_ends(operation, encoding),
    )


def _interpolate(operation: Interpolate, encoding: Encoding) -> Instruction:
    slope, x, output = operation.slope, operation.input, operation.output
    multiplier = fixed_point.product_multiplier(slope.scale, x.scale, output.scale)
    arrays = encoding.constants.add(slope.data, "int8"), encoding.constants.add(operation.offset.data, "int16")
    return Instruction(
        Code.LINES,
        inner=16 - (slope.data.size.bit_length() - 1),
        constants=arrays,
        gain_a=operation.offset_gain,
        mantissa=fixed_point.reduced_mantissa(multiplier.mantissa),
        shift=15 - int(multiplier.shift),
        **_ends(operation, encoding),
    )


def _diagonal(operation: DiagonalStep, encoding: Encoding) -> Instruction:
    _, modes, channels = operation.state.shape
    scales = np.broadcast_to(operation.readout.scale, (channels,))
    partial = fixed_point.product_multiplier(operation.hidden.scale, scales, operation.partial.scale)
    add = encoding.constants.add
    return Instruction(
        Code.DIAGONAL,
        inner=modes,
        outer=channels,
        b=encoding.place(operation.next_state.name),
        constants=(
            add(mode_words(operation), "int32"),
            add(fixed_point.reduced_mantissa(partial.mantissa), "int32"),
            add(15 - np.asarray(partial.shift), "uint8"),
            add(operation.feedthrough.data, "int32"),
            encoding.sums(operation.output.name),
        ),
        gain_a=operation.partial_gain,
        gain_b=int(form_of(operation)),
        **_ends(operation, encoding),
        **_scaling(operation.accumulator_scale, operation.output),
    )


def _modal(operation: ModalStep, encoding: Encoding) -> Instruction:
    return Instruction(
        Code.MODAL,
        inner=operation.state.shape[1],
        outer=operation.feedback,
        b=encoding.place(operation.next_state.name),
        constants=(encoding.constants.add(modal_words(operation), "int32"),),
        gain_b=int(operation.limit > 0),
        **_ends(operation, encoding),
    )


_ENCODERS: dict[type, Callable[..., Instruction]] = {
    Add: _add,
    Affine: _affine,
    DiagonalStep: _diagonal,
    FullyConnected: _dense,
    Interpolate: _interpolate,
    Lookup: _lookup,
    Maximum: _extremum,
    Minimum: _extremum,
    ModalStep: _modal,
    Multiply: _multiply,
    Requantize: _requantize,
    Squash: _squash,
}


def _ends(operation: Operation, encoding: Encoding) -> dict[str, int]:
    """Where the input and the output are, and what they hold."""
    x, output = operation.input, operation.output
    return {
        "a": encoding.place(x.name),
        "type_a": BYTES[x.type],
        "out": encoding.place(output.name),
        "type_out": BYTES[output.type],
        "count": math.prod(output.shape),
    }


def _both(operation: Add | Multiply | Maximum | Minimum, encoding: Encoding) -> dict[str, int]:
    """The same of two inputs."""
    a, b, output = operation.a, operation.b, operation.output
    return {
        "a": encoding.operand(a, output.shape),
        "type_a": BYTES[a.type],
        "b": encoding.operand(b, output.shape),
        "type_b": BYTES[b.type],
        "out": encoding.place(output.name),
        "type_out": BYTES[output.type],
        "count": math.prod(output.shape),
    }


def _zero_points(operation: Multiply | Maximum | Minimum) -> dict[str, int]:
    return {"gain_a": operation.a.zero_point, "gain_b": operation.b.zero_point}


def _scaling(scale: float, output: Tensor) -> dict[str, int]:
    """How a sum of this scale becomes the output; int32 needs nothing."""
    if output.type == "int32":
        return {}
    multiplier = fixed_point.rescale_multiplier(scale, output.scale)
    return {
        "mantissa": int(multiplier.mantissa),
        "shift": int(multiplier.shift),
        "zero_point": output.zero_point,
    }
