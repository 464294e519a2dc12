"""Every row of the table of operators, measured again on TensorFlow Lite Micro."""

import numpy as np
import pytest
from operator_files import operator_model, run_operator
from tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4.testing.programs import full_range
from keras_s4.tflite.flatbuffer.operators.table import BY_CODE, OPERATORS, TENSOR_TYPES, check_types
from keras_s4.tflite.flatbuffer.writer import ModelWriter, Quantization
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.sigmoid import sigmoid_int16, tanh_int16

# These run together, in a test of their own.
VARIABLES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
ROWS = [
    (operator.name, inputs, output)
    for operator in OPERATORS.values()
    if operator.name not in VARIABLES
    for inputs, output in operator.signatures
]
COARSE, FINE = Quantization((0.5,)), Quantization((0.3,))
H = 12


def quantization(type: str, scale: Quantization) -> Quantization | None:
    return None if type == "int32" else scale


@pytest.mark.parametrize(
    ("name", "inputs", "output"), ROWS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_runs(name, inputs, output):
    random = np.random.default_rng(0)
    x = full_range(random, (1, H), inputs[0]) if inputs[0] != "int32" else random.integers(-999, 999, (1, H), "int32")
    tensors, options = [((1, H), inputs[0], quantization(inputs[0], COARSE), None)], {}
    shape, scale = (1, H), COARSE
    match name:
        case "MUL" if output == "int16":
            other = full_range(random, (1, H), "int16")
            tensors.append(((1, H), "int16", COARSE, other))
            scale = Quantization((2.0**9,))
            products, multiplier = x.astype(np.int64) * other, fixed_point.product_multiplier(0.5, 0.5, 2.0**9)
            expected = fixed_point.requantize(products, multiplier, "int16")
        case "ADD" | "MUL":
            other = random.integers(-999, 999, (1, H), "int32")
            tensors.append(((1, H), "int32", None, other))
            expected = x + other if name == "ADD" else x * other
        case "QUANTIZE":
            tensors, scale = [((1, H), inputs[0], COARSE, None)], FINE
            expected = fixed_point.requantize(x, fixed_point.rescale_multiplier(0.5, 0.3), output)
        case "CAST":
            options = {"input_type": TENSOR_TYPES[inputs[0]], "output_type": TENSOR_TYPES[output]}
            expected = x.astype(output)
        case "RESHAPE":
            options, expected = {"new_shape": (1, H)}, x
        case "REVERSE_V2":
            shape, x = (1, 2, 3, H), full_range(random, (1, 2, 3, H), inputs[0])
            tensors = [(shape, inputs[0], COARSE, None), ((1,), "int32", None, np.array([1]))]
            expected = x[:, ::-1]
        case "LOGISTIC" | "TANH":
            x, function = full_range(random, (1, H), "int16"), sigmoid_int16 if name == "LOGISTIC" else tanh_int16
            tensors, scale = [((1, H), "int16", Quantization((2.0**-12,)), None)], Quantization((2.0**-15,))
            expected = function(x, 2.0**-12)
        case "MAXIMUM" | "MINIMUM":
            tensors.append(((1,), "int32", None, np.array([7])))
            expected = np.maximum(x, 7) if name == "MAXIMUM" else np.minimum(x, 7)
        case "CONCATENATION":
            tensors, shape = tensors * 2, (1, 2 * H)
            options, expected = {"axis": 1}, np.concatenate([x, x], axis=1)
            tensors[1] = (*tensors[1][:3], x)
        case "STRIDED_SLICE":
            tensors += [((2,), "int32", None, np.array(ends)) for ends in ([0, 2], [1, H], [1, 3])]
            expected = x[:, 2::3]
            shape = expected.shape
        case "MAX_POOL_2D":
            x = full_range(random, (1, 2, 5, H), inputs[0])
            tensors, options = [(x.shape, inputs[0], COARSE, None)], {"width": 5}
            expected, shape = x.max(axis=2, keepdims=True), (1, 2, 1, H)
        case "BATCH_MATMUL":
            other = full_range(random, (1, H, 1), "int16")
            tensors = [((1, 1, H), "int16", COARSE, None), (other.shape, "int16", COARSE, other)]
            x, shape, scale = x[:, None], (1, 1, 1), Quantization((2.0**15,))
            multiplier = fixed_point.product_multiplier(0.5, 0.5, 2.0**15)
            expected = fixed_point.requantize_reduced(x.astype(np.int64) @ other, multiplier, "int16")
        case "BROADCAST_TO":
            tensors, shape = [*tensors, ((2,), "int32", None, np.array([5, H]))], (5, H)
            expected = np.broadcast_to(x, shape)
        case "GATHER":
            table, x = full_range(random, (256,), "int8"), random.integers(0, 256, (1, H), "int32")
            tensors = [((256,), "int8", COARSE, table), ((1, H), "int32", None, None)]
            expected = table[x]
        case "FULLY_CONNECTED":
            weights, bias = np.eye(H), np.arange(H)
            tensors += [
                (weights.shape, inputs[1], COARSE, weights),
                (bias.shape, inputs[2], Quantization((0.25,)), bias),
            ]
            scale = Quantization((0.25,))
            expected = fixed_point.saturate(x.astype(np.int64) + bias, output)
        case "DEPTHWISE_CONV_2D":
            x, weights = full_range(random, (1, 2, 3, H), "int16"), full_range(random, (1, 2, 3, H), "int8")
            tensors = [
                (x.shape, "int16", COARSE, None),
                (weights.shape, "int8", Quantization((0.25,) * H, 0, 3), weights),
                ((H,), "int64", None, np.zeros(H)),
            ]
            shape, scale = (1, 1, 1, H), Quantization((16.0,))
            sums = (x.astype(np.int64) * weights).sum(axis=(1, 2))
            multiplier = fixed_point.product_multiplier(0.5, np.full(H, 0.25), 16.0)
            expected = fixed_point.requantize_reduced(sums, multiplier, output).reshape(shape)
        case _:
            pytest.fail(f"{name} is in the table and nothing measures it")
    model = operator_model(name, tensors, (shape, output, quantization(output, scale)), **options)
    result = run_operator(model, x)
    assert result.dtype == output
    np.testing.assert_array_equal(result, expected)


def variable_model(type: str, start: np.ndarray | None = None, scale: Quantization | None = None) -> bytes:
    """Gives its input of the step before; at first `start`, which a second subgraph assigns."""
    writer = ModelWriter()
    x, before = writer.tensor((1, H), type), writer.tensor((1, H), type)
    handle = writer.operator("VAR_HANDLE", [], writer.tensor((1,), "resource"), shared_name="state")
    if start is not None:
        writer.operator("CALL_ONCE", [], subgraph=1)
        once = writer.subgraph()
        inputs = [once.tensor((1,), "resource"), once.tensor((1, H), type, scale, start)]
        once.operator("VAR_HANDLE", [], inputs[0], shared_name="state")
        once.operator("ASSIGN_VARIABLE", inputs)
    writer.operator("READ_VARIABLE", [handle], before)
    writer.operator("ASSIGN_VARIABLE", [handle, x])
    return writer.finish([x], [before])


@pytest.mark.parametrize("type", [output for _, output in OPERATORS["READ_VARIABLE"].signatures])
def test_variables_run(type):
    """A variable starts at 0, is read before it is assigned, and a reset zeroes it but runs no CALL_ONCE again."""
    assert {inputs[1] for inputs, _ in OPERATORS["ASSIGN_VARIABLE"].signatures} >= {type}
    random = np.random.default_rng(0)
    first, *samples = full_range(random, (5, 1, H), type)
    for start in (None, first):
        interpreter = runtime.Interpreter.from_bytes(variable_model(type, start), arena_size=1 << 16)
        for begin in (np.zeros_like(first) if start is None else start, np.zeros_like(first)):
            for sample, expected in zip(samples, [begin, *samples], strict=False):
                interpreter.set_input(sample, 0)
                interpreter.invoke()
                np.testing.assert_array_equal(interpreter.get_output(0), expected)
            interpreter.reset()


def test_variables_with_a_scale_are_refused():
    """TensorFlow Lite Micro would fill their bytes with the zero point."""
    with pytest.raises(ValueError, match="ASSIGN_VARIABLE was given an input with a scale"):
        variable_model("int16", np.zeros((1, H), "int16"), COARSE)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.name)
