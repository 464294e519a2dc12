"""The C source under construction: what the translations of all operations share, and which function does which."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_s4.tflite.c99.names import identifiers, printable
from keras_s4.tflite.c99.placement import Placement
from keras_s4.tflite.c99.registry import translator_of
from keras_s4.tflite.c99.schedule import Schedule
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import UNIT, Multiplier
from keras_s4.tflite.program.operations import Operation
from keras_s4.tflite.program.tensors import Tensor

# What s4_scale_down and s4_to_int8_near take is smaller.
SMALL = 2**30
MOST_COUNTED = 2**16 - 1
INDENT = "    "


@dataclasses.dataclass(frozen=True)
class Constant:
    """A definition at the top of the C file: an array, or a struct of a kernel.

    Args:
        type: of an element, `int8_t` for example, or the struct's name.
        name: the identifier.
        size: elements of the array; None for a struct.
        comment: what it is.
        values: initialisers; of a struct with the names of the fields.
    """

    type: str
    name: str
    size: int | None
    comment: str
    values: list[str]

    @property
    def columns(self) -> int:
        """How many values go on a line."""
        return max(1, 100 // max(len(value) + 2 for value in self.values))

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return self.size is not None


class Translation:
    """Turns operations into statements and constants.

    Args:
        placement: where the tensors lie.
        plan: the order of the operations, and which become one loop.
        taken: names that no constant may have.

    Attributes:
        constants: in the order of their definition.
        statements: the lines of the step, without indentation.
        kernels: the names of the kernel files that are called.
        largest: the magnitude that no value of an int32 tensor exceeds, by name, where it is known.
    """

    def __init__(self, placement: Placement, plan: Schedule, taken: Sequence[str] = ()):
        self.placement = placement
        self._plan = plan
        self._inlined: dict[str, Callable[[str], str]] = {}
        self.constants: list[Constant] = []
        self.statements: list[str] = []
        self.kernels: set[str] = set()
        self.largest: dict[str, int] = {}
        self._names = list(taken)

    def translate(self, operation: Operation) -> None:
        """Append what an operation does, unless another one does it as well."""
        output = operation.result
        if any(operation is lookup for lookup in self._plan.tabulated.values()):
            return
        if output.name not in self._plan.inlined:
            kind, layer = type(operation).__name__, printable(output.name)
            self.statements += ["", f"/* {kind}: {layer}, {describe(output)} */"]
        translator_of(operation).translate(operation, self)

    def pointer(self, tensor: Tensor) -> str:
        """The C expression of the array that holds a tensor; the definition of a constant is made on the way."""
        if tensor.data is not None and tensor.name not in self.placement.pointers:
            self.placement.pointers[tensor.name] = self.array(tensor.name, tensor.data, f"{tensor.type}_t", tensor)
        return self.placement.pointers[tensor.name]

    def array(
        self, name: str, values: np.ndarray, type: str, like: Tensor | None = None, note: str = "", words: int = 1
    ) -> str:
        """Define an array; returns its name.

        Args:
            name: what it holds, with the layer's name in front.
            values: whole numbers, or initialisers as text.
            type: of an element in C.
            like: a tensor whose shape and scale are worth a comment.
            note: what else is.
            words: elements of the array that one of the values makes.
        """
        identifier = self._identifier(name)
        shape = list(values.shape) if like is None else list(like.shape)
        scale = "" if like is None else f", {_scale(like)}"
        comment = f"{printable(name)}: {shape}{scale}{f', {note}' if note else ''}"
        literals = [value if isinstance(value, str) else _literal(int(value)) for value in values.ravel().tolist()]
        self.constants.append(Constant(type, identifier, values.size * words, comment, literals))
        return identifier

    def struct(self, type: str, name: str, **fields: object) -> str:
        """Define the constants of a kernel; returns a pointer to them.

        Raises:
            NotImplementedError: a count, which has "U" behind it, is beyond the 16 bits that kernels have for it.
        """
        for field, value in fields.items():
            if str(value).endswith("U") and int(str(value)[:-1]) > MOST_COUNTED:
                raise NotImplementedError(
                    f"{printable(name)}: the C kernels count {field} to {MOST_COUNTED:,}, and here are "
                    f"{int(str(value)[:-1]):,}; use the .tflite."
                )
        identifier = self._identifier(name)
        values = [f".{field} = {value}" for field, value in fields.items()]
        self.constants.append(Constant(type, identifier, None, printable(name), values))
        return f"&{identifier}"

    def narrow(self, tensor: Tensor) -> str:
        """As `pointer` of a constant, but in the smallest type that holds its values."""
        if tensor.name not in self.placement.pointers:
            kind = smallest_type(tensor.data)
            self.placement.pointers[tensor.name] = self.array(tensor.name, tensor.data, kind, tensor)
        return self.placement.pointers[tensor.name]

    def element(self, tensor: Tensor, index: str) -> str:
        """An element as int32, without its zero point."""
        if tensor.data is not None:
            values = np.unique(tensor.data)
            return (
                _literal(int(values[0]) - tensor.zero_point) if values.size == 1 else f"{self.narrow(tensor)}[{index}]"
            )
        if tensor.name in self._inlined:
            value = self._inlined[tensor.name](index)
        else:
            value = f"{self.pointer(tensor)}[{index}]"
        return f"({value} - {_literal(tensor.zero_point)})" if tensor.zero_point else value

    def elementwise(self, output: Tensor, inputs: Sequence[Tensor], value: Callable[..., str]) -> None:
        """A loop over the elements of `output`, with numpy's broadcasting of the inputs.

        Args:
            output: what is written.
            inputs: what is read.
            value: a function from the indices of the inputs, as C expressions, to what `output` gets.
        """
        if output.name in self._plan.inlined:
            self._inlined[output.name] = lambda index: value(*[index] * len(inputs))
            return
        dimensions, strides = loops_over(output.shape, [tensor.shape for tensor in inputs])
        for depth, size in enumerate(dimensions):
            index = f"i{depth}" if len(dimensions) > 1 else "i"
            self.statements.append(f"{INDENT * depth}for (uint32_t {index} = 0; {index} < {size}U; ++{index}) {{")
        whole, *others = [_index(row, len(dimensions)) for row in strides]
        inner = INDENT * len(dimensions)
        self.statements.append(f"{inner}{self.assignment(output, whole, value(*others))}")
        self.statements += [f"{INDENT * depth}}}" for depth in reversed(range(len(dimensions)))]

    def assignment(self, output: Tensor, index: str, value: str) -> str:
        """The statement that stores an element, through the table that follows if one does."""
        if lookup := self._plan.tabulated.get(output.name):
            return f"{self.pointer(lookup.output)}[{index}] = {self.pointer(lookup.table)}[{value} + 128];"
        return f"{self.pointer(output)}[{index}] = {value};"

    def magnitude(self, tensor: Tensor) -> int:
        """What no value of a tensor exceeds, less its zero point."""
        if tensor.data is not None:
            return int(np.abs(tensor.data.astype(np.int64) - tensor.zero_point).max())
        if tensor.type == "int32":
            return self.largest.get(tensor.name, 2**31)
        return int(-np.iinfo(tensor.type).min) + abs(tensor.zero_point)

    def stored(self, value: str, scale: float, output: Tensor, largest: int) -> str:
        """The element of `output` for an int32 accumulator of a scale: rescaled, rounded and saturated.

        Args:
            value: an expression.
            scale: of one unit of it.
            output: where it goes.
            largest: the magnitude that it does not exceed; 2**31 if it may be anything, and may have wrapped.
        """
        multiplier = fixed_point.rescale_multiplier(scale, output.scale)
        if output.type == "int32" and multiplier == UNIT:
            self.largest[output.name] = min(largest, 2**31)
            return value
        near = largest < SMALL and multiplier.shift <= 0
        return saturated(scaled(value, multiplier, largest), output, near)

    def copy(self, to: str, source: str, tensor: Tensor, size: int | None = None) -> None:
        """Copy an array, or its first elements."""
        count = math.prod(tensor.shape) if size is None else size
        self.statements.append(f"(void)memcpy({to}, {source}, {count}U * sizeof({tensor.type}_t));")

    def call(self, kernel: str, function: str, *arguments: str) -> None:
        """Call a function of a kernel file."""
        self.kernels.add(kernel)
        self.statements.append(f"{function}({', '.join(arguments)});")

    def _identifier(self, name: str) -> str:
        self._names.append(name)
        return identifiers(self._names)[-1]


def scaled(value: str, multiplier: Multiplier, largest: int) -> str:
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
        return f"s4_halve({value}, {1 - shift}U)"
    if shift < 0 and largest < SMALL:
        return f"s4_scale_down({value}, {mantissa}, {-shift}U)"
    return f"s4_scale({value}, {mantissa}, {shift})"


def scaled_once(multiplier: Multiplier) -> tuple[int, int]:
    """Mantissa and shift for `s4_scale_once`."""
    return int(fixed_point.reduced_mantissa(multiplier.mantissa)), 15 - int(multiplier.shift)


def saturated(value: str, output: Tensor, near: bool = False) -> str:
    """An int32 expression as an element of `output`; `near` if it is no larger than `SMALL`."""
    match output.type:
        case "int8":
            return f"s4_to_int8{'_near' if near else ''}({value}, {_literal(output.zero_point)})"
        case "int16":
            return f"s4_to_int16({value})"
    return value


def smallest_type(values: np.ndarray) -> str:
    """The C type that holds whole numbers in the fewest bytes."""
    for type in ("int8", "int16", "int32"):
        if np.all(values == values.astype(type)):
            return f"{type}_t"
    return "int64_t"


def describe(tensor: Tensor) -> str:
    """Type, shape and scale of a tensor, for a comment."""
    zero = f", zero point {tensor.zero_point}" if tensor.zero_point else ""
    return f"{tensor.type}{list(tensor.shape)}, {_scale(tensor)}{zero}"


def loops_over(shape: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> tuple[list[int], list[list[int]]]:
    """The fewest nested loops over an array, and the strides of all arrays in them.

    Args:
        shape: of the array that is written.
        others: shapes that broadcast to it.

    Returns:
        The counts of the loops, outermost first; for the array and each other its stride in every loop.
    """
    rows = [_strides(other, shape) for other in (shape, *others)]
    counts, kept = [shape[-1]], [[row[-1]] for row in rows]
    for axis in reversed(range(len(shape) - 1)):
        if all(row[axis] == strides[0] * counts[0] for row, strides in zip(rows, kept, strict=True)):
            counts[0] *= shape[axis]
            continue
        counts.insert(0, shape[axis])
        for row, strides in zip(rows, kept, strict=True):
            strides.insert(0, row[axis])
    return counts, kept


def _strides(shape: tuple[int, ...], whole: tuple[int, ...]) -> list[int]:
    """Of an array of `shape` that is broadcast to `whole`."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    strides, step = [], 1
    for size in reversed(padded):
        strides.insert(0, 0 if size == 1 else step)
        step *= size
    return strides


def _index(strides: list[int], depth: int) -> str:
    names = [f"i{position}" for position in range(depth)] if depth > 1 else ["i"]
    terms = [
        name if stride == 1 else f"{name} * {stride}U" for name, stride in zip(names, strides, strict=True) if stride
    ]
    return " + ".join(terms) or "0"


def _scale(tensor: Tensor) -> str:
    scales = np.unique(tensor.scale)
    if scales.size > 1:
        return f"scales {scales[0]:.6g} to {scales[-1]:.6g}"
    fraction, exponent = math.frexp(float(scales[0]))
    return f"scale 2**{exponent - 1}" if fraction == 0.5 else f"scale {float(scales[0]):.9g}"


def _literal(value: int) -> str:
    """A constant of C; the least of 32 bits has no literal."""
    return "INT32_MIN" if value == -(2**31) else str(value)
