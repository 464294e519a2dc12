"""Instructions that operators take on a Cortex-M4 with CMSIS-NN, as data: what an expansion is weighed by.

Measured by operator in QEMU, which counts instructions, not cycles, on unmodified TensorFlow Lite Micro and CMSIS-NN of
August 2026 (GCC 12.2, -O2, NDEBUG), over shapes from 16 to 2,048 values. The sum of a classifier comes within 2% of
what was counted, that of small files within 10%; a test holds it. Other versions and compilers differ by tenths: a
table to choose by, not to promise from.

What it teaches: QUANTIZE takes 46 instructions a value, whatever it does; MUL of int32 takes twice as long as ADD; ADD
and MUL find shapes that are equal down to the number of axes quicker than any others; lines of a depthwise window cost
more than its products; and of an operator on 32 values most is not the values.
"""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand

# What an invoke takes for each operator besides.
DISPATCH, INVOKE = 28, 100


@dataclasses.dataclass(frozen=True)
class Cost:
    """Instructions of an operator.

    Args:
        fixed: of each call.
        value: of each value that it writes.
        product: of each multiplication with a weight, or of each value that a window compares.
        row: of each output that gathers products, channel that is pooled, or repetition of a shorter operand.
        byte: of each byte that it copies.
    """

    fixed: float
    value: float = 0
    product: float = 0
    row: float = 0
    byte: float = 0


_COPY = 0.53
COSTS: dict[str, Cost] = {
    "ADD": Cost(362, 6.0),
    "ADD of one value": Cost(660, 11.0),
    "ADD of other shapes": Cost(665, 11.0, row=46),
    "MUL": Cost(644, 13.0),
    "MUL of one value": Cost(1080, 11.0),
    "MUL of other shapes": Cost(1120, 12.0, row=46),
    "MUL of int16": Cost(754, 31.0),
    "MAXIMUM": Cost(779, 11.0),
    "MAXIMUM of one value": Cost(1010, 11.0),
    "MAXIMUM of other shapes": Cost(1010, 12.0, row=46),
    "QUANTIZE": Cost(140, 45.6),
    "CAST": Cost(223, 4.0),
    "LOGISTIC": Cost(160, 23.1),
    "TANH": Cost(210, 25.4),
    "GATHER": Cost(268, row=26.8, byte=0.6),
    "RESHAPE": Cost(180, byte=_COPY),
    "REVERSE_V2": Cost(415, byte=_COPY),
    "BROADCAST_TO": Cost(700, row=30, byte=_COPY),
    "CONCATENATION": Cost(220, product=140, row=36, byte=_COPY),
    "STRIDED_SLICE": Cost(820, byte=_COPY),
    "STRIDED_SLICE with strides": Cost(817, 17.0),
    "FULLY_CONNECTED of int8": Cost(460, product=1.87, row=50),
    "FULLY_CONNECTED of int16": Cost(366, product=2.38, row=56),
    "DEPTHWISE_CONV_2D": Cost(596, product=15.75, row=110),
    "BATCH_MATMUL": Cost(1089, product=6.4, row=189),
    "MAX_POOL_2D": Cost(525, product=9.0),
    "VAR_HANDLE": Cost(130),
    "READ_VARIABLE": Cost(220, byte=0.47),
    "ASSIGN_VARIABLE": Cost(200, byte=0.9),
    "CALL_ONCE": Cost(430),
}


def cost_of(call: Call) -> float:
    """The instructions of a built-in operator.

    Args:
        call: an operator that the table of operators knows, and its tensors.

    Raises:
        KeyError: it is none that has a cost, such as a custom one.
    """
    cost = COSTS[_kind_of(call)]
    output = call.outputs[0] if call.outputs else call.inputs[-1] if call.inputs else Operand((), "int8")
    products, rows = _products_and_rows(call, output)
    copied = output.size * {"int8": 1, "int16": 2, "int32": 4}.get(output.type, 0)
    varying = output.size * cost.value + products * cost.product + rows * cost.row + copied * cost.byte
    return DISPATCH + cost.fixed + varying


def _kind_of(call: Call) -> str:
    """The row of the table."""
    if call.name in ("ADD", "MUL", "MAXIMUM", "MINIMUM"):
        name = "MAXIMUM" if call.name == "MINIMUM" else call.name
        if call.input.type == "int16":
            return f"{name} of int16"
        shapes = {operand.shape for operand in call.inputs}
        if len(shapes) == 1:
            return name
        return (
            f"{name} of one value" if min(operand.size for operand in call.inputs) == 1 else f"{name} of other shapes"
        )
    if call.name == "FULLY_CONNECTED":
        return f"{call.name} of {call.input.type}"
    if call.name == "STRIDED_SLICE" and any(stride != 1 for stride in call.inputs[3].values):
        return f"{call.name} with strides"
    return call.name


def _products_and_rows(call: Call, output: Operand) -> tuple[int, int]:
    """What the table calls products and rows."""
    match call.name:
        case "FULLY_CONNECTED":
            return output.size * call.inputs[1].shape[1], output.size
        case "DEPTHWISE_CONV_2D":
            return output.size * math.prod(call.inputs[1].shape[1:3]), output.size
        case "BATCH_MATMUL":
            return output.size * call.input.shape[-1], output.size
        case "MAX_POOL_2D":
            return output.size * call.options["width"] * call.options["height"], 0
        case "GATHER":
            return 0, call.inputs[1].size
        case "BROADCAST_TO":
            return 0, output.size // call.input.size
        case "CONCATENATION":
            copies = len(call.inputs) * math.prod(output.shape[: call.options["axis"]])
            return len(call.inputs), copies
        case "ADD" | "MUL" | "MAXIMUM" | "MINIMUM":
            return 0, output.size // min(operand.size for operand in call.inputs)
    return 0, 0
