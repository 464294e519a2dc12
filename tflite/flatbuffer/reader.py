"""Reads and verifies `.tflite` files that this package wrote, without TensorFlow.

The runtimes trust a file; a truncated, damaged or malicious one crashes the process or computes nonsense. Everything is
checked here first: a checksum, every offset and alignment (`tables.py`), every index, the size of every
constant, scales and zero points, the order of the operators, what their kernels demand (`operators/rules.py`), and how
variables are used.
"""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.flatbuffer.custom_operator.checks import check_block
from keras_s4.tflite.flatbuffer.custom_operator.instructions import MOST_ENDS
from keras_s4.tflite.flatbuffer.operators.options import FIELDS, NUMBERS, TEXT, Option
from keras_s4.tflite.flatbuffer.operators.rules import MOST_AXES
from keras_s4.tflite.flatbuffer.operators.table import (
    BY_CODE,
    CUSTOM_BLOCK,
    Operator,
    check_operator,
)
from keras_s4.tflite.flatbuffer.origin import check_origin
from keras_s4.tflite.flatbuffer.summary import TYPE_NAMES, Subgraph, Summary, TensorSummary
from keras_s4.tflite.flatbuffer.tables import Table
from keras_s4.tflite.flatbuffer.variable_checks import variables_of

__all__ = ["Subgraph", "Summary", "TensorSummary", "check_tflite", "read_summary"]

# The fields of each table that `writer.py` writes.
_MODEL, _CODE, _BUFFER, _GRAPH = range(5), range(4), range(1), range(4)
_TENSOR, _QUANTIZATION, _OPERATOR = range(5), (2, 3, 6), range(6)
# Lists that runtimes read even where they are empty.
_LISTS_OF_MODEL, _LISTS_OF_GRAPH, _LISTS_OF_OPERATOR = (1, 2, 4), _GRAPH, (1, 2)
# What tensors may take together, and how many scales they may have: microcontrollers have room for a thousandth.
MOST_BYTES, MOST_SCALES = 2**28, 2**22
_RANGES = {"int8": (-(2**7), 2**7 - 1), "uint8": (0, 2**8 - 1), "int16": (-(2**15), 2**15 - 1)}
_INT32 = -(2**31), 2**31 - 1
_ENDS = ("int8", "int16", "int32")


