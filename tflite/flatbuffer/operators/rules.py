"""What TensorFlow Lite Micro's kernels demand of an operator's tensors beyond their types, as data.

Each rule was read in the kernels, both the portable ones and those of CMSIS-NN: what they ensure when tensors are
allocated, what they assert at each step, and what they trust. A build without NDEBUG halts at an assertion, on a device
without a word; one with NDEBUG, such as the `tflite-micro` package, goes on, and may write outside its tensors. Where
kernels differ, the narrower demand is the rule. The rules of an operator are tried in order, so that each may rely on
those before it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from keras_s4.tflite.flatbuffer.operators.conditions import (
    ACCUMULATOR_BITS,
    LARGEST_SHIFT,
    bias_fits,
    broadcast,
    cuts,
    is_broadcast,
    is_reduced,
    joins,
    largest_sum,
    moves_window,
    multiplies_alike,
    multiplies_matrices,
    reverses_neighbours,
    sums_fit,
)
from keras_s4.tflite.flatbuffer.operators.operands import Call
from keras_s4.tflite.flatbuffer.operators.options import Option


@dataclasses.dataclass(frozen=True)
class Rule:
    """A demand.

    Args:
        demand: words for what must be so.
        reason: kernels that want it, and what happens otherwise.
        holds: a function that says whether a call meets it.
    """

    demand: str
    reason: str
    holds: Callable[[Call], bool]


MOST_AXES = 6


def _options(demand: str, reason: str, **options: Option) -> Rule:
    return Rule(demand, reason, lambda call: all(call.options[name] == value for name, value in options.items()))


_EVERY = (
    Rule(
        f"at most {MOST_AXES} axes",
        "a shape has room for so many, which is asserted",
        lambda call: all(operand.axes <= MOST_AXES for operand in call.operands),
    ),
    Rule(
        "scales that are positive numbers",
        "the kernels divide by them",
        lambda call: all(math.isfinite(scale) and scale > 0 for operand in call.operands for scale in operand.scales),
    ),
    Rule(
        "no fused activation",
        "nothing of this package has any",
        lambda call: not call.options.get("activation", 0),
    ),
)

_EQUAL_SHAPES = Rule(
    "input and output of equal shape",
    "CAST and TANH assert it, and others write as many values as they read",
    lambda call: call.input.shape == call.output.shape,
)
_BROADCAST = Rule(
    "inputs that can be broadcast, and an output of the shape that this gives",
    "the loops assert strides, and trust the output's shape",
    is_broadcast,
)
_FOUR_AXES_AT_MOST = Rule(
    "at most four axes",
    "CMSIS-NN brings the shapes to four axes and aborts otherwise",
    lambda call: all(operand.axes <= 4 for operand in call.operands),
)
_NO_ZERO_POINTS = Rule(
    "int16 without zero points",
    "ensured when tensors are allocated",
    lambda call: all(operand.is_symmetric for operand in call.operands if operand.type == "int16"),
)
_ONE_SCALE = Rule(
    "one scale for each tensor",
    "the kernels read it, some ensure it",
    lambda call: all(operand.has_one_scale for operand in call.operands),
)


def _sums(holds: Callable[[Call], bool]) -> Rule:
    demand = f"64-bit sums below 2**{ACCUMULATOR_BITS} that are scaled by less than 2**{LARGEST_SHIFT}"
    return Rule(demand, "both are asserted", holds)


_FOUR_AXES = Rule(
    "four axes",
    "asserted",
    lambda call: all(operand.axes == 4 for operand in (call.input, call.output)),
)
_UNIT_STRIDES = {"padding": 1, "stride_w": 1, "stride_h": 1}
_ONE_HANDLE = Rule(
    "a handle of one value",
    "ensured when tensors are allocated",
    lambda call: all(t.size == 1 for t in call.operands if t.type == "resource"),
)


def _sigmoid_scales(call: Call) -> bool:
    return call.input.scale * 3 * 2**12 < 2**15 and call.output.scale == 2.0**-15


_SIGMOID = (
    _EQUAL_SHAPES,
    _ONE_SCALE,
    _NO_ZERO_POINTS,
    Rule("an input scale below 8/3 and an output scale of 2**-15", "both are asserted or ensured", _sigmoid_scales),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "ADD": (_BROADCAST,),
    "MUL": (
        _BROADCAST,
        Rule(
            "int16 of equal shapes without zero points, whose product is scaled by a power of two",
            "otherwise engines round in different ways",
            multiplies_alike,
        ),
    ),
    "MAXIMUM": (_BROADCAST, _FOUR_AXES_AT_MOST),
    "MINIMUM": (_BROADCAST, _FOUR_AXES_AT_MOST),
    "QUANTIZE": (
        _EQUAL_SHAPES,
        _ONE_SCALE,
    ),
    "CAST": (_EQUAL_SHAPES,),
    "LOGISTIC": _SIGMOID,
    "TANH": _SIGMOID,
    "FULLY_CONNECTED": (
        Rule(
            "constant weights with two axes, and a constant bias for each row of them",
            "asserted, or trusted",
            lambda call: (
                call.has_constants(1, 2)
                and call.inputs[1].axes == 2
                and call.inputs[2].shape == call.inputs[1].shape[:1]
            ),
        ),
        Rule(
            "rows of 4-bit weights that end with a byte",
            "CMSIS-NN goes another way through others",
            lambda call: call.inputs[1].type != "int4" or call.inputs[1].shape[1] % 2 == 0,
        ),
        Rule(
            "an output with two axes",
            "with more of them and a depth that 4 divides, CMSIS-NN's int8 kernel stops at an assertion on a scratch "
            "buffer's index; write two and RESHAPE",
            lambda call: call.output.axes == 2,
        ),
        Rule(
            "rows of inputs as long as rows of weights, and an output for each row of weights",
            "the kernels trust the shape of the output",
            lambda call: (
                call.output.shape[1] == call.inputs[1].shape[0]
                and call.input.size == call.output.shape[0] * call.inputs[1].shape[1]
            ),
        ),
        Rule(
            "one scale for each tensor, and weights without a zero point",
            "several scales of the weights fail on CMSIS-NN or differ between engines; the zero point is asserted",
            lambda call: _ONE_SCALE.holds(call) and call.inputs[1].is_symmetric,
        ),
        Rule("a bias with the scale of the products", "ensured when tensors are allocated", bias_fits),
        _NO_ZERO_POINTS,
        _sums(sums_fit),
        _options("weights in plain order", "the kernels know no other", weights_format=0),
    ),
    "DEPTHWISE_CONV_2D": (
        _FOUR_AXES,
        Rule(
            "constant weights with four axes, the first of size 1, and a constant bias for each of their channels",
            "asserted",
            lambda call: (
                call.has_constants(1, 2)
                and call.inputs[1].axes == 4
                and call.inputs[1].shape[0] == 1
                and call.inputs[2].shape == call.inputs[1].shape[3:]
            ),
        ),
        Rule(
            "as many channels of weights and output, the depth multiplier times those of the input",
            "asserted",
            lambda call: (
                call.output.shape[3]
                == call.inputs[1].shape[3]
                == call.input.shape[3] * call.options["depth_multiplier"]
            ),
        ),
        _options(
            "padding VALID without strides along the width, and without dilation",
            "what this package writes",
            padding=1,
            stride_w=1,
            dilation_w=1,
            dilation_h=1,
        ),
        Rule("strides of at least 1", "the kernels divide by them", lambda call: call.options["stride_h"] >= 1),
        Rule(
            "an output for each place of the window",
            "the kernels trust the shape of the output",
            lambda call: moves_window(call, *call.inputs[1].shape[1:3]),
        ),
        Rule(
            "one scale for input and output, and one or one each channel of the weights, along the last axis",
            "ensured when tensors are allocated",
            lambda call: (
                call.input.has_one_scale
                and call.output.has_one_scale
                and len(call.inputs[1].scales) in (1, call.inputs[1].shape[3])
                and (len(call.inputs[1].scales) == 1 or call.inputs[1].dimension == 3)
            ),
        ),
        Rule(
            "weights without zero points",
            "the 16-bit kernels leave them out",
            lambda call: call.inputs[1].is_symmetric,
        ),
        _NO_ZERO_POINTS,
        _sums(sums_fit),
    ),
    "RESHAPE": (
        Rule(
            "as many values of input and output",
            "ensured when tensors are allocated",
            lambda call: call.input.size == call.output.size,
        ),
        Rule(
            "the output's shape as its new shape",
            "TensorFlow's interpreter reads that, TensorFlow Lite Micro the output's",
            lambda call: call.options["new_shape"] == call.output.shape,
        ),
    ),
    "REVERSE_V2": (
        _EQUAL_SHAPES,
        Rule(
            "constant axes in one list",
            "ensured when tensors are allocated",
            lambda call: call.has_constants(1) and call.inputs[1].axes == 1 and call.inputs[1].size > 0,
        ),
        Rule("neighbouring axes of the input", "ensured at each step", reverses_neighbours),
    ),
    "GATHER": (
        _options("axis 0 and no batch axes", "what this package writes", axis=0, batch_dimensions=0),
        Rule(
            "an output with the axes of the indices, then those of a row of the table",
            "the kernel writes these sizes over the output's, which must have room",
            lambda call: call.input.axes > 0 and call.output.shape == call.inputs[1].shape + call.input.shape[1:],
        ),
        Rule(
            "indices that are rows of the table",
            "asserted at each step, and trusted otherwise",
            lambda call: all(0 <= row < call.input.shape[0] for row in call.inputs[1].values),
        ),
    ),
    "CONCATENATION": (
        Rule("inputs that make up the output along an axis, and agree in all others", "asserted at each step", joins),
        Rule(
            "int8 of one scale and zero point",
            "ensured when tensors are allocated",
            lambda call: call.output.type != "int8" or all(operand.is_like(call.output) for operand in call.inputs),
        ),
        _NO_ZERO_POINTS,
    ),
    "STRIDED_SLICE": (
        Rule("at most four axes", "ensured when tensors are allocated", lambda call: call.input.axes <= 4),
        Rule(
            "a constant begin, end and stride for each axis",
            "the kernel reads so many",
            lambda call: (
                call.has_constants(1, 2, 3) and all(operand.shape == (call.input.axes,) for operand in call.inputs[1:])
            ),
        ),
        _options(
            "no masks",
            "what this package writes",
            **dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0),
            offset=0,
        ),
        Rule("parts inside the input, and an output of their shape", "ensured when tensors are allocated", cuts),
    ),
    "MAX_POOL_2D": (
        _FOUR_AXES,
        Rule(
            "one image", "CMSIS-NN of 2025 pools the first and leaves the others", lambda call: call.input.shape[0] == 1
        ),
        Rule(
            "as many channels of input and output", "asserted", lambda call: call.input.shape[3] == call.output.shape[3]
        ),
        _options("padding VALID without strides", "what this package writes", **_UNIT_STRIDES),
        Rule(
            "an output for each place of the window",
            "the kernels trust the shape of the output",
            lambda call: moves_window(call, call.options["height"], call.options["width"]),
        ),
        _ONE_SCALE,
        Rule(
            "input and output of one scale and zero point",
            "ensured when tensors are allocated",
            lambda call: call.input.is_like(call.output),
        ),
    ),
    "BATCH_MATMUL": (
        Rule(
            "two to four axes",
            "ensured when tensors are allocated, five at most on the portable kernels and four on CMSIS-NN",
            lambda call: all(2 <= operand.axes <= 4 for operand in call.inputs),
        ),
        _options("matrices as they are", "what this package writes", adjoint_a=0, adjoint_b=0),
        Rule(
            "matrices that fit, and an output of the product's shape",
            "ensured when tensors are allocated",
            multiplies_matrices,
        ),
        _ONE_SCALE,
        _NO_ZERO_POINTS,
        _sums(
            lambda call: (
                is_reduced(math.prod(operand.scale for operand in call.inputs) / call.output.scale)
                and largest_sum(call.input.shape[-1], call) < 2**ACCUMULATOR_BITS
            ),
        ),
    ),
    "BROADCAST_TO": (
        Rule("at most five axes", "ensured when tensors are allocated", lambda call: call.output.axes <= 5),
        Rule(
            "the output's shape as a constant list",
            "ensured when tensors are allocated",
            lambda call: (
                call.has_constants(1) and call.inputs[1].axes == 1 and tuple(call.inputs[1].values) == call.output.shape
            ),
        ),
        Rule(
            "an input that can be broadcast to it",
            "ensured when tensors are allocated",
            lambda call: broadcast(call.input.shape, call.output.shape) == call.output.shape,
        ),
    ),
    "VAR_HANDLE": (
        _ONE_HANDLE,
        Rule(
            "a name, and no container",
            "variables are found by their names, which are read without a check",
            lambda call: bool(call.options["shared_name"]) and not call.options["container"],
        ),
    ),
    "READ_VARIABLE": (_ONE_HANDLE,),
    "ASSIGN_VARIABLE": (_ONE_HANDLE,),
    "CALL_ONCE": (
        Rule("a subgraph of the file", "the main one would call itself", lambda call: call.options["subgraph"] > 0),
    ),
    # Its own kernel checks the sizes, see `custom_operator`.
    "KERAS_S4_BLOCK": (
        Rule(
            "constants as its last two inputs, and integers as outputs",
            "ensured when tensors are allocated",
            lambda call: (
                call.has_constants(-2, -1) and all(output.type in ("int8", "int16", "int32") for output in call.outputs)
            ),
        ),
    ),
}


def check_rules(call: Call) -> None:
    """Refuse an operator whose tensors break a rule of its kernels.

    Args:
        call: an operator whose types are in the table.

    Raises:
        ValueError: what it was given, and the demand that it does not meet.
    """
    for rule in (*_EVERY, *RULES[call.name]):
        if not rule.holds(call):
            raise ValueError(f"{call}: TensorFlow Lite Micro wants {rule.demand} ({rule.reason}).")
