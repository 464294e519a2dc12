"""Reads and verifies `.tflite` files that this package wrote, without TensorFlow.

The runtimes trust the offsets in a file; a truncated or damaged one crashes the process or computes nonsense.
Everything is checked here first: every offset, every index, the size of every constant, the order of the operators, how
variables are used, and a checksum of the file.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping

import numpy as np

from keras_s4.tflite.flatbuffer_variables import Variable, variables_of
from keras_s4.tflite.flatbuffer_writer import DESCRIPTION, IDENTIFIER, SCHEMA_VERSION, checksum
from keras_s4.tflite.operands import Operand
from keras_s4.tflite.operator_options import FIELDS, NUMBERS, TEXT, Option
from keras_s4.tflite.operators import BY_CODE, CUSTOM_STEP, TENSOR_TYPES, Operator, check_operator

_TYPE_NAMES = {0: "float32", 1: "float16", 10: "float64", **{code: name for name, code in TENSOR_TYPES.items()}}
_TYPE_SIZES = {
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "resource": 4,
}


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """A tensor of a file.

    Args:
        scales: empty for plain integers.
        constant_bytes: 0 for what is computed.
        zeros: whether it is a constant of nothing but zeros.
        dimension: the axis of several scales.
        data: the bytes of a constant.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant_bytes: int
    zeros: bool = False
    dimension: int = 0
    data: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def operand(self) -> Operand:
        """As the rules of operators see it."""
        constant = self.constant_bytes and self.type != "resource"
        values = np.frombuffer(self.data, np.dtype(self.type).newbyteorder("<")) if constant else None
        return Operand(self.shape, self.type, self.scales, self.zero_points, self.dimension, values)

    @property
    def bytes(self) -> int:
        """What the tensor's values take."""
        return math.prod(self.shape) * _TYPE_SIZES[self.type]


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A list of operators, and the tensors that they read and write.

    Args:
        operators: the name of each operator, in the order in which they run.
        operator_inputs: for each operator, the indices of its input tensors.
        operator_outputs: for each operator, the indices of its output tensors.
        arguments: for each VAR_HANDLE the name of its variable, for CALL_ONCE the number of a subgraph, for a custom
            operator its options; else None.
        options: for each operator, those that `operator_options` names.
        tensors: all tensors.
        inputs: indices of the inputs.
        outputs: indices of the outputs.
    """

    operators: tuple[str, ...]
    operator_inputs: tuple[tuple[int, ...], ...]
    operator_outputs: tuple[tuple[int, ...], ...]
    arguments: tuple[str | int | bytes | None, ...]
    options: tuple[Mapping[str, Option], ...]
    tensors: tuple[TensorSummary, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Summary(Subgraph):
    """What a file consists of: the subgraph of a step, and more.

    Its inputs are the program's, then the explicit states before the step; its outputs are the program's, then the
    explicit states after the step.

    Args:
        bytes: the size of the file.
        variables: the states that are variables.
        initializer: the subgraph that runs once, before the first step; None if there are no variables.
    """

    bytes: int
    variables: tuple[Variable, ...]
    initializer: Subgraph | None

    @property
    def states(self) -> tuple[tuple[TensorSummary, TensorSummary], ...]:
        """The two ends of each explicit state: the inputs without a scale, and as many last outputs."""
        before = [self.tensors[index] for index in self.inputs if not self.tensors[index].scales]
        after = [self.tensors[index] for index in self.outputs[len(self.outputs) - len(before) :]]
        return tuple(zip(before, after, strict=True))

    @property
    def registrations(self) -> tuple[str, ...]:
        """The methods of `MicroMutableOpResolver` that a firmware calls, each once."""
        rows = {row.name: row.registration for row in (*BY_CODE.values(), CUSTOM_STEP)}
        once = self.initializer.operators if self.initializer else ()
        return tuple(rows[name] for name in dict.fromkeys((*self.operators, *once)))

    @property
    def float_tensors(self) -> tuple[TensorSummary, ...]:
        """Tensors that are not integers; there should be none."""
        return tuple(tensor for tensor in self.tensors if tensor.type.startswith("float"))

    @property
    def constant_bytes(self) -> int:
        """The bytes of all constants, shared ones counted at each tensor."""
        return sum(tensor.constant_bytes for tensor in self.tensors)


class _Reader:
    """Reads numbers, tables and vectors at checked places."""

    def __init__(self, data: bytes):
        self.data = data

    def number(self, format: str, place: int) -> int:
        if place < 0 or place + struct.calcsize(format) > len(self.data):
            raise ValueError(f"damaged .tflite: offset {place} is outside the file of {len(self.data)} bytes.")
        return struct.unpack_from("<" + format, self.data, place)[0]

    def indirect(self, place: int) -> int:
        """The place that the offset at `place` points to."""
        return place + self.number("I", place)

    def field(self, table: int, slot: int) -> int | None:
        """The place of a table's field, None when it has its default."""
        layout = table - self.number("i", table)
        size = self.number("H", layout)
        self.number("B", layout + max(size, 1) - 1)
        if 4 + 2 * slot + 2 > size:
            return None
        offset = self.number("H", layout + 4 + 2 * slot)
        return table + offset if offset else None

    def scalar(self, table: int, slot: int, format: str, default: int = 0) -> int:
        place = self.field(table, slot)
        return default if place is None else self.number(format, place)

    def child(self, table: int, slot: int) -> int | None:
        place = self.field(table, slot)
        return None if place is None else self.indirect(place)

    def vector(self, table: int, slot: int, format: str) -> tuple:
        """The numbers of a vector; empty when the field is missing."""
        place = self.child(table, slot)
        if place is None:
            return ()
        count, size = self.number("I", place), struct.calcsize(format)
        if place + 4 + count * size > len(self.data):
            raise ValueError(f"damaged .tflite: a list of {count} entries at {place} ends outside the file.")
        return struct.unpack_from(f"<{count}{format}", self.data, place + 4)

    def tables(self, table: int, slot: int) -> list[int]:
        """The places of a vector's tables."""
        place = self.child(table, slot)
        if place is None:
            return []
        return [self.indirect(place + 4 + 4 * index) for index in range(len(self.vector(table, slot, "I")))]