def check_tflite(data: bytes) -> Summary:
    """Verify a file before any runtime sees it.

    Args:
        data: the bytes of a `.tflite` file that `to_tflite` wrote.

    Returns:
        What the file consists of.

    Raises:
        TypeError: `data` is no bytes.
        ValueError: "damaged .tflite: ..." when the file is truncated or altered; "not a .tflite: ..." when it is
            another kind of file; "not a .tflite of keras-s4: ..." when it is sound and another converter wrote it.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"Received {type(data).__name__}; expected the bytes of a .tflite, as Path.read_bytes() gives.")
    data = bytes(data)
    root = check_origin(data, _MODEL)
    root.require(_LISTS_OF_MODEL)
    graphs = root.tables(2, "subgraph", _GRAPH)
    if len(graphs) not in (1, 2):
        raise ValueError(f"damaged .tflite: {len(graphs)} subgraphs; expected 1, or 2 with variables.")
    codes = [_operator_of(code) for code in root.tables(1, "operator code", _CODE)]
    buffers = [buffer.bytes(0, alignment=16) for buffer in root.tables(4, "buffer", _BUFFER)]
    if sum(map(len, buffers)) > len(data):
        raise ValueError("damaged .tflite: its constants overlap.")
    subgraphs = [_read_subgraph(graph, codes, buffers) for graph in graphs]
    for subgraph in subgraphs:
        _check_sizes(subgraph)
        _check_ends(subgraph)
        _check_operators(subgraph)
        _check_order(subgraph)
    main, initializer = (*subgraphs, None)[:2]
    fields = {field.name: getattr(main, field.name) for field in dataclasses.fields(main)}
    variables = variables_of(main, initializer)
    summary = Summary(**fields, bytes=len(data), variables=variables, initializer=initializer)
    _check_states(summary)
    return summary


def read_summary(data: bytes) -> Summary:
    """What a `.tflite` consists of (operators, tensors, both ends of the states); checks it first."""
    return check_tflite(data)


def _operator_of(table: Table) -> Operator:
    code = max(table.scalar(0, "b"), table.scalar(3, "i"))
    custom_code = table.text(1)
    if code == CUSTOM_BLOCK.code and custom_code == CUSTOM_BLOCK.name:
        return CUSTOM_BLOCK
    if code not in BY_CODE:
        raise ValueError(f"damaged .tflite: an operator has the unknown code {code} {custom_code!r}.")
    return BY_CODE[code]


def _read_subgraph(graph: Table, codes: list[Operator], buffers: list[bytes]) -> Subgraph:
    graph.require(_LISTS_OF_GRAPH)
    tensors = _read_tensors(graph, buffers)
    operators, inputs, outputs, arguments, options = [], [], [], [], []
    for table in graph.tables(3, "operator", _OPERATOR):
        table.require(_LISTS_OF_OPERATOR)
        index = table.scalar(0, "I")
        if index >= len(codes):
            raise ValueError(f"damaged .tflite: operator {len(operators)} has code {index} of {len(codes)}.")
        operators.append(codes[index].name)
        inputs.append(table.numbers(1, "int32", most=MOST_ENDS + 2))
        outputs.append(table.numbers(2, "int32", most=MOST_ENDS))
        options.append(_read_options(table, codes[index]))
        argument = {"VAR_HANDLE": "shared_name", "CALL_ONCE": "subgraph"}.get(operators[-1])
        arguments.append(options[-1][argument] if argument else _read_custom_options(table, codes[index]))
    ends = (graph.numbers(slot, "int32", most=len(tensors)) for slot in (1, 2))
    lists = (tuple(entries) for entries in (operators, inputs, outputs, arguments, options))
    subgraph = Subgraph(*lists, tensors, *ends)
    for index in {index for group in (*inputs, *outputs, subgraph.inputs, subgraph.outputs) for index in group}:
        if not 0 <= index < len(tensors):
            raise ValueError(f"damaged .tflite: tensor {index} is used, and there are {len(tensors)}.")
    return subgraph


def _read_options(table: Table, operator: Operator) -> dict[str, Option]:
    """What a file says of an operator's options."""
    fields = FIELDS.get(operator.name, ())
    options = table.child(4, f"{operator.name}'s options", {field.slot for field in fields})
    if table.scalar(3, "B") != operator.options or (options is None) != (operator.options == 0):
        raise ValueError(f"damaged .tflite: {operator.name} has options of another operator, or none.")
    read = {
        TEXT: lambda field: options.text(field.slot),
        NUMBERS: lambda field: options.numbers(field.slot, "int32", MOST_AXES),
    }
    return {
        field.name: read[field.format](field)
        if field.format in read
        else int(options.scalar(field.slot, field.format, field.default))
        for field in fields
    }


def _read_custom_options(table: Table, operator: Operator) -> bytes | None:
    if operator is CUSTOM_BLOCK:
        return bytes(table.numbers(5, "uint8", most=2**8))
    if table.has(5):
        raise ValueError(f"damaged .tflite: {operator.name} has options of a custom operator.")
    return None


def _read_tensors(graph: Table, buffers: list[bytes]) -> tuple[TensorSummary, ...]:
    tensors, scales = [], 0
    for table in graph.tables(0, "tensor", _TENSOR):
        tensors.append(_read_tensor(table, buffers))
        scales += len(tensors[-1].scales)
        if scales > MOST_SCALES:
            raise ValueError(f"damaged .tflite: its tensors have more than {MOST_SCALES} scales.")
    return tuple(tensors)


