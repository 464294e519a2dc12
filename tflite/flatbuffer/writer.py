"""Writes a `.tflite` file from tensors and operators with the `flatbuffers` package; TensorFlow is not needed.

The file is small because everything that occurs twice is written once: constants, shapes, scales, options, lists of
indices. The numbers of tables' fields are those of TensorFlow Lite's `schema.fbs`.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping, Sequence

import flatbuffers
import numpy as np

from keras_s4.tflite.flatbuffer.constants import constant_bytes, constant_values
from keras_s4.tflite.flatbuffer.operators.operands import Operand
from keras_s4.tflite.flatbuffer.operators.options import FIELDS, NUMBERS, TEXT, Option, complete
from keras_s4.tflite.flatbuffer.operators.table import CUSTOM_BLOCK, TENSOR_TYPES, Operator, check_operator

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
# The description ends in a checksum of the whole file (with these digits as zeros), so that any flipped bit is noticed.
DESCRIPTION = "keras-s4 crc32 "
_PLACEHOLDER = "0" * 8


@dataclasses.dataclass(frozen=True)
class Quantization:
    """Scales (one, or one each channel along `dimension`) and the zero point of a tensor."""

    scales: tuple[float, ...]
    zero_point: int = 0
    dimension: int = 0


@dataclasses.dataclass(frozen=True)
class TensorRecord:
    """A tensor of the file; `buffer` is the index of its constant data, 0 for none."""

    shape: tuple[int, ...]
    type: str
    quantization: Quantization | None
    buffer: int
    name: str


@dataclasses.dataclass(frozen=True)
class OperatorRecord:
    """An operator of the file, with the indices of its tensors and the options of its kernel.

    A custom operator has no `options`, but bytes of its own as `custom_options`.
    """

    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[tuple[str, Option], ...]
    custom_options: bytes = b""


@dataclasses.dataclass(frozen=True)
class SubgraphRecord:
    """A subgraph of the file: its tensors and operators, and the indices of its inputs and outputs."""

    tensors: list[TensorRecord]
    operators: list[OperatorRecord]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class ModelWriter:
    """Collects tensors and operators in order, then writes them with `finish`."""

    def __init__(self):
        self.tensors: list[TensorRecord] = []
        self.operators: list[OperatorRecord] = []
        self._buffers: list[bytes] = [b""]
        self._constants: dict[TensorRecord, int] = {}
        self._subgraphs: list[ModelWriter] = []

    def subgraph(self) -> ModelWriter:
        """A writer of a further subgraph, without inputs and outputs, whose constants share the file's buffers.

        The first has the number 1: an operator of the main subgraph calls it by that.
        """
        writer = ModelWriter()
        writer._buffers = self._buffers
        self._subgraphs.append(writer)
        return writer

    def tensor(
        self,
        shape: Sequence[int],
        type: str,
        quantization: Quantization | None = None,
        data: np.ndarray | None = None,
        name: str = "",
    ) -> int:
        """Declare a tensor.

        Args:
            shape: the tensor's shape, the batch axis included.
            type: "int4", "int8", "uint8", "int16", "int32", "int64", or "resource" for the handle of a variable.
            quantization: None for plain integers.
            data: a constant's integers; equal constants share one tensor.
            name: a name where a firmware's author reads it: of inputs and outputs.

        Returns:
            The tensor's index.
        """
        if data is None:
            self.tensors.append(TensorRecord(tuple(shape), type, quantization, 0, name))
            return len(self.tensors) - 1
        stored = constant_bytes(data, type)
        if stored not in self._buffers:
            self._buffers.append(stored)
        record = TensorRecord(tuple(shape), type, quantization, self._buffers.index(stored), name)
        if record not in self._constants:
            self.tensors.append(record)
            self._constants[record] = len(self.tensors) - 1
        return self._constants[record]

    def operator(self, name: str, inputs: Sequence[int], output: int | None = None, **options: Option) -> int | None:
        """Append an operator; returns `output`, which is None for an operator that writes no tensor.

        Raises:
            ValueError: when the operator does not run on TensorFlow Lite Micro with these tensors and options.
        """
        outputs = () if output is None else (output,)
        row = self._check(name, inputs, outputs, options)
        every = tuple(complete(name, options).items())
        self.operators.append(OperatorRecord(row, tuple(inputs), outputs, every))
        return output

    def custom(self, inputs: Sequence[int], outputs: Sequence[int], options: bytes) -> None:
        """Append a KERAS_S4_BLOCK.

        Raises:
            ValueError: these tensors are not those of the operator.
        """
        row = self._check(CUSTOM_BLOCK.name, inputs, outputs, {})
        self.operators.append(OperatorRecord(row, tuple(inputs), tuple(outputs), (), options))

    def _check(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Mapping[str, Option]
    ) -> Operator:
        operands = [[self._operand(self.tensors[index]) for index in indices] for indices in (inputs, outputs)]
        return check_operator(name, *operands, options)

    def _operand(self, record: TensorRecord) -> Operand:
        stored, given = self._buffers[record.buffer], record.quantization
        data = constant_values(stored, record.type, record.shape) if record.buffer else None
        if given is None:
            return Operand(record.shape, record.type, data=data)
        zero_points = (given.zero_point,) * len(given.scales)
        return Operand(record.shape, record.type, given.scales, zero_points, given.dimension, data)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Write the file; the same calls give the same bytes."""
        subgraphs = [self._record(inputs, outputs), *(writer._record((), ()) for writer in self._subgraphs)]
        return serialize(subgraphs, self._buffers)

    def _record(self, inputs: Sequence[int], outputs: Sequence[int]) -> SubgraphRecord:
        """The subgraph with its tensors in the order in which they are written.

        TensorFlow Lite Micro's planner places tensors of equal size from the last index to the first, each at the
        lowest free address. In the order of their last use that is optimal; it saved a third of the memory.
        """
        last_use = {index: step for step, record in enumerate(self.operators) for index in record.inputs}
        last_use |= {index: len(self.operators) for index in outputs}
        order = sorted(range(len(self.tensors)), key=lambda index: (last_use.get(index, -1), index))
        place = {index: position for position, index in enumerate(order)}
        operators = [
            dataclasses.replace(
                record,
                inputs=tuple(place[index] for index in record.inputs),
                outputs=tuple(place[index] for index in record.outputs),
            )
            for record in self.operators
        ]
        ends = tuple(place[index] for index in inputs), tuple(place[index] for index in outputs)
        return SubgraphRecord([self.tensors[index] for index in order], operators, *ends)