def check_tflite(data: bytes) -> Summary:
    """Verify a file before any runtime sees it.

    Args:
        data: the bytes of a `.tflite` file that `to_tflite` wrote.

    Returns:
        What the file consists of.

    Raises:
        ValueError: "damaged .tflite: ..." when the file is truncated, altered, no `.tflite` at all, or not written by
            this package.
    """
    data = bytes(data)
    if len(data) < 8:
        raise ValueError(f"damaged .tflite: received {len(data)} bytes; even an empty model has more.")
    if data[4:8] != IDENTIFIER:
        raise ValueError(
            f"damaged .tflite: bytes 4 to 8 are {data[4:8]!r}; expected {IDENTIFIER!r}. Is this a .tflite?"
        )
    reader = _Reader(data)
    try:
        _check_checksum(reader)
        summary = _summary(reader)
    except (struct.error, OverflowError, MemoryError) as error:
        raise ValueError(f"damaged .tflite: {error}.") from error
    _check_states(summary)
    return summary


def read_summary(data: bytes) -> Summary:
    """What a `.tflite` consists of (operators, tensors, both ends of the states); checks it first."""
    return check_tflite(data)


def _check_checksum(reader: _Reader) -> None:
    root = reader.indirect(0)
    version = reader.scalar(root, 0, "I")
    if version != SCHEMA_VERSION:
        raise ValueError(f"damaged .tflite: schema version {version}; expected {SCHEMA_VERSION}.")
    place = reader.child(root, 3)
    text = bytes(reader.vector(root, 3, "B"))
    if not text.startswith(DESCRIPTION.encode()) or len(text) != len(DESCRIPTION) + 8:
        raise ValueError(f"damaged .tflite: no checksum of keras-s4 in its description {text[:40]!r}; export it again.")
    found, expected = text[-8:].decode("latin-1"), checksum(reader.data, place + 4 + len(DESCRIPTION))
    if found != expected:
        raise ValueError(
            f"damaged .tflite: its checksum is {expected}, and it says {found}; transfer or export it again."
        )


def _summary(reader: _Reader) -> Summary:
    root = reader.indirect(0)
    places = reader.tables(root, 2)
    if len(places) not in (1, 2):
        raise ValueError(f"damaged .tflite: {len(places)} subgraphs; expected 1, or 2 with variables.")
    codes = [_operator_of(reader, place) for place in reader.tables(root, 1)]
    buffers = [bytes(reader.vector(buffer, 0, "B")) for buffer in reader.tables(root, 4)]
    subgraphs = [_subgraph(reader, place, codes, buffers) for place in places]
    for subgraph in subgraphs:
        _check_operators(subgraph)
        _check_order(subgraph)
    main, initializer = (*subgraphs, None)[:2]
    fields = {field.name: getattr(main, field.name) for field in dataclasses.fields(main)}
    return Summary(**fields, bytes=len(reader.data), variables=variables_of(main, initializer), initializer=initializer)


def _operator_of(reader: _Reader, place: int) -> Operator:
    code = max(reader.scalar(place, 0, "b"), reader.scalar(place, 3, "i"))
    custom_code = bytes(reader.vector(place, 1, "B"))
    if code == CUSTOM_STEP.code and custom_code == CUSTOM_STEP.name.encode():
        return CUSTOM_STEP
    if code not in BY_CODE:
        raise ValueError(f"damaged .tflite: an operator has the unknown code {code} {custom_code!r}.")
    return BY_CODE[code]


