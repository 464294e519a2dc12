"""Expressions of C: constants that add up before they are written, and the shortest way to rescale."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.dense_kernel import SMALL
from keras_s4.tflite.program.fixed_point import UNIT, Multiplier
from keras_s4.tflite.program.tensors import Tensor


@dataclasses.dataclass(frozen=True)
class Expression:
    """A term plus a constant.

    As text it is an argument, an index, or the right side of an assignment: it has no brackets of its own.

    Args:
        term: C that needs no brackets; "" for a constant alone.
        constant: what is added.
    """

    term: str = ""
    constant: int = 0

    def __str__(self) -> str:
        if not self.term:
            return literal(self.constant)
        if not self.constant:
            return self.term
        return f"{self.term} {'-' if self.constant < 0 else '+'} {abs(self.constant)}"

    def plus(self, constant: int) -> Expression:
        """The sum with a constant."""
        return dataclasses.replace(self, constant=self.constant + constant)


ONE = Expression(constant=1)


def multiply(a: Expression, b: Expression) -> Expression:
    """The product in 32 bits, which wraps."""
    if a == ONE:
        return b
    return a if b == ONE else Expression(f"s4_multiply({a}, {b})")


def add(a: Expression, b: Expression) -> Expression:
    """The sum in 32 bits, which wraps."""
    return Expression(f"s4_add({a}, {b})")


def add_multiples(a: Expression, gain_a: int, b: Expression, gain_b: int) -> Expression:
    """`a * gain_a + b * gain_b` in 32 bits, which wraps."""
    if gain_b == -1:
        return Expression(f"s4_subtract({multiply(a, Expression(constant=gain_a))}, {b})")
    if gain_a == -1:
        return Expression(f"s4_subtract({multiply(b, Expression(constant=gain_b))}, {a})")
    return add(multiply(a, Expression(constant=gain_a)), multiply(b, Expression(constant=gain_b)))


def scale_by(value: Expression, multiplier: Multiplier, largest: int) -> Expression:
    """An expression times a multiplier, in the shortest way that gives what `s4_scale` does.

    Args:
        value: an expression.
        multiplier: stored as mantissa and shift.
        largest: the magnitude that the value does not exceed.
    """
    mantissa, shift = int(multiplier.mantissa), int(multiplier.shift)
    if (mantissa, shift) == UNIT and largest < SMALL:
        return value
    if mantissa == UNIT.mantissa and shift < 0 and largest < 2**31 - 2 ** (1 - shift):
        return Expression(f"s4_halve({value}, {1 - shift}U)")
    if shift < 0 and largest < SMALL:
        return Expression(f"s4_scale_down({value}, {mantissa}, {-shift}U)")
    return Expression(f"s4_scale({value}, {'S4_HALF' if mantissa == UNIT.mantissa else mantissa}, {shift})")


def mantissa_and_shift(multiplier: Multiplier) -> tuple[int, int]:
    """Mantissa and shift for `s4_scale_once`."""
    return int(fixed_point.reduced_mantissa(multiplier.mantissa)), 15 - int(multiplier.shift)


def saturate(value: Expression, output: Tensor, near: bool = False) -> Expression:
    """An int32 expression as an element of `output`; `near` if it is no larger than `SMALL`."""
    match output.type:
        case "int8":
            return Expression(f"s4_to_int8{'_near' if near else ''}({value}, {literal(output.zero_point)})")
        case "int16":
            return Expression(f"s4_to_int16({value})")
    return value


def literal(value: int) -> str:
    """A constant of C; the least of 32 bits has no literal."""
    return "INT32_MIN" if value == -(2**31) else str(value)


def index_of(*terms: tuple[str, int], first: int = 0) -> str:
    """The index `first + counter * stride + ..`, in as few words as it takes.

    Args:
        terms: counters of loops, "0" without a loop, each with its stride.
        first: where the counters are 0.
    """
    parts = [name if stride == 1 else f"{name} * {stride}U" for name, stride in terms if stride and name != "0"]
    if not parts:
        return str(first)
    return " + ".join([*parts, f"{first}U"] if first else parts)


def address_of(array: str, *terms: tuple[str, int], first: int = 0) -> str:
    """A pointer to the element of an array at `index_of(*terms, first=first)`."""
    index = index_of(*terms, first=first)
    return array if index == "0" else f"&{array}[{index}]"


def smallest_type(values: np.ndarray) -> str:
    """The C type that holds whole numbers in the fewest bytes."""
    for type in ("int8", "int16", "int32"):
        if np.all(values == values.astype(type)):
            return f"{type}_t"
    return "int64_t"