def serialize(subgraphs: list[SubgraphRecord], buffers: list[bytes]) -> bytes:
    """The file of these subgraphs, whatever is in them, with its checksum; the first buffer is empty."""
    return _Serializer(buffers).model(subgraphs)


def checksum(data: bytes, start: int) -> str:
    """The eight digits that a file's description ends in, at `start`: CRC-32 with zeros in their place."""
    return f"{zlib.crc32(data[:start] + _PLACEHOLDER.encode() + data[start + 8 :]):08x}"


class _Serializer:
    """Writes records back to front, as flatbuffers are, and every distinct child once."""

    def __init__(self, buffers: list[bytes]):
        self.buffers = buffers
        self.builder = flatbuffers.Builder(1 << 16)
        self.written: dict[tuple, int] = {}

    def once(self, key: tuple, write: Callable[[], int]) -> int:
        if key not in self.written:
            self.written[key] = write()
        return self.written[key]

    def numbers(self, values: Sequence[int] | Sequence[float], type: str) -> int:
        array = np.asarray(values, np.dtype(type).newbyteorder("<"))
        return self.once((type, array.tobytes()), lambda: self.builder.CreateNumpyVector(array))

    def text(self, text: str) -> int:
        return self.once(("text", text), lambda: self.builder.CreateString(text))

    def offsets(self, children: Sequence[int]) -> int:
        self.builder.StartVector(4, len(children), 4)
        for child in reversed(children):
            self.builder.PrependUOffsetTRelative(child)
        return self.builder.EndVector()

    def table(self, slots: int, fields: Callable[[flatbuffers.Builder], None]) -> int:
        self.builder.StartObject(slots)
        fields(self.builder)
        return self.builder.EndObject()

    def buffer(self, data: bytes) -> int:
        if not data:
            return self.table(1, lambda builder: None)
        # Kernels read constants in place, and 16 bytes is what the schema demands.
        self.builder.StartVector(1, len(data), 16)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        vector = self.builder.EndVector()
        return self.table(1, lambda builder: builder.PrependUOffsetTRelativeSlot(0, vector, 0))

    def quantization(self, quantization: Quantization) -> int:
        scales = self.numbers(quantization.scales, "float32")
        zero_points = self.numbers([quantization.zero_point] * len(quantization.scales), "int64")

        def fields(builder: flatbuffers.Builder):
            builder.PrependUOffsetTRelativeSlot(2, scales, 0)
            builder.PrependUOffsetTRelativeSlot(3, zero_points, 0)
            builder.PrependInt32Slot(6, quantization.dimension, 0)

        return self.once(("quantization", quantization), lambda: self.table(7, fields))

    def tensor(self, record: TensorRecord) -> int:
        shape = self.numbers(record.shape, "int32")
        quantization = self.quantization(record.quantization) if record.quantization else 0
        name = self.text(record.name) if record.name else 0

        def fields(builder: flatbuffers.Builder):
            builder.PrependUOffsetTRelativeSlot(0, shape, 0)
            builder.PrependUint32Slot(2, record.buffer, 0)
            builder.PrependUOffsetTRelativeSlot(3, name, 0)
            builder.PrependUOffsetTRelativeSlot(4, quantization, 0)
            builder.PrependInt8Slot(1, TENSOR_TYPES[record.type], 0)

        return self.table(5, fields)

    def options(self, operator: Operator, options: Mapping[str, Option]) -> int:
        fields = FIELDS.get(operator.name, ())
        write = {TEXT: self.text, NUMBERS: lambda values: self.numbers(values, "int32")}
        children = {
            field.name: write[field.format](options[field.name])
            for field in fields
            if field.format in write and options[field.name]
        }

        def write_fields(builder: flatbuffers.Builder):
            # The larger entries first, so that none needs padding.
            for field in sorted(fields, key=lambda field: field.format in ("b", "?")):
                value = options[field.name]
                match field.format:
                    case "b":
                        builder.PrependInt8Slot(field.slot, value, field.default)
                    case "?":
                        builder.PrependBoolSlot(field.slot, bool(value), bool(field.default))
                    case "i":
                        builder.PrependInt32Slot(field.slot, value, field.default)
                    case _:
                        builder.PrependUOffsetTRelativeSlot(field.slot, children.get(field.name, 0), 0)

        return self.table(1 + max((field.slot for field in fields), default=-1), write_fields)

    def operator(self, record: OperatorRecord, codes: list[Operator]) -> int:
        inputs, outputs = self.numbers(record.inputs, "int32"), self.numbers(record.outputs, "int32")
        options = 0
        if record.operator.options:
            options = self.once(
                ("options", record.operator.name, record.options),
                lambda: self.options(record.operator, dict(record.options)),
            )
        custom_options = self.numbers(list(record.custom_options), "uint8") if record.custom_options else 0

        def fields(builder: flatbuffers.Builder):
            builder.PrependUint32Slot(0, [code.name for code in codes].index(record.operator.name), 0)
            builder.PrependUOffsetTRelativeSlot(1, inputs, 0)
            builder.PrependUOffsetTRelativeSlot(2, outputs, 0)
            builder.PrependUOffsetTRelativeSlot(4, options, 0)
            builder.PrependUOffsetTRelativeSlot(5, custom_options, 0)
            builder.PrependUint8Slot(3, record.operator.options, 0)

        return self.table(6 if custom_options else 5, fields)

    def operator_code(self, operator: Operator) -> int:
        custom_code = self.text(operator.name) if operator is CUSTOM_BLOCK else 0

        def fields(builder: flatbuffers.Builder):
            builder.PrependInt32Slot(2, operator.version, 1)
            builder.PrependInt32Slot(3, operator.code, 0)
            builder.PrependUOffsetTRelativeSlot(1, custom_code, 0)
            builder.PrependInt8Slot(0, min(operator.code, 127), 0)  # an older field; 127 sends readers to the newer

        return self.table(4, fields)

    def subgraph(self, record: SubgraphRecord, codes: list[Operator]) -> int:
        tensors = self.offsets([self.tensor(tensor) for tensor in record.tensors])
        operators = self.offsets([self.operator(operator, codes) for operator in record.operators])
        ends = self.numbers(record.inputs, "int32"), self.numbers(record.outputs, "int32")

        def fields(builder: flatbuffers.Builder):
            builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
            builder.PrependUOffsetTRelativeSlot(1, ends[0], 0)
            builder.PrependUOffsetTRelativeSlot(2, ends[1], 0)
            builder.PrependUOffsetTRelativeSlot(3, operators, 0)

        return self.table(5, fields)

    def model(self, records: list[SubgraphRecord]) -> bytes:
        codes = _codes_of(records)
        buffers = self.offsets([self.buffer(data) for data in self.buffers])
        subgraphs = self.offsets([self.subgraph(record, codes) for record in records])
        operator_codes = self.offsets([self.operator_code(operator) for operator in codes])
        description = self.builder.CreateString(DESCRIPTION + _PLACEHOLDER)

        def fields(builder: flatbuffers.Builder):
            builder.PrependUint32Slot(0, SCHEMA_VERSION, 0)
            builder.PrependUOffsetTRelativeSlot(1, operator_codes, 0)
            builder.PrependUOffsetTRelativeSlot(2, subgraphs, 0)
            builder.PrependUOffsetTRelativeSlot(3, description, 0)
            builder.PrependUOffsetTRelativeSlot(4, buffers, 0)

        self.builder.Finish(self.table(5, fields), IDENTIFIER)
        return _with_checksum(bytes(self.builder.Output()))


def _codes_of(records: list[SubgraphRecord]) -> list[Operator]:
    """The operators of a file, each once, of the highest version that one of its calls needs."""
    latest: dict[str, Operator] = {}
    for operator in (operator.operator for record in records for operator in record.operators):
        if operator.name not in latest or latest[operator.name].version < operator.version:
            latest[operator.name] = operator
    return list(latest.values())


def _with_checksum(data: bytes) -> bytes:
    start = re.search(re.escape((DESCRIPTION + _PLACEHOLDER).encode()), data).end() - 8
    return data[:start] + checksum(data, start).encode() + data[start + 8 :]