def _subgraph(reader: _Reader, graph: int, codes: list[Operator], buffers: list[bytes]) -> Subgraph:
    tensors = tuple(_tensor(reader, place, buffers) for place in reader.tables(graph, 0))
    operators, inputs, outputs, arguments, options = [], [], [], [], []
    for place in reader.tables(graph, 3):
        index = reader.scalar(place, 0, "I")
        if index >= len(codes):
            raise ValueError(f"damaged .tflite: operator {len(operators)} has code {index} of {len(codes)}.")
        operators.append(codes[index].name)
        inputs.append(reader.vector(place, 1, "i"))
        outputs.append(reader.vector(place, 2, "i"))
        options.append(_options(reader, operators[-1], reader.child(place, 4)))
        custom = bytes(reader.vector(place, 5, "B")) if codes[index] is CUSTOM_STEP else None
        argument = {"VAR_HANDLE": "shared_name", "CALL_ONCE": "subgraph"}.get(operators[-1])
        arguments.append(options[-1][argument] if argument else custom)
    ends = reader.vector(graph, 1, "i"), reader.vector(graph, 2, "i")
    for index in {index for group in (*inputs, *outputs, *ends) for index in group}:
        if not 0 <= index < len(tensors):
            raise ValueError(f"damaged .tflite: tensor {index} is used, and there are {len(tensors)}.")
    lists = (tuple(entries) for entries in (operators, inputs, outputs, arguments, options))
    return Subgraph(*lists, tensors, *ends)


def _options(reader: _Reader, operator: str, table: int | None) -> dict[str, Option]:
    """What a file says of an operator's options; all of them defaults where it has no table."""
    options: dict[str, Option] = {}
    for field in FIELDS.get(operator, ()):
        if table is None:
            options[field.name] = field.default
        elif field.format == TEXT:
            options[field.name] = bytes(reader.vector(table, field.slot, "B")).decode("utf-8", "replace")
        elif field.format == NUMBERS:
            options[field.name] = reader.vector(table, field.slot, "i")
        else:
            options[field.name] = int(reader.scalar(table, field.slot, field.format, field.default))
    return options


def _tensor(reader: _Reader, place: int, buffers: list[bytes]) -> TensorSummary:
    shape = reader.vector(place, 0, "i")
    code, buffer = reader.scalar(place, 1, "b"), reader.scalar(place, 2, "I")
    name = bytes(reader.vector(place, 3, "B")).decode("utf-8", "replace")
    if code not in _TYPE_NAMES or buffer >= len(buffers) or any(size < 1 for size in shape):
        raise ValueError(f"damaged .tflite: tensor {name!r} of type {code}, shape {list(shape)} and buffer {buffer}.")
    quantization = reader.child(place, 4)
    scales = reader.vector(quantization, 2, "f") if quantization is not None else ()
    zero_points = reader.vector(quantization, 3, "q") if quantization is not None else ()
    dimension = reader.scalar(quantization, 6, "i") if quantization is not None else 0
    data = buffers[buffer]
    zeros = bool(data) and not any(data)
    tensor = TensorSummary(name, shape, _TYPE_NAMES[code], scales, zero_points, len(data), zeros, dimension, data)
    if len(scales) != len(zero_points) or (tensor.constant_bytes and tensor.constant_bytes != tensor.bytes):
        raise ValueError(
            f"damaged .tflite: tensor {name!r} has {len(scales)} scales and {tensor.constant_bytes} bytes."
        )
    return tensor


def _check_operators(graph: Subgraph) -> None:
    rows = zip(graph.operators, graph.operator_inputs, graph.operator_outputs, graph.options, strict=True)
    for name, *indices, options in rows:
        operands = [[graph.tensors[index].operand for index in each] for each in indices]
        try:
            check_operator(name, *operands, options)
        except ValueError as error:
            raise ValueError(f"damaged .tflite: {error}") from error


def _check_order(graph: Subgraph) -> None:
    """Everything is written once, and before it is read."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant_bytes} | set(graph.inputs)
    for name, inputs, outputs in zip(graph.operators, graph.operator_inputs, graph.operator_outputs, strict=True):
        if early := set(inputs) - known:
            raise ValueError(f"damaged .tflite: {name} reads tensor {min(early)} before it is written.")
        if known & set(outputs):
            raise ValueError(f"damaged .tflite: {name} writes tensor {outputs[0]}, which has a value already.")
        known |= set(outputs)
    if missing := set(graph.outputs) - known:
        raise ValueError(f"damaged .tflite: nothing writes tensor {min(missing)}, which is an output.")


def _check_states(summary: Summary) -> None:
    plain = [bool(summary.tensors[index].scales) for index in summary.inputs]
    if plain != sorted(plain, reverse=True) or plain.count(False) > len(summary.outputs):
        raise ValueError(
            "damaged .tflite: expected inputs with scales first, then states without, and an output for each."
        )
    for before, after in summary.states:
        ends = [(end.type, end.shape, end.scales, end.zero_points) for end in (before, after)]
        if ends[0] != ends[1]:
            raise ValueError(
                f"damaged .tflite: state {before.name!r} starts a step as {ends[0]} and ends it as {ends[1]}."
            )
