"""Writes an integer program as a `.tflite` of built-in operators for TensorFlow Lite Micro, without TensorFlow.

How operations become operators:

- Arithmetic between layers is int32 CAST, MUL and ADD, which are exact everywhere; QUANTIZE rounds the result. QUANTIZE
  needs a scale on its int32 input and ADD refuses one, so the *last* int32 operator before a QUANTIZE writes a tensor
  that carries the accumulator's scale, and its zero point absorbs constant offsets. Where there is no such operator,
  RESHAPE copies the integers into a tensor that carries it.
- States are explicit inputs and outputs, int32 without scale: `inputs = program.inputs + states before` and
  `outputs = program.outputs + states after`. The caller copies the latter back.
- The readout of a DSS layer is one DEPTHWISE_CONV_2D: the hidden state `[1, 2, N, H]` is an image of 2 x N pixels. The
  rotation multiplies the state with its two rows swapped (REVERSE_V2) by minus and plus the same constants.
- A table is GATHER with the int8 value plus 128 as its index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.tflite import fixed_point
from keras_s4.tflite.flatbuffer_reader import Summary, TensorSummary, check_tflite, read_summary
from keras_s4.tflite.flatbuffer_writer import ModelWriter, Quantization
from keras_s4.tflite.operators import TENSOR_TYPES
from keras_s4.tflite.program import (
    Accumulate,
    Add,
    Affine,
    DiagonalStep,
    FullyConnected,
    Lookup,
    Multiply,
    Program,
    Requantize,
    Tensor,
    reads,
)

__all__ = ["Summary", "TensorSummary", "check_tflite", "read_summary", "to_tflite"]


def to_tflite(program: Program) -> bytes:
    """Write a program as a `.tflite` file; the same program gives the same bytes.

    Args:
        program: the integer program.

    Returns:
        The file's bytes.

    Raises:
        ValueError: when the program is inconsistent (see `Program.check`), or needs an operator with types that do not
            run on TensorFlow Lite Micro.
    """
    program.check()
    return _Expansion(program).write()


class _Expansion:
    """Expands operations into operators; tensors of the file are known by their index in the writer."""

    def __init__(self, program: Program):
        self.program = program
        self.writer = ModelWriter()
        self.index: dict[str, int] = {}
        self.derived: dict[tuple[str, int], int] = {}
        self.rescaled_only = _rescaled_only(program)

    def write(self) -> bytes:
        inputs = [*self.program.inputs, *(state.before for state in self.program.states)]
        # Four axes, as convolutions give them: what is added to a state then never has another shape than the state.
        shapes = [
            (1,) * (4 - len(tensor.shape)) + tensor.shape if tensor.type == "int32" else None for tensor in inputs
        ]
        ends = [self.declare(tensor, shape, tensor.name) for tensor, shape in zip(inputs, shapes, strict=True)]
        expansions: dict[type, Callable] = {
            FullyConnected: self.fully_connected,
            Affine: self.affine,
            DiagonalStep: self.diagonal_step,
            Lookup: self.lookup,
            Multiply: self.multiply,
            Add: self.add,
            Accumulate: self.accumulate,
            Requantize: self.requantize,
        }
        for operation in self.program.operations:
            expansions[type(operation)](operation)
        outputs: list[int] = []
        for tensor in [*self.program.outputs, *(state.after for state in self.program.states)]:
            index = self.index[tensor.name]
            # Two ends of the model must not be one tensor.
            outputs.append(self.copy(index) if index in ends or index in outputs else index)
        return self.writer.finish(ends, outputs)

    def shape(self, index: int) -> tuple[int, ...]:
        return self.writer.tensors[index].shape

    def type(self, index: int) -> str:
        return self.writer.tensors[index].type

    def declare(self, tensor: Tensor, shape: Sequence[int] | None = None, name: str = "") -> int:
        """The tensor of the file for a tensor of the program; int32 carries no scale."""
        quantization = None if tensor.type == "int32" else _quantization(tensor)
        keep = {end.name for end in (*self.program.outputs, *(state.after for state in self.program.states))}
        name = name or (tensor.name if tensor.name in keep else "")
        self.index[tensor.name] = self.writer.tensor(shape or (1, *tensor.shape), tensor.type, quantization, name=name)
        return self.index[tensor.name]

    def constant(self, data: np.ndarray, shape: Sequence[int], type: str = "int32") -> int:
        return self.writer.tensor(shape, type, data=np.asarray(data).reshape(shape))

    def integers(self, shape: Sequence[int], tag: Quantization | None = None) -> int:
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
        return self.binary("ADD", index, self.constant(np.array([value]), (1,)))

    def times(self, index: int, factor: int) -> int:
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

    def fully_connected(self, operation: FullyConnected) -> None:
        input, weights, output = operation.input, operation.weights, operation.output
        scale_bias = float(np.float32(input.scale) * np.float32(weights.scale))
        filter = self.writer.tensor(weights.shape, weights.type, _quantization(weights), weights.data)
        bias = self.writer.tensor(
            operation.bias.shape,
            "int32" if input.type == "int8" else "int64",
            Quantization((scale_bias,)),
            operation.bias.data,
        )
        self.writer.operator("FULLY_CONNECTED", [self.index[input.name], filter, bias], self.declare(output))

    def affine(self, operation: Affine) -> None:
        input, gain = operation.input, operation.gain.data.astype(np.int64)
        offset = operation.offset.data - input.zero_point * gain
        x = self.plain(input)
        shape = self.shape(x)
        uniform = bool(np.all(offset == offset[0]))

        def write(output: int) -> int:
            if np.all(gain == 1) and uniform:
                return self.cast(self.index[input.name], output) if input.type != "int32" else self.retag(x, output)
            if np.all(gain == 1):
                return self.binary("ADD", x, self.constant(offset, shape), output)
            factor = self.constant(gain, shape)
            if uniform:
                return self.binary("MUL", x, factor, output)
            return self.binary("ADD", self.binary("MUL", x, factor), self.constant(offset, shape), output)

        zero_point = -int(offset[0]) if uniform else 0
        self.round_to(operation.output, operation.accumulator_scale, zero_point, shape, write)

    def retag(self, index: int, output: int) -> int:
        return self.writer.operator("RESHAPE", [index], output, new_shape=self.shape(index))

    def diagonal_step(self, operation: DiagonalStep) -> None:
        step, shape = operation, (1, *operation.state.shape)
        channels = shape[-1]
        u, state = self.plain(step.input), self.index[step.state.name]
        hidden = self.declare(step.hidden, shape)
        self.writer.operator("QUANTIZE", [self.copy(state, Quantization((float(step.state.scale),)))], hidden)
        readout = self.writer.tensor(shape, "int8", _quantization(step.readout, 3), step.readout.data.reshape(shape))
        bias = self.constant(np.zeros(channels), (channels,), "int64")
        partial = self.declare(step.partial, (1, 1, 1, channels))
        self.writer.operator("DEPTHWISE_CONV_2D", [hidden, readout, bias], partial)
        self._next_state(step, u, state)

        def write(output: int) -> int:
            total = self.plain(step.partial)
            gain = self.constant(np.array([step.partial_gain]), (1,))
            if not np.any(step.feedthrough.data):
                return self.retag(total, output) if step.partial_gain == 1 else self.binary("MUL", total, gain, output)
            direct = self.binary("MUL", u, self.constant(step.feedthrough.data, (1, channels)))
            total = total if step.partial_gain == 1 else self.binary("MUL", total, gain)
            return self.binary("ADD", total, direct, output)

        self.round_to(step.output, step.accumulator_scale, 0, (1, 1, 1, channels), write)

    def _next_state(self, step: DiagonalStep, u: int, state: int) -> None:
        """Add the three terms to the state, in the emulator's order, with as few int32 arrays alive as possible."""
        shape, flat = (1, *step.state.shape), (1, 1, *step.decay.shape)
        rotation = step.rotation.data
        terms = []
        if np.any(step.input_gain.data):
            terms.append(lambda: self.binary("MUL", u, self.constant(step.input_gain.data, shape)))
        terms.append(lambda: self.binary("MUL", self.wide(step.hidden), self.constant(step.decay.data, flat)))
        if np.any(rotation):
            signed = np.stack([-rotation, rotation])
            terms.append(lambda: self.binary("MUL", self.swapped(step.hidden), self.constant(signed, shape)))
        total = state
        for position, term in enumerate(terms):
            output = self.declare(step.next_state) if position == len(terms) - 1 else None
            total = self.binary("ADD", total, term(), output)

    def wide(self, tensor: Tensor) -> int:
        return self.cast(self.index[tensor.name], self.integers(self.shape(self.index[tensor.name])))

    def swapped(self, hidden: Tensor) -> int:
        """The two rows of the hidden state swapped, then widened to int32: in this order it takes less memory."""
        index = self.index[hidden.name]
        axis = self.constant(np.array([1]), (1,))
        record = self.writer.tensors[index]
        swapped = self.writer.tensor(record.shape, record.type, record.quantization)
        return self.cast(self.writer.operator("REVERSE_V2", [index, axis], swapped), self.integers(record.shape))

    def lookup(self, operation: Lookup) -> None:
        input, output = operation.input, operation.output
        position = self.once("position", input, lambda: self.offset(self.plain(input), 128))
        table = self.writer.tensor((256,), "int8", _quantization(output), operation.table.data)
        self.writer.operator("GATHER", [table, position], self.declare(output, self.shape(position)))

    def multiply(self, operation: Multiply) -> None:
        a, b, output = self.centred(operation.a), self.centred(operation.b), operation.output
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        if output.name in self.rescaled_only:
            self.index[output.name] = self.integers(shape, Quantization((float(output.scale),)))
        else:
            self.declare(output, shape)
        self.binary("MUL", a, b, self.index[output.name])

    def add(self, operation: Add) -> None:
        a, b = (
            self.times(self.plain(operation.a), operation.gain_a),
            self.times(self.plain(operation.b), operation.gain_b),
        )
        zero_point = operation.a.zero_point * operation.gain_a + operation.b.zero_point * operation.gain_b
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        self.round_to(
            operation.output,
            operation.accumulator_scale,
            zero_point,
            shape,
            lambda output: self.binary("ADD", a, b, output),
        )

    def accumulate(self, operation: Accumulate) -> None:
        state = self.index[operation.state.name]
        self.binary("ADD", state, self.centred(operation.input), self.declare(operation.next_state, self.shape(state)))

    def requantize(self, operation: Requantize) -> None:
        input, output = operation.input, operation.output
        index = self.index[input.name]
        unit = fixed_point.rescale_multiplier(input.scale, output.scale) == fixed_point.quantize_multiplier(1.0)
        if unit and (input.type, input.zero_point) == (output.type, output.zero_point):
            self.index[output.name] = index
        elif output.type == "int32":
            self.round_to(output, input.scale, 0, self.shape(index), lambda to: self.retag(self.centred(input), to))
        elif (input.type, output.type) != ("int8", "int16"):
            tagged = self.writer.tensors[index].quantization is not None
            source = index if tagged else self.copy(index, Quantization((float(input.scale),)))
            self.writer.operator("QUANTIZE", [source], self.declare(output, self.shape(index)))
        elif unit and not input.zero_point:
            self.cast(index, self.declare(output, self.shape(index)))
        else:
            # TensorFlow's interpreter has no QUANTIZE from int8 to int16.
            self.round_to(output, input.scale, input.zero_point, self.shape(index), lambda to: self.cast(index, to))


def _quantization(tensor: Tensor, dimension: int = 0) -> Quantization:
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
