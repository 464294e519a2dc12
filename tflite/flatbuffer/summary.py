"""What a `.tflite` consists of, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from keras_s4.tflite.flatbuffer.constants import constant_values, stored_bytes
from keras_s4.tflite.flatbuffer.operators.costs import INVOKE, cost_of
from keras_s4.tflite.flatbuffer.operators.operands import Call, Operand
from keras_s4.tflite.flatbuffer.operators.options import Option
from keras_s4.tflite.flatbuffer.operators.table import BY_CODE, CUSTOM_BLOCK, TENSOR_TYPES

TYPE_NAMES = {0: "float32", 1: "float16", 10: "float64", **{code: name for name, code in TENSOR_TYPES.items()}}
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
        values = constant_values(self.data, self.type, self.shape) if constant else None
        return Operand(self.shape, self.type, self.scales, self.zero_points, self.dimension, values)

    @property
    def bytes(self) -> int:
        """What the tensor's values take."""
        return stored_bytes(self.shape, self.type, _TYPE_SIZES.get(self.type, 0))


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A list of operators, and the tensors that they read and write.

    Args:
        operators: the name of each operator, in the order in which they run.
        operator_inputs: indices of the input tensors of each operator.
        operator_outputs: indices of the output tensors of each operator.
        arguments: one an operator: the name of its variable for VAR_HANDLE, the number of a subgraph for CALL_ONCE, the
            options of a custom operator; else None.
        options: the options of each operator that `operators/options.py` names.
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

    def calls(self) -> Iterator[Call]:
        """The operators as rules and costs see them."""
        operands = [tensor.operand for tensor in self.tensors]
        for name, *ends, options in zip(
            self.operators, self.operator_inputs, self.operator_outputs, self.options, strict=True
        ):
            inputs, outputs = (tuple(operands[index] for index in indices) for indices in ends)
            yield Call(name, inputs, outputs, options)


@dataclasses.dataclass(frozen=True)
class Variable:
    """A state that the interpreter keeps: its name, and its shape, type and size in the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


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
        rows = {row.name: row.registration for row in (*BY_CODE.values(), CUSTOM_BLOCK)}
        once = self.initializer.operators if self.initializer else ()
        return tuple(rows[name] for name in dict.fromkeys((*self.operators, *once)))

    @property
    def instructions(self) -> int | None:
        """About how many a step takes on a Cortex-M4 with CMSIS-NN (see `costs.py`); None with a custom operator."""
        if CUSTOM_BLOCK.name in self.operators:
            return None
        return round(INVOKE + sum(map(cost_of, self.calls())))

    @property
    def float_tensors(self) -> tuple[TensorSummary, ...]:
        """Tensors that are not integers; there should be none."""
        return tuple(tensor for tensor in self.tensors if tensor.type.startswith("float"))

    @property
    def constant_bytes(self) -> int:
        """The bytes of all constants, shared ones counted at each tensor."""
        return sum(tensor.constant_bytes for tensor in self.tensors)