def test_numbers_are_those_of_the_schema(operator):
    assert operator.code == getattr(schema.BuiltinOperator, operator.name)
    assert BY_CODE[operator.code] is operator
    names = {value: name for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}
    if not operator.options:
        assert operator.name in ("LOGISTIC", "TANH")  # for which the schema has no table
        return
    shared = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum", "MAX_POOL_2D": "Pool2D"}
    words = shared.get(operator.name, operator.name.replace("_", ""))
    assert names[operator.options].lower() == f"{words}Options".lower()


def test_types_are_those_of_the_schema():
    assert {name: getattr(schema.TensorType, name.upper()) for name in TENSOR_TYPES} == TENSOR_TYPES


@pytest.mark.parametrize(
    ("name", "inputs", "output", "message"),
    [
        ("TILE", ("int32",), "int32", "not in the table"),
        ("GATHER", ("int16", "int32"), "int16", "what runs is"),
        ("CONCATENATION", ("int8", "int16"), "int8", "what runs is"),
        ("CONCATENATION", ("int8",) * 11, "int8", "what runs is"),
        ("FULLY_CONNECTED", ("int16", "int8", "int32"), "int16", "what runs is"),
        ("FULLY_CONNECTED", ("int8", "int8", "int32"), "int16", "what runs is"),
        ("QUANTIZE", ("int8",), "int16", "what runs is"),
    ],
)
def test_refuses_what_does_not_run(name, inputs, output, message):
    with pytest.raises(ValueError, match=message):
        check_types(name, inputs, output, (False,) * len(inputs))


