"""The file under construction: what the expansions of all operations share, and which function expands which."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from keras_s4.tflite.flatbuffer.operators.table import LARGEST_CONCATENATION, TENSOR_TYPES
from keras_s4.tflite.flatbuffer.writer import ModelWriter, Quantization
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.operations import Operation, Requantize
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor

Expand = Callable[[Operation, "Expansion"], None]
EXPANSIONS: dict[type, Expand] = {}
# Values of a tensor up to which a constant is stored for each of them.
_FEW = 32


def expands(*operations: type) -> Callable[[Expand], Expand]:
    """Decorator: this function writes operations of these classes; it gets the operation and the expansion."""

    def add(function: Expand) -> Expand:
        EXPANSIONS.update(dict.fromkeys(operations, function))
        return function

    return add


class Expansion:
    """Expands operations into operators; tensors of the file are known by their index in the writer.

    Args:
        program: the integer program.
        variables: whether the states are resource variables, not inputs and outputs.
        others: functions that write operations of some classes in another way than the registered ones.
        state_shapes: shapes with a batch axis, by the name of either end, of the states that these keep in another one.

    Attributes:
        index: number of the file's tensor that holds a tensor of the program, by name.
        rescaled_only: names of the int32 tensors that nothing but `Requantize` reads.
        state_ends: names of the states before and after a step, which carry no scale; a file's inputs without one are
            states.
    """

    def __init__(
        self,
        program: Program,
        variables: bool,
        others: Mapping[type, Expand],
        state_shapes: Mapping[str, tuple[int, ...]],
    ):
        self.program = program
        self._expansions = EXPANSIONS | dict(others)
        self._state_shapes = state_shapes
        self._explicit_states = () if variables else program.states
        self.writer = ModelWriter()
        self.index: dict[str, int] = {}
        self.derived: dict[tuple[str, int], int] = {}
        self.rescaled_only = _rescaled_only(program)
        self.state_ends = {end.name for state in program.states for end in (state.before, state.after)}
        inputs = [*program.inputs, *(state.before for state in self._explicit_states)]
        self._inputs = [self.declare(tensor, self.shape_of_end(tensor), tensor.name) for tensor in inputs]

    def expand(self, operation: Operation) -> None:
        """Write the operators of an operation."""
        self._expansions[type(operation)](operation, self)

    def finish(self) -> bytes:
        """The bytes of the file, once all operations are expanded."""
        outputs: list[int] = []
        for tensor in [*self.program.outputs, *(state.after for state in self._explicit_states)]:
            index = self.index[tensor.name]
            # Two ends of the model must not be one tensor.
            outputs.append(self.copy(index) if index in self._inputs or index in outputs else index)
        return self.writer.finish(self._inputs, outputs)

    def shape_of(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor of the file."""
        return self.writer.tensors[index].shape

    def type_of(self, index: int) -> str:
        """The type of a tensor of the file."""
        return self.writer.tensors[index].type

    def shape_of_end(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of an input or a state in the file.

        States of int32 have four axes, as convolutions give them: what is added to one then never has another shape.
        """
        if tensor.name in self._state_shapes:
            return self._state_shapes[tensor.name]
        four = tensor.type == "int32" and tensor.name in self.state_ends
        return (1,) * max(1, 4 - len(tensor.shape) if four else 1) + tensor.shape

    def declare(self, tensor: Tensor, shape: Sequence[int] | None = None, name: str = "") -> int:
        """The tensor of the file for a tensor of the program; ends of states, and int32 but inputs, carry no scale."""
        plain = tensor.name in self.state_ends or (tensor.type == "int32" and tensor not in self.program.inputs)
        scale = None if plain else quantization_of(tensor)
        keep = {end.name for end in (*self.program.outputs, *(state.after for state in self._explicit_states))}
        name = name or (tensor.name if tensor.name in keep else "")
        self.index[tensor.name] = self.writer.tensor(shape or (1, *tensor.shape), tensor.type, scale, name=name)
        return self.index[tensor.name]

    def new_constant(self, data: np.ndarray, shape: Sequence[int], type: str = "int32") -> int:
        """A new constant without scale."""
        return self.writer.tensor(shape, type, data=np.asarray(data).reshape(shape))

    def new_integers(self, shape: Sequence[int], tag: Quantization | None = None) -> int:
        """A new int32 tensor, without scale unless `tag` gives one."""
        return self.writer.tensor(shape, "int32", tag)

    def derive_once(self, kind: str, tensor: Tensor, build: Callable[[], int]) -> int:
        """What was derived from a tensor before is not computed again."""
        key = kind, self.index[tensor.name]
        if key not in self.derived:
            self.derived[key] = build()
        return self.derived[key]

    def combine(self, operator: str, a: int, b: int, output: int | None = None) -> int:
        """int32 ADD or MUL into `output`, or into a new tensor without scale."""
        if output is None:
            output = self.new_integers(np.broadcast_shapes(self.shape_of(a), self.shape_of(b)))
        return self.writer.operator(operator, [a, b], output)

    def cast(self, index: int, output: int) -> int:
        """The same integers in the type of `output`."""
        types = TENSOR_TYPES[self.type_of(index)], TENSOR_TYPES[self.type_of(output)]
        return self.writer.operator("CAST", [index], output, input_type=types[0], output_type=types[1])

    def copy(self, index: int, tag: Quantization | None = None) -> int:
        """The same integers in another tensor, with another scale when `tag` is given."""
        record = self.writer.tensors[index]
        output = self.writer.tensor(record.shape, record.type, tag or record.quantization)
        return self.writer.operator("RESHAPE", [index], output, new_shape=record.shape)

    def reshape(self, index: int, shape: Sequence[int], output: int | None = None) -> int:
        """The same integers in another shape, in `output` or in a new tensor of the same scale."""
        record = self.writer.tensors[index]
        if output is None:
            output = self.writer.tensor(shape, record.type, record.quantization)
        return self.writer.operator("RESHAPE", [index], output, new_shape=tuple(shape))

    def restore_shape(self, tensor: Tensor) -> int:
        """The tensor in its own shape behind a batch axis, whatever axes of size 1 the file's tensor has."""
        index, shape = self.index[tensor.name], (1, *tensor.shape)
        return index if self.shape_of(index) == shape else self.reshape(index, shape)

    def write_in_shape(self, output: Tensor, shape: Sequence[int], write: Callable[[int], object]) -> None:
        """Let `write` compute the output in another shape, in which an operator wants it.

        Several axes then get the shape that whoever reads them expects.
        """
        if len(output.shape) == 1:
            write(self.declare(output, shape))
            return
        computed = self.writer.tensor(shape, output.type, quantization_of(output))
        write(computed)
        self.reshape(computed, (1, *output.shape), self.declare(output))

    def slice(
        self, index: int, begin: Sequence[int], strides: Sequence[int], output: int, end: Sequence[int] | None = None
    ) -> int:
        """Every so many elements along each axis, from `begin` to before `end`, by default the last."""
        ends = (begin, end or self.shape_of(index), strides)
        ends = [self.new_constant(np.array(values), (len(begin),)) for values in ends]
        return self.writer.operator("STRIDED_SLICE", [index, *ends], output)

    def concatenate(self, parts: list[int], axis: int, output: int | None = None) -> int:
        """Tensors joined along an axis, in `output` or in a new tensor of the same scale.

        More of them than the operator takes are joined in groups first.
        """
        if len(parts) == 1 and output is None:
            return parts[0]
        if len(parts) > LARGEST_CONCATENATION:
            group, parts = parts[:LARGEST_CONCATENATION], parts[LARGEST_CONCATENATION:]
            return self.concatenate([self.concatenate(group, axis), *parts], axis, output)
        if output is None:
            record = self.writer.tensors[parts[0]]
            size = sum(self.shape_of(index)[axis] for index in parts)
            shape = (*record.shape[:axis], size, *record.shape[axis + 1 :])
            output = self.writer.tensor(shape, record.type, record.quantization)
        return self.writer.operator("CONCATENATION", parts, output, axis=axis)

    def widen(self, tensor: Tensor) -> int:
        """The stored integers in int32."""
        index = self.index[tensor.name]
        if tensor.type == "int32":
            return index
        return self.derive_once("plain", tensor, lambda: self.cast(index, self.new_integers(self.shape_of(index))))

    def centre(self, tensor: Tensor) -> int:
        """The stored integers less their zero point, in int32."""
        if not tensor.zero_point:
            return self.widen(tensor)
        return self.derive_once("centred", tensor, lambda: self.add_constant(self.widen(tensor), -tensor.zero_point))

    def add_constant(self, index: int, value: int) -> int:
        """The integers plus a constant."""
        return self.combine("ADD", index, self.uniform(value, index))

    def multiply_by(self, index: int, factor: int) -> int:
        """The integers times a constant."""
        return index if factor == 1 else self.combine("MUL", index, self.uniform(factor, index))

    def uniform(self, value: int, index: int) -> int:
        """A constant of one value for all of a tensor: where few, stored for each, which kernels are quicker with."""
        shape = self.shape_of(index) if math.prod(self.shape_of(index)) <= _FEW else (1,)
        return self.new_constant(np.full(shape, value), shape)

    def round_to(
        self, output: Tensor, scale: float, zero_point: int, shape: Sequence[int], write: Callable[[int], int]
    ):
        """Let `write` compute an accumulator of this scale and zero point, and round it to `output`."""
        if output.type != "int32":
            tagged = write(self.new_integers(shape, Quantization((float(scale),), zero_point)))
            self.writer.operator("QUANTIZE", [tagged], self.declare(output, shape))
            return
        if fixed_point.rescale_multiplier(scale, output.scale) != fixed_point.UNIT:
            raise ValueError(
                f"{output.name!r} is int32 with scale {output.scale}, and its accumulator has scale {scale}; no "
                "operator rounds int32 to int32. Give both the same scale, or make the tensor int16."
            )
        if zero_point:
            constant = self.new_constant(np.array([-zero_point]), (1,))
            self.combine("ADD", write(self.new_integers(shape)), constant, self.declare(output, shape))
        else:
            write(self.declare(output, shape))

    def retag(self, index: int, output: int) -> int:
        """The same integers in `output`, which may carry another scale."""
        return self.writer.operator("RESHAPE", [index], output, new_shape=self.shape_of(index))


def quantization_of(tensor: Tensor, dimension: int = 0) -> Quantization:
    """What the file says of a tensor's scale; of a constant with several, `dimension` is their axis."""
    scales = np.atleast_1d(np.asarray(tensor.scale, np.float64))
    return Quantization(tuple(float(scale) for scale in scales), tensor.zero_point, dimension)


def _rescaled_only(program: Program) -> set[str]:
    """The int32 tensors that nothing but `Requantize` reads: they may carry their scale from the start."""
    ends = {tensor.name for tensor in program.outputs} | {state.after.name for state in program.states}
    others = {
        t.name for operation in program.operations if not isinstance(operation, Requantize) for t in operation.reads()
    }
    rescaled = {operation.input.name for operation in program.operations if isinstance(operation, Requantize)}
    return rescaled - others - ends
