"""Damaged and malicious `.tflite` files: mutations of sound ones, each with the checksum that it should have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_s4.tflite.flatbuffer.operators.table import CUSTOM_BLOCK, OPERATORS, TENSOR_TYPES
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.flatbuffer.summary import Subgraph
from keras_s4.tflite.flatbuffer.tables import Table, root_of
from keras_s4.tflite.flatbuffer.writer import (
    DESCRIPTION,
    OperatorRecord,
    Quantization,
    SubgraphRecord,
    TensorRecord,
    checksum,
    serialize,
)

EXTREMES = (0, 1, -1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**20, 2**30, 2**31 - 1, -(2**31), 10**9)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-45, 1e-38, 3e38, 1.0, 2.0**-15, 1e9, 1e-9)


def mend_checksum(data: bytes) -> bytes:
    """The file with the checksum that its bytes have, if it still has a place for it."""
    start = data.find(DESCRIPTION.encode())
    if start < 0 or start + len(DESCRIPTION) + 8 > len(data):
        return data
    start += len(DESCRIPTION)
    return data[:start] + checksum(data, start).encode() + data[start + 8 :]


def mutate(data: bytes, others: list[bytes], random: np.random.Generator) -> tuple[str, bytes]:
    """The kind of a mutation of a sound file, drawn at random, and its bytes.

    Args:
        data: the file.
        others: files that parts may come from.
        random: draws everything.
    """
    kind, change = KINDS[int(random.integers(len(KINDS)))]
    mutated = change(data, others, random)
    if random.random() < 0.2:  # two at once
        _, change = KINDS[int(random.integers(len(BYTES)))]
        mutated = change(mutated, others, random) if mutated else mutated
    return kind, mend_checksum(bytes(mutated))


def flip_bits(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """One to three bits."""
    result = bytearray(data)
    for place in random.integers(0, len(data), int(random.integers(1, 4))):
        result[place] ^= 1 << int(random.integers(8))
    return bytes(result)


def set_bytes(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """Up to four bytes, side by side or not."""
    result, count = bytearray(data), int(random.integers(1, 5))
    start = int(random.integers(len(data)))
    places = random.integers(0, len(data), count) if random.random() < 0.5 else np.arange(start, start + count)
    for place in places % len(data):
        result[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
    return bytes(result)


def set_word(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """A number of 2, 4 or 8 bytes to an extreme, or a little more or less."""
    size = int(random.choice([2, 4, 4, 4, 8]))
    place = int(random.integers(max(1, len(data) // size))) * size
    return put(data, place, size, change_number(take(data, place, size), random))


def cut(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """The end cut off, or a part in the middle."""
    start, end = sorted(random.integers(0, len(data), 2).tolist())
    return data[:end] if random.random() < 0.5 else data[:start] + data[min(end, start + 64) :]


def splice(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """A part of another file, or of this one, over a part of this, or in front of it."""
    other = others[int(random.integers(len(others)))]
    size = 4 * int(random.integers(1, 65))
    origin, place = (4 * int(random.integers(max(1, len(file) // 4))) for file in (other, data))
    part = other[origin : origin + size]
    return data[:place] + part + data[place + (len(part) if random.random() < 0.8 else 0) :]


def repeat(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """More bytes at the end."""
    return data + bytes(random.integers(0, 256, int(random.integers(1, 100)), dtype=np.uint8))


def set_place(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """A number that a runtime reads, of the structure: an offset, index, size, scale, option, or length."""
    try:
        places = places_of(data)
    except ValueError:
        return flip_bits(data, others, random)
    kind = list(places)[int(random.integers(len(places)))]
    place, size = places[kind][int(random.integers(len(places[kind])))]
    if kind == "scale":
        return data[:place] + np.float32(random.choice(FLOATS)).tobytes() + data[place + 4 :]
    if random.random() < 0.4:  # that of another of its kind
        other, other_size = places[kind][int(random.integers(len(places[kind])))]
        return put(data, place, size, take(data, other, min(size, other_size)))
    return put(data, place, size, change_number(take(data, place, size), random))


def rewrite(data: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    """A sound flatbuffer of other records: shapes, types, scales, constants, operators, ends."""
    summary = read_summary(data)
    buffers = [b""]
    records = [records_of(graph, buffers) for graph in (summary, summary.initializer) if graph]
    for _ in range(int(random.integers(1, 3))):
        index = int(random.integers(len(records)))
        change = CHANGES[int(random.integers(len(CHANGES)))]
        records[index] = change(records[index], buffers, random)
    try:
        return serialize(records, buffers)
    except Exception:  # the writer cannot write everything, such as sizes beyond its types
        return flip_bits(data, others, random)


BYTES = [("bits", flip_bits), ("bytes", set_bytes), ("word", set_word), ("cut", cut), ("splice", splice)]
KINDS = [*BYTES, ("more", repeat), *[("structure", set_place)] * 3, *[("records", rewrite)] * 4]


def take(data: bytes, place: int, size: int) -> int:
    """A signed number."""
    return int.from_bytes(data[place : place + size], "little", signed=True)


def put(data: bytes, place: int, size: int, value: int) -> bytes:
    """The bytes with a number at a place."""
    stored = (value & (2 ** (8 * size) - 1)).to_bytes(size, "little")
    return data[:place] + stored[: len(data) - place] + data[place + size :]


def change_number(value: int, random: np.random.Generator) -> int:
    """Another number: a neighbour, a multiple, or an extreme."""
    near = [value + 1, value - 1, value + 4, value - 4, 2 * value, value // 2, -value, ~value]
    return int(random.choice(near)) if random.random() < 0.5 else int(random.choice(EXTREMES))


def places_of(data: bytes) -> dict[str, list[tuple[int, int]]]:
    """Where a file has numbers that a runtime reads, by what they are; each as (place, size)."""
    places: dict[str, list[tuple[int, int]]] = {}

    def add(kind: str, place: int | None, size: int, count: int = 1) -> None:
        if place is not None and count > 0:
            places.setdefault(kind, []).extend((place + size * index, size) for index in range(count))

    def table(table: Table, kind: str) -> None:
        layout = table.place - take(data, table.place, 4)
        add("layout offset", table.place, 4)
        add("layout", layout, 2, max(2, take(data, layout, 2) // 2))

    def vector(table: Table, slot: int, kind: str, size: int, entry: int | None = None) -> None:
        if start := table.start(slot):
            add("vector offset", table.field(slot), 4)
            add("length", start - 4, 4)
            add(kind, start, size, min(take(data, start - 4, 4) * (entry or size) // size, 64))

    root = root_of(data, "model")
    table(root, "model")
    for slot in (1, 2, 4):
        vector(root, slot, "table offset", 4)
    for code in root.tables(1, "code"):
        table(code, "code")
        add("code", code.field(0), 1)
        add("code", code.field(3), 4)
        vector(code, 1, "text", 1)
    for buffer in root.tables(4, "buffer"):
        vector(buffer, 0, "constant", 4, entry=1)
    for graph in root.tables(2, "graph"):
        table(graph, "graph")
        for slot, kind in ((0, "table offset"), (1, "end"), (2, "end"), (3, "table offset")):
            vector(graph, slot, kind, 4)
        for tensor in graph.tables(0, "tensor"):
            table(tensor, "tensor")
            vector(tensor, 0, "shape", 4)
            add("type", tensor.field(1), 1)
            add("buffer", tensor.field(2), 4)
            if quantization := tensor.child(4, "quantization"):
                vector(quantization, 2, "scale", 4)
                vector(quantization, 3, "zero point", 8)
                add("dimension", quantization.field(6), 4)
        for operator in graph.tables(3, "operator"):
            table(operator, "operator")
            add("operator code", operator.field(0), 4)
            for slot in (1, 2):
                vector(operator, slot, "tensor of an operator", 4)
            add("options' type", operator.field(3), 1)
            vector(operator, 5, "custom option", 4, entry=1)
            if options := operator.child(4, "options"):
                table(options, "options")
                for slot in range(8):
                    add("option", options.field(slot), 4)
    return places


def records_of(graph: Subgraph, buffers: list[bytes]) -> SubgraphRecord:
    """A subgraph as the writer takes it; its constants are appended to `buffers`."""
    records = []
    for tensor in graph.tensors:
        buffer = 0
        if tensor.data:
            buffers.append(tensor.data)
            buffer = len(buffers) - 1
        zero_point = tensor.zero_points[0] if tensor.zero_points else 0
        quantization = Quantization(tensor.scales, zero_point, tensor.dimension) if tensor.scales else None
        records.append(TensorRecord(tensor.shape, tensor.type, quantization, buffer, tensor.name))
    rows = zip(
        graph.operators, graph.operator_inputs, graph.operator_outputs, graph.options, graph.arguments, strict=True
    )
    operators = [
        OperatorRecord(
            OPERATORS.get(name, CUSTOM_BLOCK),
            inputs,
            outputs,
            tuple(options.items()),
            argument if isinstance(argument, bytes) else b"",
        )
        for name, inputs, outputs, options, argument in rows
    ]
    return SubgraphRecord(records, operators, graph.inputs, graph.outputs)


def _one(count: int, random: np.random.Generator) -> int:
    return int(random.integers(count))


def _size(size: int, random: np.random.Generator) -> int:
    near = [size + 1, size - 1, 2 * size, size // 2, 1, 0, -1, 2**16, 2**31 - 1, 46341, 2**20]
    return int(random.choice(near))


def change_tensor(graph: SubgraphRecord, buffers: list[bytes], random: np.random.Generator) -> SubgraphRecord:
    """Shape, type, scale, zero point or constant of a tensor; sometimes of all tensors that have this shape."""
    tensors = list(graph.tensors)
    index = _one(len(tensors), random)
    record = tensors[index]
    match _one(6, random):
        case 0 | 1 if record.shape:
            shape = list(record.shape)
            axis = _one(len(shape), random)
            shape[axis] = _size(shape[axis], random)
            if random.random() < 0.3:
                shape = shape[::-1] if random.random() < 0.5 else [*shape, 1]
            everywhere = random.random() < 0.5
            for other, each in enumerate(tensors):
                if other == index or (everywhere and each.shape == record.shape and not each.buffer):
                    tensors[other] = dataclasses.replace(each, shape=tuple(shape))
            record = tensors[index]
        case 2:
            record = dataclasses.replace(record, type=str(random.choice(list(TENSOR_TYPES))))
        case 3:
            scales = tuple(float(random.choice(FLOATS)) for _ in range(int(random.choice([1, 1, 2, 5]))))
            record = dataclasses.replace(record, quantization=Quantization(scales, int(random.choice(EXTREMES)), 0))
        case 4:
            record = dataclasses.replace(record, quantization=None)
        case _ if record.buffer:
            stored = bytearray(buffers[record.buffer])
            for _ in range(int(random.integers(1, 4))):
                size = {"int8": 1, "uint8": 1, "int16": 2, "int64": 8}.get(record.type, 4)
                place = size * _one(max(1, len(stored) // size), random)
                stored = bytearray(
                    put(bytes(stored), place, size, change_number(take(bytes(stored), place, size), random))
                )
            buffers.append(bytes(stored))
            record = dataclasses.replace(record, buffer=len(buffers) - 1)
    tensors[index] = record
    return dataclasses.replace(graph, tensors=tensors)


def change_operator(graph: SubgraphRecord, buffers: list[bytes], random: np.random.Generator) -> SubgraphRecord:
    """Tensors, options or kind of an operator; operators twice, gone, or in another order."""
    operators = list(graph.operators)
    if not operators:  # a change before this one took the only one
        return graph
    index = _one(len(operators), random)
    record = operators[index]
    match _one(7, random):
        case 0 | 1 if record.inputs:
            inputs = list(record.inputs)
            inputs[_one(len(inputs), random)] = _one(len(graph.tensors), random)
            operators[index] = dataclasses.replace(record, inputs=tuple(inputs))
        case 2 if record.outputs:
            operators[index] = dataclasses.replace(record, outputs=(_one(len(graph.tensors), random),))
        case 3 if record.options:
            options = dict(record.options)
            name = str(random.choice(list(options)))
            value = options[name]
            options[name] = change_number(value, random) if isinstance(value, int) else value[:-1]
            operators[index] = dataclasses.replace(record, options=tuple(options.items()))
        case 4 if record.custom_options:
            words = np.frombuffer(record.custom_options, np.int32).tolist()
            word = _one(len(words), random)
            words[word] = change_number(words[word], random)
            stored = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in words)
            operators[index] = dataclasses.replace(record, custom_options=stored)
        case 5:
            other = _one(len(operators), random)
            operators[index], operators[other] = operators[other], operators[index]
        case 6:
            operators.pop(index) if random.random() < 0.5 else operators.insert(index, record)
        case _:
            twin = operators[_one(len(operators), random)]
            operators[index] = dataclasses.replace(record, operator=twin.operator, options=twin.options)
    return dataclasses.replace(graph, operators=operators)


def change_ends(graph: SubgraphRecord, buffers: list[bytes], random: np.random.Generator) -> SubgraphRecord:
    """Inputs and outputs: others, fewer, more, in another order."""
    name = "inputs" if random.random() < 0.5 else "outputs"
    ends = list(getattr(graph, name))
    if not ends or random.random() < 0.4:
        ends.insert(_one(len(ends) + 1, random), _one(len(graph.tensors), random))
    elif random.random() < 0.5:
        ends.pop(_one(len(ends), random))
    else:
        random.shuffle(ends)
    return dataclasses.replace(graph, **{name: tuple(ends)})


Change = Callable[[SubgraphRecord, list[bytes], np.random.Generator], SubgraphRecord]
CHANGES: list[Change] = [change_tensor, change_tensor, change_tensor, change_operator, change_operator, change_ends]
