"""The operators and tensor types that the exporter may write, as data.

Every row runs on TensorFlow Lite Micro and on TensorFlow's reference kernels, and a test runs each of them on the
installed `tflite-micro` package and compares it with `fixed_point`. Whatever is not in this table is refused, however
plausible: the gaps and their symptoms differ from kernel to kernel, and several of them only show on a device. What the
kernels demand beyond types is in `rules.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand
from keras_s4.tflite.flatbuffer.operators.options import Option, complete
from keras_s4.tflite.flatbuffer.operators.rules import check_rules


@dataclasses.dataclass(frozen=True)
class Operator:
    """A built-in operator of TensorFlow Lite.

    Args:
        name: its name in the schema's `BuiltinOperator`.
        code: its number in `BuiltinOperator`.
        options: the number of its table in the schema's `BuiltinOptions`, 0 for none.
        version: the least version that has all of `signatures`.
        signatures: pairs (types of the inputs, type of the output or "nothing") that really run.
        plain: types of the first input with which no input may carry quantisation parameters.
        registration: the method of TensorFlow Lite Micro's `MicroMutableOpResolver` that adds it.
    """

    name: str
    code: int
    options: int
    version: int
    signatures: tuple[tuple[tuple[str, ...], str], ...]
    plain: tuple[str, ...]
    registration: str


# The "type" of the output of an operator that writes no tensor.
NOTHING = "nothing"

_TABLE = (
    # int32 ADD and MUL are plain integer arithmetic. ADD refuses inputs that carry a scale; its output may carry one.
    Operator("ADD", 0, 11, 1, ((("int32", "int32"), "int32"),), ("int32",), "AddAdd"),
    # int16 MUL rounds as QUANTIZE does: of products in one operator, where scales are such that engines agree.
    Operator("MUL", 18, 21, 4, ((("int32", "int32"), "int32"), (("int16", "int16"), "int16")), ("int32",), "AddMul"),
    # int8 -> int16 runs on the device but not in TensorFlow's interpreter: CAST instead.
    Operator(
        "QUANTIZE",
        114,
        89,
        2,
        (
            (("int8",), "int8"),
            (("int16",), "int8"),
            (("int16",), "int16"),
            (("int32",), "int8"),
            (("int32",), "int16"),
        ),
        (),
        "AddQuantize",
    ),
    Operator("CAST", 53, 37, 1, ((("int8",), "int32"), (("int16",), "int32"), (("int8",), "int16")), (), "AddCast"),
    # CMSIS-NN reads the bias of the int16 kernel as int64 whatever its type says: int32 would be read as garbage there.
    Operator(
        "FULLY_CONNECTED",
        9,
        8,
        7,
        (
            (("int8", "int8", "int32"), "int8"),
            (("int16", "int8", "int64"), "int16"),
            (("int8", "int4", "int32"), "int8"),
        ),
        (),
        "AddFullyConnected",
    ),
    # TensorFlow's interpreter crashes without a bias.
    Operator("DEPTHWISE_CONV_2D", 4, 2, 5, ((("int16", "int8", "int64"), "int16"),), (), "AddDepthwiseConv2D"),
    Operator(
        "RESHAPE", 22, 17, 1, ((("int8",), "int8"), (("int16",), "int16"), (("int32",), "int32")), (), "AddReshape"
    ),
    Operator("REVERSE_V2", 105, 81, 1, ((("int16", "int32"), "int16"),), (), "AddReverseV2"),
    Operator("GATHER", 36, 23, 2, ((("int8", "int32"), "int8"),), (), "AddGather"),
    # Without options. Their int16 kernels fix the scale of the output at 2**-15.
    Operator("LOGISTIC", 14, 0, 1, ((("int16",), "int16"),), (), "AddLogistic"),
    Operator("TANH", 28, 0, 1, ((("int16",), "int16"),), (), "AddTanh"),
    Operator("MAXIMUM", 55, 39, 1, ((("int32", "int32"), "int32"),), (), "AddMaximum"),
    Operator("MINIMUM", 57, 39, 1, ((("int32", "int32"), "int32"),), (), "AddMinimum"),
    # Of any number of inputs up to ten, all of one type: `check_types` looks at the first.
    Operator(
        "CONCATENATION",
        2,
        10,
        1,
        ((("int8",), "int8"), (("int16",), "int16"), (("int32",), "int32")),
        (),
        "AddConcatenation",
    ),
    Operator(
        "STRIDED_SLICE",
        45,
        32,
        2,
        tuple(((type, "int32", "int32", "int32"), type) for type in ("int8", "int16", "int32")),
        (),
        "AddStridedSlice",
    ),
    Operator("MAX_POOL_2D", 17, 5, 3, ((("int8",), "int8"), (("int16",), "int16")), (), "AddMaxPool2D"),
    # The sum has 64 bits, so that squares of full scale can be added up.
    Operator("BATCH_MATMUL", 126, 101, 3, ((("int16", "int16"), "int16"),), (), "AddBatchMatMul"),
    Operator(
        "BROADCAST_TO",
        130,
        104,
        3,
        tuple(((type, "int32"), type) for type in ("int8", "int16", "int32")),
        (),
        "AddBroadcastTo",
    ),
    # A variable is known by the name in its handle. Reading and assigning copy. A new or reset variable is 0 in
    # TensorFlow Lite Micro; TensorFlow's interpreter refuses to read one that nothing was assigned to. Without a scale:
    # TensorFlow Lite Micro would fill the bytes of a new variable with the zero point, whatever their type.
    Operator("VAR_HANDLE", 142, 111, 1, (((), "resource"),), (), "AddVarHandle"),
    Operator(
        "READ_VARIABLE",
        143,
        112,
        1,
        tuple((("resource",), type) for type in ("int8", "int16", "int32")),
        (),
        "AddReadVariable",
    ),
    Operator(
        "ASSIGN_VARIABLE",
        144,
        113,
        1,
        tuple((("resource", type), NOTHING) for type in ("int8", "int16", "int32")),
        ("resource",),
        "AddAssignVariable",
    ),
    # Runs another subgraph at the first step only, not again after a reset.
    Operator("CALL_ONCE", 129, 103, 1, (((), NOTHING),), (), "AddCallOnce"),
)

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _TABLE}
BY_CODE: dict[int, Operator] = {operator.code: operator for operator in _TABLE}

# A whole S4 block, which is no built-in operator: firmware registers it, see `custom_operator`. It takes any number of
# integers and states, then its instructions and their constants; `signatures` has the types of these two.
CUSTOM_BLOCK = Operator("KERAS_S4_BLOCK", 32, 0, 1, ((("int32", "uint8"), "any"),), (), "AddCustom")
_INTEGERS = {"int8", "int16", "int32"}

LARGEST_CONCATENATION = 10
TENSOR_TYPES: dict[str, int] = {"int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9, "resource": 13, "int4": 17}
# Types of inputs that a later version than that of the operator's row brought.
_LATER = {("FULLY_CONNECTED", "int4"): 10}


def check_operator(
    name: str, inputs: Sequence[Operand], outputs: Sequence[Operand], options: Mapping[str, Option] | None = None
) -> Operator:
    """Look an operator up and refuse what does not run on TensorFlow Lite Micro, whatever its build checks.

    Args:
        name: the operator's name in the schema, for example "FULLY_CONNECTED".
        inputs: the tensors that it reads.
        outputs: tensors that it writes, none of some operators.
        options: values by the names of `options.py`; those left out are as this package writes them.

    Returns:
        The operator's row.

    Raises:
        ValueError: the operator, its types or its quantisation are not in the table; or its shapes, scales, constants
            or options break a rule of its kernels (see `rules.py`).
    """
    written = outputs[0].type if outputs else NOTHING
    operator = check_types(name, tuple(t.type for t in inputs), written, tuple(bool(t.scales) for t in inputs))
    most = max(1, len(outputs)) if operator is CUSTOM_BLOCK else int(written != NOTHING)
    if len(outputs) != most:
        raise ValueError(f"{name} was given {len(outputs)} outputs; expected {most}.")
    check_rules(Call(name, tuple(inputs), tuple(outputs), complete(name, options or {})))
    later = [_LATER[name, operand.type] for operand in inputs if (name, operand.type) in _LATER]
    return dataclasses.replace(operator, version=max(later)) if later else operator


def check_types(name: str, inputs: tuple[str, ...], output: str, quantized: tuple[bool, ...]) -> Operator:
    """The part of `check_operator` that the table of types is enough for.

    Args:
        name: the operator's name in the schema.
        inputs: the types of its inputs.
        output: the type of its output, `NOTHING` if it has none.
        quantized: one bool an input: whether it carries quantisation parameters.

    Returns:
        The operator's row.

    Raises:
        ValueError: when the operator, its types or its quantisation are not in the table.
    """
    if name not in OPERATORS and name != CUSTOM_BLOCK.name:
        raise ValueError(
            f"Operator {name} is not in the table of operators that run; use one of {', '.join(OPERATORS)}."
        )
    operator = OPERATORS.get(name, CUSTOM_BLOCK)
    if operator is CUSTOM_BLOCK and {*inputs[:-2], output} <= _INTEGERS:
        inputs, output = inputs[-2:], "any"
    if name == "CONCATENATION" and len(inputs) <= LARGEST_CONCATENATION and len(set(inputs)) == 1:
        inputs = inputs[:1]
    if (inputs, output) not in operator.signatures:
        known = "; ".join(f"{', '.join(types)} -> {result}" for types, result in operator.signatures)
        raise ValueError(f"{name} was given {', '.join(inputs)} -> {output}; what runs is {known}.")
    if inputs[:1] and inputs[0] in operator.plain and any(quantized):
        raise ValueError(f"{name} was given an input with a scale; its inputs must carry none. Insert a RESHAPE.")
    return operator