def _read_tensor(table: Table, buffers: list[bytes]) -> TensorSummary:
    shape = table.numbers(0, "int32", most=MOST_AXES)
    code, buffer, name = table.scalar(1, "b"), table.scalar(2, "I"), table.text(3)
    if code not in TYPE_NAMES or buffer >= len(buffers) or any(size < 1 for size in shape):
        raise ValueError(f"damaged .tflite: tensor {name!r} of type {code}, shape {list(shape)} and buffer {buffer}.")
    data, type = buffers[buffer], TYPE_NAMES[code]
    scales, zero_points, dimension = _read_quantization(table, name, shape, type)
    zeros = bool(data) and not data.strip(b"\0")
    tensor = TensorSummary(name, shape, type, scales, zero_points, len(data), zeros, dimension, data)
    if data and (type == "resource" or len(data) != tensor.bytes):
        raise ValueError(
            f"damaged .tflite: tensor {name!r}, {type} of shape {list(shape)}, has a constant of {len(data)} bytes."
        )
    return tensor


def _read_quantization(table: Table, name: str, shape: tuple[int, ...], type: str) -> tuple:
    """Scales, zero points and the axis of several scales of a tensor."""
    quantization = table.child(4, "quantization", _QUANTIZATION)
    if quantization is None:
        return (), (), 0
    dimension = quantization.scalar(6, "i")
    most = max(1, shape[dimension] if 0 <= dimension < len(shape) else 0)
    scales, zero_points = (quantization.numbers(slot, type, most) for slot, type in ((2, "float32"), (3, "int64")))
    if len(scales) != len(zero_points) or len(scales) not in (1, most):
        raise ValueError(
            f"damaged .tflite: tensor {name!r} of shape {list(shape)} has {len(scales)} scales along axis {dimension} "
            f"and {len(zero_points)} zero points."
        )
    if wrong := [scale for scale in scales if not (math.isfinite(scale) and scale > 0)]:
        raise ValueError(f"damaged .tflite: tensor {name!r} has the scale {wrong[0]}.")
    low, high = _RANGES.get(type, _INT32)
    if wrong := [zero_point for zero_point in zero_points if not low <= zero_point <= high]:
        raise ValueError(f"damaged .tflite: tensor {name!r}, {type}, has the zero point {wrong[0]}.")
    return scales, zero_points, dimension


def _check_sizes(graph: Subgraph) -> None:
    total = sum(tensor.bytes for tensor in graph.tensors)
    if total > MOST_BYTES:
        raise ValueError(f"damaged .tflite: its tensors take {total} bytes; at most {MOST_BYTES} are read.")


def _check_ends(graph: Subgraph) -> None:
    """Inputs and outputs are different tensors of integers that are computed."""
    ends = (*graph.inputs, *graph.outputs)
    if len(set(ends)) != len(ends):
        raise ValueError("damaged .tflite: a tensor is an input or output twice.")
    for tensor in (graph.tensors[index] for index in ends):
        if tensor.type not in _ENDS or tensor.constant_bytes:
            raise ValueError(
                f"damaged .tflite: {tensor.name!r} is an input or output; expected one of {', '.join(_ENDS)} that is "
                f"no constant, but it is {tensor.type} with a constant of {tensor.constant_bytes} bytes."
            )


def _check_operators(graph: Subgraph) -> None:
    rows = zip(
        graph.operators, graph.operator_inputs, graph.operator_outputs, graph.options, graph.arguments, strict=True
    )
    for name, *indices, options, argument in rows:
        operands = [[graph.tensors[index].operand for index in each] for each in indices]
        try:
            operator = check_operator(name, *operands, options)
            if operator is CUSTOM_BLOCK:
                check_block(*operands, argument)
        except ValueError as error:
            raise ValueError(f"damaged .tflite: {error}") from error


def _check_order(graph: Subgraph) -> None:
    """Everything is written once, and before it is read."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.constant_bytes} | set(graph.inputs)
    for name, inputs, outputs in zip(graph.operators, graph.operator_inputs, graph.operator_outputs, strict=True):
        if early := set(inputs) - known:
            raise ValueError(f"damaged .tflite: {name} reads tensor {min(early)} before it is written.")
        if known & set(outputs) or len(set(outputs)) < len(outputs):
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