def test_add_with_a_scale_is_refused_here_and_there(monkeypatch):
    tensors = [((1, H), "int32", COARSE, None), ((1, H), "int32", None, None)]
    with pytest.raises(ValueError, match="Insert a RESHAPE"):
        operator_model("ADD", tensors, ((1, H), "int32", None))
    row = OPERATORS["ADD"]
    monkeypatch.setattr("keras_s4.tflite.flatbuffer.writer.check_operator", lambda *arguments: row)
    zeros = np.zeros((1, H), np.int32)
    with pytest.raises(RuntimeError):
        run_operator(operator_model("ADD", tensors, ((1, H), "int32", None)), zeros, zeros)


@pytest.mark.parametrize("name", ["ADD", "MUL", "CAST"])
def test_what_quantize_reads_may_carry_a_scale_and_a_zero_point(name):
    """The exporter saves a RESHAPE by this."""
    random = np.random.default_rng(1)
    type = "int16" if name == "CAST" else "int32"
    a, b = (random.integers(-90, 90, (1, H), type) for _ in range(2))
    writer = ModelWriter()
    inputs = [
        writer.tensor((1, H), type, COARSE if name == "CAST" else None) for _ in range(1 if name == "CAST" else 2)
    ]
    tagged = writer.tensor((1, H), "int32", Quantization((0.02,), 33))
    output = writer.tensor((1, H), "int8", Quantization((0.5,), -7))
    types = {"input_type": TENSOR_TYPES["int16"], "output_type": TENSOR_TYPES["int32"]} if name == "CAST" else {}
    writer.operator(name, inputs, tagged, **types)
    writer.operator("QUANTIZE", [tagged], output)
    model = writer.finish(inputs, [output])
    integers = {"ADD": a + b, "MUL": a * b, "CAST": a}[name].astype(np.int64)
    expected = fixed_point.requantize(integers - 33, fixed_point.rescale_multiplier(0.02, 0.5), "int8", -7)
    np.testing.assert_array_equal(run_operator(model, *[a, b][: len(inputs)]), expected)
