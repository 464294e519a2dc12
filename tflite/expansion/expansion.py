"""The file under construction: what the expansions of all operations share, and which function expands which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.tflite import fixed_point
from keras_s4.tflite.flatbuffer_writer import ModelWriter, Quantization
from keras_s4.tflite.operators import TENSOR_TYPES
from keras_s4.tflite.program import Operation, Program, Requantize, Tensor, reads

Expand = Callable[[Operation, "Expansion"], None]
_EXPANSIONS: dict[type, Expand] = {}


def expands(*operations: type) -> Callable[[Expand], Expand]:
    """Decorator: this function writes operations of these classes; it gets the operation and the expansion."""

    def add(function: Expand) -> Expand:
        _EXPANSIONS.update(dict.fromkeys(operations, function))
        return function

    return add


class Expansion:
    """Expands operations into operators; tensors of the file are known by their index in the writer.

    Args:
        program: the integer program.

    Attributes:
        index: of the tensor of the file that holds a tensor of the program, by name.
        rescaled_only: names of the int32 tensors that nothing but `Requantize` reads.
    """

    def __init__(self, program: Program):
        self.program = program
        self.writer = ModelWriter()
        self.index: dict[str, int] = {}
        self.derived: dict[tuple[str, int], int] = {}
        self.rescaled_only = _rescaled_only(program)

    def write(self) -> bytes:
        """The bytes of the file."""
        inputs = [*self.program.inputs, *(state.before for state in self.program.states)]
        # Four axes, as convolutions give them: what is added to a state then never has another shape than the state.
        shapes = [
            (1,) * (4 - len(tensor.shape)) + tensor.shape if tensor.type == "int32" else None for tensor in inputs
        ]
        ends = [self.declare(tensor, shape, tensor.name) for tensor, shape in zip(inputs, shapes, strict=True)]
        for operation in self.program.operations:
            _EXPANSIONS[type(operation)](operation, self)
        outputs: list[int] = []
        for tensor in [*self.program.outputs, *(state.after for state in self.program.states)]:
            index = self.index[tensor.name]
            # Two ends of the model must not be one tensor.
            outputs.append(self.copy(index) if index in ends or index in outputs else index)
        return self.writer.finish(ends, outputs)

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor of the file."""
        return self.writer.tensors[index].shape

    def type(self, index: int) -> str:
        """The type of a tensor of the file."""
        return self.writer.tensors[index].type

    def declare(self, tensor: Tensor, shape: Sequence[int] | None = None, name: str = "") -> int:
        """The tensor of the file for a tensor of the program; int32 carries no scale."""
        scale = None if tensor.type == "int32" else quantization(tensor)
        keep = {end.name for end in (*self.program.outputs, *(state.after for state in self.program.states))}
        name = name or (tensor.name if tensor.name in keep else "")
        self.index[tensor.name] = self.writer.tensor(shape or (1, *tensor.shape), tensor.type, scale, name=name)
        return self.index[tensor.name]

    def constant(self, data: np.ndarray, shape: Sequence[int], type: str = "int32") -> int:
        """A new constant without scale."""
        return self.writer.tensor(shape, type, data=np.asarray(data).reshape(shape))

    def integers(self, shape: Sequence[int], tag: Quantization | None = None) -> int:
        """A new int32 tensor, without scale unless `tag` gives one."""
        return self.writer.tensor(shape, "int32", tag)

    def once(self, kind: str, tensor: Tensor, build: Callable[[], int]) -> int:
        """What was derived from a tensor before is not computed again."""
        key = kind, self.index[tensor.name]
        if key not in self.derived:
            self.derived[key] = build()
        return self.derived[key]

    def binary(self, operator: str, a: int, b: int, output: int | None = None) -> int:
        """int32 ADD or MUL into `output`, or into a new tensor without scale."""
        if output is None:
            output = self.integers(np.broadcast_shapes(self.shape(a), self.shape(b)))
        return self.writer.operator(operator, [a, b], output)

    def cast(self, index: int, output: int) -> int:
        """The same integers in the type of `output`."""
        types = TENSOR_TYPES[self.type(index)], TENSOR_TYPES[self.type(output)]
        return self.writer.operator("CAST", [index], output, input_type=types[0], output_type=types[1])

    def copy(self, index: int, tag: Quantization | None = None) -> int:
        """The same integers in another tensor, with another scale when `tag` is given."""
        record = self.writer.tensors[index]
        output = self.writer.tensor(record.shape, record.type, tag or record.quantization)
        return self.writer.operator("RESHAPE", [index], output, new_shape=record.shape)

    def plain(self, tensor: Tensor) -> int:
        """The stored integers in int32."""
        index = self.index[tensor.name]
        if tensor.type == "int32":
            return index
        return self.once("plain", tensor, lambda: self.cast(index, self.integers(self.shape(index))))

    def centred(self, tensor: Tensor) -> int:
        """The stored integers less their zero point, in int32."""
        if not tensor.zero_point:
            return self.plain(tensor)
        return self.once("centred", tensor, lambda: self.offset(self.plain(tensor), -tensor.zero_point))

    def offset(self, index: int, value: int) -> int:
        """The integers plus a constant."""
        return self.binary("ADD", index, self.constant(np.array([value]), (1,)))

    def times(self, index: int, factor: int) -> int:
        """The integers times a constant."""
        return index if factor == 1 else self.binary("MUL", index, self.constant(np.array([factor]), (1,)))

    def round_to(
        self, output: Tensor, scale: float, zero_point: int, shape: Sequence[int], write: Callable[[int], int]
    ):
        """Let `write` compute an accumulator of this scale and zero point, and round it to `output`."""
        if output.type != "int32":
            tagged = write(self.integers(shape, Quantization((float(scale),), zero_point)))
            self.writer.operator("QUANTIZE", [tagged], self.declare(output, shape))
            return
        if fixed_point.rescale_multiplier(scale, output.scale) != fixed_point.quantize_multiplier(1.0):
            raise ValueError(
                f"{output.name!r} is int32 with scale {output.scale}, and its accumulator has scale {scale}; no "
                "operator rounds int32 to int32. Give both the same scale, or make the tensor int16."
            )
        if zero_point:
            constant = self.constant(np.array([-zero_point]), (1,))
            self.binary("ADD", write(self.integers(shape)), constant, self.declare(output, shape))
        else:
            write(self.declare(output, shape))

    def retag(self, index: int, output: int) -> int:
        """The same integers in `output`, which may carry another scale."""
        return self.writer.operator("RESHAPE", [index], output, new_shape=self.shape(index))


def quantization(tensor: Tensor, dimension: int = 0) -> Quantization:
    """What the file says of a tensor's scale; of a constant with several, `dimension` is their axis."""
    scales = np.atleast_1d(np.asarray(tensor.scale, np.float64))
    return Quantization(tuple(float(scale) for scale in scales), tensor.zero_point, dimension)


def _rescaled_only(program: Program) -> set[str]:
    """The int32 tensors that nothing but `Requantize` reads: they may carry their scale from the start."""
    ends = {tensor.name for tensor in program.outputs} | {state.after.name for state in program.states}
    others = {
        t.name for operation in program.operations if not isinstance(operation, Requantize) for t in reads(operation)
    }
    rescaled = {operation.input.name for operation in program.operations if isinstance(operation, Requantize)}
    return rescaled - others - ends
