"""Every rule of the kernels: an operator that keeps all of them, and one that breaks each."""

import dataclasses
import itertools

import numpy as np
import pytest
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from keras_s4.testing.programs import SINGLE, model, single
from keras_s4.tflite.flatbuffer import check_tflite, to_tflite
from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand
from keras_s4.tflite.flatbuffer.operators.options import FIELDS, complete
from keras_s4.tflite.flatbuffer.operators.rules import RULES, check_rules
from keras_s4.tflite.flatbuffer.operators.table import CUSTOM_BLOCK, OPERATORS, check_operator
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.flatbuffer.writer import ModelWriter, Quantization

SIGMOID_SCALES = (2.0**-12, 2.0**-15)


def tensor(shape, type="int32", scale=None, zero_point=0, data=None):
    scales = () if scale is None else (scale,)
    return Operand(tuple(shape), type, scales, (zero_point,) * len(scales), data=data)


def numbers(*values):
    return tensor((len(values),), data=np.array(values))


def constant(shape, type, scale=None):
    return tensor(shape, type, scale, data=np.zeros(shape, type))


# For each operator the inputs, the outputs and the options of a call that runs.
VALID = {
    **{name: ([tensor((1, 3, 4)), tensor((4,))], [tensor((1, 3, 4))], {}) for name in ("ADD", "MUL")},
    **{name: ([tensor((1, 3, 4)), tensor((1,))], [tensor((1, 3, 4))], {}) for name in ("MAXIMUM", "MINIMUM")},
    "QUANTIZE": ([tensor((1, 4), "int32", 0.5)], [tensor((1, 4), "int8", 0.25, 3)], {}),
    "CAST": ([tensor((1, 4), "int8")], [tensor((1, 4), "int16")], {}),
    **{
        name: ([tensor((1, 4), "int16", SIGMOID_SCALES[0])], [tensor((1, 4), "int16", SIGMOID_SCALES[1])], {})
        for name in ("LOGISTIC", "TANH")
    },
    "FULLY_CONNECTED": (
        [tensor((1, 3, 8), "int16", 0.5), constant((5, 8), "int8", 0.25), constant((5,), "int64", 0.125)],
        [tensor((3, 5), "int16", 0.5)],
        {},
    ),
    "DEPTHWISE_CONV_2D": (
        [tensor((2, 3, 1, 4), "int16", 0.5), constant((1, 3, 1, 8), "int8", 0.25), constant((8,), "int64")],
        [tensor((2, 1, 1, 8), "int16", 0.5)],
        {"depth_multiplier": 2},
    ),
    "RESHAPE": ([tensor((1, 6))], [tensor((2, 3))], {"new_shape": (2, 3)}),
    "REVERSE_V2": ([tensor((1, 2, 3), "int16"), numbers(1, -1)], [tensor((1, 2, 3), "int16")], {}),
    "GATHER": ([constant((9, 3), "int8"), numbers(0, 8)], [tensor((2, 3), "int8")], {}),
    "CONCATENATION": (
        [tensor((1, 2, 3), "int8", 0.5, 7), tensor((1, 4, 3), "int8", 0.5, 7)],
        [tensor((1, 6, 3), "int8", 0.5, 7)],
        {"axis": 1},
    ),
    "STRIDED_SLICE": (
        [tensor((1, 9), "int8"), numbers(0, 2), numbers(1, 9), numbers(1, 3)],
        [tensor((1, 3), "int8")],
        {},
    ),
    "MAX_POOL_2D": (
        [tensor((1, 2, 5, 4), "int8", 0.5, 3)],
        [tensor((1, 2, 2, 4), "int8", 0.5, 3)],
        {"width": 4},
    ),
    "BATCH_MATMUL": (
        [tensor((3, 1, 4), "int16", 0.5), tensor((3, 4, 1), "int16", 0.5)],
        [tensor((3, 1, 1), "int16", 0.5)],
        {},
    ),
    "BROADCAST_TO": ([constant((1, 1), "int8"), numbers(2, 3)], [tensor((2, 3), "int8")], {}),
    "VAR_HANDLE": ([], [tensor((1,), "resource")], {"shared_name": "state"}),
    "READ_VARIABLE": ([tensor((1,), "resource")], [tensor((1, 4), "int16")], {}),
    "ASSIGN_VARIABLE": ([tensor((1,), "resource"), tensor((1, 4), "int16")], [], {}),
    "CALL_ONCE": ([], [], {"subgraph": 1}),
    "KERAS_S4_BLOCK": (
        [tensor((1, 4), "int16", 0.5), tensor((1, 4, 3, 2)), constant((22,), "int32"), constant((4,), "uint8")],
        [tensor((1, 4), "int16", 0.5), tensor((1, 4, 3, 2))],
        {},
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_what_keeps_the_rules_passes(name):
    inputs, outputs, options = VALID[name]
    assert check_operator(name, inputs, outputs, options).name == name


def test_every_operator_has_rules_and_a_valid_call():
    assert set(RULES) == set(VALID) == {*OPERATORS, CUSTOM_BLOCK.name}


def changed(place: int, **fields):
    """Replace fields of an input, or of the first output for -1."""

    def change(inputs, outputs, options):
        operands = outputs if place < 0 else inputs
        index = 0 if place < 0 else place
        operands[index] = dataclasses.replace(operands[index], **fields)

    return change


def with_options(**new):
    return lambda inputs, outputs, options: options.update(new)


def all_shapes(shape):
    def change(inputs, outputs, options):
        inputs[:] = [dataclasses.replace(each, shape=shape) for each in inputs]
        outputs[:] = [dataclasses.replace(each, shape=shape) for each in outputs]

    return change


def of_type(type: str):
    """Replace the type of all tensors."""

    def change(inputs, outputs, options):
        inputs[:] = [dataclasses.replace(each, type=type) for each in inputs]
        outputs[:] = [dataclasses.replace(each, type=type) for each in outputs]

    return change


def narrow(**fields):
    """Products of int16 instead of int32, whose first factor has other fields."""

    def change(inputs, outputs, options):
        inputs[:] = [tensor((1, 3, 4), "int16", 0.5), tensor((1, 3, 4), "int16", 0.25)]
        outputs[:] = [tensor((1, 3, 4), "int16", 8.0)]
        changed(0, **fields)(inputs, outputs, options)

    return change


def strided(window):
    """A window of another shape that moves by two rows."""

    def change(inputs, outputs, options):
        options["stride_h"] = 2
        inputs[1] = dataclasses.replace(inputs[1], shape=window)

    return change


def test_products_of_int16_and_windows_with_strides_pass():
    inputs, outputs = [], []
    narrow()(inputs, outputs, {})
    check_operator("MUL", inputs, outputs)
    inputs, outputs, options = VALID["DEPTHWISE_CONV_2D"]
    window = dataclasses.replace(inputs[1], shape=(1, 1, 1, 8))
    two = dataclasses.replace(outputs[0], shape=(2, 2, 1, 8))
    check_operator("DEPTHWISE_CONV_2D", [inputs[0], window, inputs[2]], [two], options | {"stride_h": 2})


def computed(place: int):
    return changed(place, data=None)


def rows_inside_a_byte(inputs, outputs, options):
    """Seven weights of 4 bits a row."""
    inputs[:] = [tensor((1, 7), "int8", 0.5), constant((5, 7), "int8", 0.25), constant((5,), "int32", 0.125)]
    inputs[1] = dataclasses.replace(inputs[1], type="int4")
    outputs[:] = [tensor((1, 5), "int8", 0.5)]


SYMMETRIC = {"zero_points": (1,)}
BROKEN = [
    ("CAST", changed(0, shape=(1, 1, 4)), "equal shape"),
    ("CAST", all_shapes((1,) * 7), "at most 6 axes"),
    ("QUANTIZE", changed(-1, shape=(1, 1, 4)), "equal shape"),
    ("QUANTIZE", changed(0, scales=(), zero_points=()), "one scale"),
    ("QUANTIZE", changed(-1, scales=(0.0,)), "positive numbers"),
    ("QUANTIZE", changed(-1, scales=(float("nan"),)), "positive numbers"),
    ("QUANTIZE", changed(-1, scales=(0.5,) * 4, zero_points=(0,) * 4), "one scale"),
    *[
        breach
        for name in ("LOGISTIC", "TANH")
        for breach in [
            (name, changed(-1, shape=(4,)), "equal shape"),
            (name, changed(0, **SYMMETRIC), "without zero points"),
            (name, changed(0, scales=(3.0,)), "below 8/3"),
            (name, changed(-1, scales=(2.0**-14,)), "2\\*\\*-15"),
            (name, changed(0, scales=(), zero_points=()), "one scale"),
        ]
    ],
    *[(name, changed(-1, shape=(3, 3, 4)), "broadcast") for name in ("ADD", "MUL", "MAXIMUM", "MINIMUM")],
    *[(name, changed(1, shape=(3,)), "broadcast") for name in ("ADD", "MUL", "MAXIMUM", "MINIMUM")],
    *[(name, with_options(activation=1), "activation") for name in ("ADD", "MUL", "FULLY_CONNECTED", "MAX_POOL_2D")],
    *[(name, all_shapes((1, 1, 1, 1, 4)), "four axes") for name in ("MAXIMUM", "MINIMUM")],
    ("FULLY_CONNECTED", changed(-1, shape=(1, 3, 5)), "an output with two axes"),
    ("FULLY_CONNECTED", rows_inside_a_byte, "end with a byte"),
    ("FULLY_CONNECTED", changed(-1, shape=(3, 4)), "output for each row"),
    ("FULLY_CONNECTED", changed(0, shape=(1, 2, 8)), "rows of inputs"),
    ("FULLY_CONNECTED", computed(1), "constant weights"),
    ("FULLY_CONNECTED", changed(1, shape=(5, 2, 4)), "two axes"),
    ("FULLY_CONNECTED", changed(2, shape=(1, 5)), "bias for each row"),
    ("FULLY_CONNECTED", changed(1, scales=(0.25,) * 5, zero_points=(0,) * 5), "one scale"),
    ("FULLY_CONNECTED", changed(1, **SYMMETRIC), "without a zero point"),
    ("FULLY_CONNECTED", changed(0, **SYMMETRIC), "int16 without zero points"),
    ("FULLY_CONNECTED", changed(2, scales=(0.5,)), "scale of the products"),
    ("FULLY_CONNECTED", changed(-1, scales=(2.0**-12,)), "less than"),
    ("FULLY_CONNECTED", changed(2, data=np.full(5, 2**47)), "below 2"),
    ("FULLY_CONNECTED", with_options(weights_format=1), "plain order"),
    ("DEPTHWISE_CONV_2D", changed(0, shape=(2, 3, 4)), "four axes"),
    ("DEPTHWISE_CONV_2D", changed(1, shape=(3, 1, 8)), "weights with four axes"),
    ("DEPTHWISE_CONV_2D", changed(2, shape=(4,)), "bias for each"),
    ("DEPTHWISE_CONV_2D", computed(2), "constant bias"),
    ("DEPTHWISE_CONV_2D", with_options(depth_multiplier=1), "depth multiplier"),
    ("DEPTHWISE_CONV_2D", changed(-1, shape=(2, 1, 1, 4)), "channels of weights and output"),
    ("DEPTHWISE_CONV_2D", with_options(stride_w=2), "without strides"),
    ("DEPTHWISE_CONV_2D", with_options(stride_h=0), "at least 1"),
    ("DEPTHWISE_CONV_2D", strided((1, 1, 1, 8)), "each place"),
    ("MUL", narrow(shape=(1, 4)), "equal shapes"),
    ("MUL", narrow(scales=(0.3,)), "power of two"),
    ("MUL", narrow(zero_points=(1,)), "without zero points"),
    ("DEPTHWISE_CONV_2D", with_options(dilation_w=2), "dilation"),
    ("DEPTHWISE_CONV_2D", with_options(padding=0), "padding VALID"),
    ("DEPTHWISE_CONV_2D", changed(-1, shape=(2, 3, 1, 8)), "each place"),
    ("DEPTHWISE_CONV_2D", changed(-1, shape=(1, 1, 1, 8)), "each place"),
    ("DEPTHWISE_CONV_2D", changed(1, scales=(0.5,) * 4, zero_points=(0,) * 4, dimension=3), "one each channel"),
    ("DEPTHWISE_CONV_2D", changed(1, scales=(0.5,) * 8, zero_points=(0,) * 8, dimension=0), "last axis"),
    ("DEPTHWISE_CONV_2D", changed(1, **SYMMETRIC), "weights without zero points"),
    ("DEPTHWISE_CONV_2D", changed(-1, **SYMMETRIC), "int16 without zero points"),
    ("DEPTHWISE_CONV_2D", changed(-1, scales=(2.0**-12,)), "less than"),
    ("RESHAPE", changed(0, shape=(1, 7)), "as many values"),
    ("RESHAPE", with_options(new_shape=(3, 2)), "new shape"),
    ("REVERSE_V2", changed(-1, shape=(1, 3, 2)), "equal shape"),
    ("REVERSE_V2", computed(1), "constant axes"),
    ("REVERSE_V2", changed(1, data=np.array([0, 2])), "neighbouring"),
    ("REVERSE_V2", changed(1, data=np.array([2, 3])), "neighbouring"),
    ("REVERSE_V2", changed(1, data=np.array([1, 1])), "neighbouring"),
    ("GATHER", with_options(axis=1), "axis 0"),
    ("GATHER", with_options(batch_dimensions=1), "no batch axes"),
    ("GATHER", changed(-1, shape=(6,)), "axes of the indices"),
    ("GATHER", changed(1, data=np.array([0, 9])), "rows of the table"),
    ("GATHER", changed(1, data=np.array([-1, 0])), "rows of the table"),
    ("CONCATENATION", with_options(axis=3), "along an axis"),
    ("CONCATENATION", with_options(axis=2), "along an axis"),
    ("CONCATENATION", changed(0, shape=(2, 3)), "along an axis"),
    ("CONCATENATION", changed(-1, shape=(1, 7, 3)), "along an axis"),
    ("CONCATENATION", changed(1, scales=(0.25,)), "int8 of one scale"),
    ("CONCATENATION", changed(1, zero_points=(0,)), "zero point"),
    ("CONCATENATION", of_type("int16"), "int16 without zero points"),
    ("STRIDED_SLICE", changed(0, shape=(1, 1, 1, 1, 9)), "at most four axes"),
    ("STRIDED_SLICE", changed(1, shape=(1,)), "for each axis"),
    ("STRIDED_SLICE", computed(3), "constant begin"),
    ("STRIDED_SLICE", changed(3, data=np.array([1, 0])), "inside"),
    ("STRIDED_SLICE", changed(2, data=np.array([1, 10])), "inside"),
    ("STRIDED_SLICE", changed(-1, shape=(1, 2)), "their shape"),
    ("STRIDED_SLICE", with_options(shrink_axis_mask=1), "no masks"),
    ("MAX_POOL_2D", changed(0, shape=(2, 5, 4)), "four axes"),
    ("MAX_POOL_2D", changed(0, shape=(2, 2, 5, 4)), "one image"),
    ("MAX_POOL_2D", changed(-1, shape=(1, 2, 2, 3)), "as many channels"),
    ("MAX_POOL_2D", with_options(width=6), "each place"),
    ("MAX_POOL_2D", with_options(height=0), "each place"),
    ("MAX_POOL_2D", with_options(stride_w=2), "without strides"),
    ("MAX_POOL_2D", changed(-1, scales=(0.25,)), "one scale and zero point"),
    ("MAX_POOL_2D", changed(0, scales=(), zero_points=()), "one scale"),
    ("BATCH_MATMUL", all_shapes((4,)), "two to four axes"),
    ("BATCH_MATMUL", all_shapes((1, 1, 1, 1, 1)), "two to four axes"),
    ("BATCH_MATMUL", changed(1, shape=(3, 1, 4)), "matrices that fit"),
    ("BATCH_MATMUL", changed(-1, shape=(3, 1)), "product's shape"),
    ("BATCH_MATMUL", with_options(adjoint_b=1), "matrices as they are"),
    ("BATCH_MATMUL", changed(0, scales=(), zero_points=()), "one scale"),
    ("BATCH_MATMUL", changed(0, **SYMMETRIC), "without zero points"),
    ("BATCH_MATMUL", changed(-1, scales=(2.0**-12,)), "less than"),
    ("BROADCAST_TO", changed(-1, shape=(1, 1, 1, 1, 2, 3)), "at most five axes"),
    ("BROADCAST_TO", changed(1, data=np.array([3, 3])), "constant list"),
    ("BROADCAST_TO", changed(0, shape=(2, 2)), "can be broadcast"),
    ("VAR_HANDLE", with_options(shared_name=""), "a name"),
    ("VAR_HANDLE", with_options(container="c"), "no container"),
    ("VAR_HANDLE", changed(-1, shape=(2,)), "handle of one value"),
    ("READ_VARIABLE", changed(0, shape=(2,)), "handle of one value"),
    ("ASSIGN_VARIABLE", changed(0, shape=(2,)), "handle of one value"),
    ("CALL_ONCE", with_options(subgraph=0), "a subgraph"),
    ("KERAS_S4_BLOCK", computed(2), "constants"),
    ("KERAS_S4_BLOCK", lambda inputs, outputs, options: outputs.append(tensor((1,), "int64")), "integers as outputs"),
]


@pytest.mark.parametrize(
    ("name", "change", "words"), BROKEN, ids=[f"{name}-{index}" for index, (name, *_) in enumerate(BROKEN)]
)
def test_what_breaks_a_rule_is_refused(name, change, words):
    inputs, outputs, options = VALID[name]
    inputs, outputs, options = list(inputs), list(outputs), dict(options)
    change(inputs, outputs, options)
    with pytest.raises(ValueError, match=f"{name} of .*TensorFlow Lite Micro wants .*{words}"):
        check_operator(name, inputs, outputs, options)


def test_no_rule_goes_without_a_call_that_breaks_it():
    """Each rule of each operator is the first that some call above does not meet."""
    met = set()
    for name, change, _ in BROKEN:
        inputs, outputs, options = (*map(list, VALID[name][:2]), dict(VALID[name][2]))
        change(inputs, outputs, options)
        call = Call(name, tuple(inputs), tuple(outputs), complete(name, options))
        met |= {(name, index) for index in itertools.islice(broken_rules(call), 1)}
    every = {(name, index) for name, rules in RULES.items() for index in range(len(rules))}
    assert {(name, RULES[name][index].demand) for name, index in every - met} == set()


def broken_rules(call: Call):
    """The numbers of the rules of the operator's own that are broken; later ones may fail, who rely on earlier ones."""
    return (index for index, rule in enumerate(RULES[call.name]) if not rule.holds(call))


def test_leading_axes_of_size_1_do_not_matter_where_the_kernels_add_them():
    for shapes in itertools.permutations([(1, 1, 1, 4), (1, 4), (4,)]):
        check_rules(Call("ADD", (tensor(shapes[0]), tensor(shapes[1])), (tensor(shapes[2]),), complete("ADD", {})))


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="CONCATENATION has no option 'axes'; it has axis, activation"):
        complete("CONCATENATION", {"axes": 1})


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_options_are_those_of_the_schema(name):
    words = {"MAX_POOL_2D": "Pool2DOptions", "BATCH_MATMUL": "BatchMatMulOptions"}
    table = words.get(name, "".join(word.capitalize() for word in name.split("_")) + "Options").replace("2d", "2D")
    adders = [key for key in vars(schema) if key.startswith(f"{table}Add")]
    assert max(field.slot for field in FIELDS[name]) < len(adders)
    empty = getattr(schema, table.removesuffix("T") + "T")()
    defaults = list(vars(empty).values())
    for field in FIELDS[name]:
        default = field.default or (None if field.format in ("text", "numbers") else 0)
        assert defaults[field.slot] == default or (field.name, defaults[field.slot]) == ("shared_name", None)


@pytest.mark.parametrize("name", [*SINGLE, "model"])
def test_options_read_from_a_file_are_those_written(name):
    program = model(blocks=2) if name == "model" else single(name)
    data = to_tflite(program)
    theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0)).subgraphs[0].operators
    ours = read_summary(data)
    for operator, mine, options in zip(theirs, ours.operators, ours.options, strict=True):
        stored = list(vars(operator.builtinOptions).values()) if operator.builtinOptions else []
        for field in FIELDS.get(mine, ()):
            value = stored[field.slot]
            value = tuple(value) if field.format == "numbers" else value
            assert options[field.name] == value, (mine, field.name)


def test_a_file_that_breaks_a_rule_is_refused_even_if_its_checksum_is_right(monkeypatch):
    monkeypatch.setattr("keras_s4.tflite.flatbuffer.writer.check_operator", lambda name, *_: OPERATORS[name])
    writer = ModelWriter()
    x = writer.tensor((2, 1, 4), "int8", Quantization((0.5,)))
    y = writer.tensor((2, 4), "int16")
    writer.operator("CAST", [x], y, input_type=9, output_type=7)
    data = writer.finish([x], [y])
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"damaged .tflite: CAST of int8 \[2, 1, 4\] -> int16 \[2, 4\]: .* equal shape"
    ):
        check_tflite(data)
