"""Inputs, outputs and states of a program as the templates of C and C++ need them."""

from __future__ import annotations

import dataclasses
import math

from keras_s4.tflite.c99.interface import interface_names
from keras_s4.tflite.c99.names import camel_case, printable
from keras_s4.tflite.program.encoding import Encoding
from keras_s4.tflite.program.program import Program, limits
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class End:
    """An input, output or state as the templates need it.

    Args:
        tensor: what it holds.
        integers: the least and the largest that it may hold.
        field: name in structs of C and C++, and of the argument in C.
        activation: what is left to do for an output once it is a real number: "linear" or "softmax".
        rows: values of a sequence in an output.
        encoding: units and offsets of an input whose features have their own, otherwise None.
    """

    tensor: Tensor
    integers: tuple[int, int]
    field: str
    activation: str = "linear"
    rows: int = 1
    encoding: Encoding | None = None

    @property
    def name(self) -> str:
        """The tensor's name, safe in a comment."""
        return printable(self.tensor.name)

    @property
    def camel(self) -> str:
        """The name in functions and constants."""
        return camel_case(self.field)

    @property
    def c_type(self) -> str:
        """`int16_t` for example."""
        return f"{self.tensor.type}_t"

    @property
    def tflm_type(self) -> str:
        """`kTfLiteInt16` for example."""
        return f"kTfLite{self.tensor.type.capitalize()}"

    @property
    def size(self) -> int:
        """How many integers."""
        return math.prod(self.tensor.shape)

    @property
    def is_token(self) -> bool:
        """Whether an input holds the number of a row of a table: a whole number as it is, not quantised."""
        return self.tensor.type == "int32"

    @property
    def scale(self) -> float:
        """The real value of one unit."""
        return float(self.tensor.scale)

    @property
    def real(self) -> str:
        """The real value as an expression in the integer."""
        zero_point = self.tensor.zero_point
        integer = f"(integer {'-' if zero_point > 0 else '+'} {abs(zero_point)})" if zero_point else "integer"
        return f"{integer} * {self.scale}"

    @property
    def steps_per_unit(self) -> str:
        """The reciprocal of the scale as a `float` literal where multiplying by it is exact, otherwise "".

        That is the case for powers of two, and `float` then gives what `Interface.quantize` gives in `double`.
        """
        fraction, exponent = math.frexp(self.scale)
        if fraction != 0.5 or abs(exponent) > 100 or self.tensor.type not in ("int8", "int16"):
            return ""
        return f"{1 / self.scale!r}f"

    @property
    def features(self) -> int:
        """Along the last axis, or in all where each has the same scale."""
        return self.tensor.shape[-1] if self.encoding else self.size

    @property
    def units(self) -> list[float]:
        """What one unit of each feature is in real numbers, where features have units of their own, `[H]`."""
        return [float(unit) * self.scale for unit in self.encoding.unit]

    @property
    def offsets(self) -> list[float]:
        """The real number that 0 stands for in each feature, `[H]`."""
        return [float(offset) for offset in self.encoding.offset]

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """The least and the largest real value of each feature, `[H]`."""
        both = [[o + unit * each for each in self.integers] for o, unit in zip(self.offsets, self.units, strict=True)]
        return [(min(each), max(each)) for each in both]

    @property
    def integers_per_unit(self) -> int:
        """The reciprocal of the scale where that is a whole number of at most 31 bits, otherwise 0."""
        reciprocal = 1 / self.scale
        return int(reciprocal) if reciprocal.is_integer() and reciprocal < 2**31 else 0

    @property
    def range(self) -> list[float]:
        """The least and the largest real value."""
        return [(integer - self.tensor.zero_point) * self.scale for integer in self.integers]


def ends_of(program: Program) -> tuple[list[End], list[End], list[End]]:
    """The inputs, outputs and states of a program; all have different fields."""
    tensors = [*program.inputs, *program.outputs, *(state.before for state in program.states)]
    activations = ["linear"] * len(tensors)
    for index, activation in enumerate(program.output_activations, len(program.inputs)):
        activations[index] = activation
    rows = [1] * len(tensors)
    for index, count in enumerate(program.output_rows, len(program.inputs)):
        rows[index] = count
    fields = interface_names(program)
    integers = [limits(program, tensor) for tensor in tensors]
    encodings = [program.encodings.get(tensor.name) for tensor in program.inputs]
    encodings += [None] * (len(tensors) - len(encodings))
    ends = [End(*values) for values in zip(tensors, integers, fields, activations, rows, encodings, strict=True)]
    first_output, first_state = len(program.inputs), len(program.inputs) + len(program.outputs)
    return ends[:first_output], ends[first_output:first_state], ends[first_state:]
