"""The C source under construction: its statements, and what the translations of all operations share."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_s4.tflite.c99.broadcasting import loops_over
from keras_s4.tflite.c99.columns import comment
from keras_s4.tflite.c99.constants import Constants, describe
from keras_s4.tflite.c99.expressions import (
    SMALL,
    Expression,
    index_of,
    saturate,
    scale_by,
    smallest_type,
)
from keras_s4.tflite.c99.names import printable, short_name
from keras_s4.tflite.c99.placement import Placement
from keras_s4.tflite.c99.registry import translator_of
from keras_s4.tflite.c99.schedule import Schedule
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import UNIT
from keras_s4.tflite.program.operations import Lookup, Operation
from keras_s4.tflite.program.tensors import Tensor

INDENT = "    "
# An expression of more columns gets a name, so that the statement stays readable.
_LONG = 64
_LOCAL = re.compile(r"(const )?int32_t \w")


class Translation:
    """Turns operations into statements and constants.

    Args:
        placement: where the tensors lie.
        plan: the order of the operations, and which become one loop.
        taken: identifiers of functions and arguments, which nothing else may have.

    Attributes:
        constants: arrays and structs at the top of the C file.
        statements: the lines of the step's body.
        kernels: the names of the kernel files that are called.
        largest: the magnitude that no value of an int32 tensor exceeds, by name, where it is known.
    """

    def __init__(self, placement: Placement, plan: Schedule, taken: Sequence[str] = ()):
        self.placement = placement
        self._plan = plan
        self._inlined: dict[str, Callable[[str], Expression]] = {}
        self._pointers = dict(placement.pointers)
        self._depth = 1
        self._layer = ""
        self.constants = Constants(list(taken))
        self.statements: list[str] = []
        self.kernels: set[str] = set()
        self.largest: dict[str, int] = {}

    def translate(self, operation: Operation) -> None:
        """Append what an operation does, unless another one does it as well."""
        output = operation.result
        if any(operation is lookup for lookup in self._plan.tabulated.values()):
            return
        if output.name not in self._plan.inlined:
            self._announce(operation)
            for tensor in operation.writes():
                lookup = self.table_behind(tensor)
                self.declare(tensor if lookup is None else lookup.output)
        translator_of(operation).translate(operation, self)

    def line(self, text: str) -> None:
        """Append a line at the present indentation."""
        self.statements.append(INDENT * self._depth + text)

    def separate(self) -> None:
        """Append an empty line, but not at the start of a scope."""
        if self.statements and not self.statements[-1].endswith("{"):
            self.statements.append("")

    @contextlib.contextmanager
    def scope(self, header: str) -> Iterator[None]:
        """Put what follows into the braces behind a header, such as `if (x != NULL)`."""
        self.line(f"{header} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    @contextlib.contextmanager
    def loop(self, counter: str, end: int | str, start: int | str = 0, step: int = 1) -> Iterator[str]:
        """Put what follows into a loop; gives the counter, or "0" without a loop where it runs once.

        Without one there are braces where what follows has variables.

        Args:
            counter: identifier.
            end: what the counter stays below.
            start: its first value.
            step: from value to value.
        """
        if start == 0 and isinstance(end, int) and end <= step:
            first = len(self.statements)
            yield "0"
            body = self.statements[first:]
            if any(_LOCAL.match(line.removeprefix(INDENT * self._depth)) for line in body):
                del self.statements[first:]
                self.line("{")
                self.statements += [INDENT + line for line in body]
                self.line("}")
            return
        last = f"{end}U" if isinstance(end, int) else end
        advance = f"++{counter}" if step == 1 else f"{counter} += {step}U"
        with self.scope(f"for (uint32_t {counter} = {start}; {counter} < {last}; {advance})"):
            yield counter

    @contextlib.contextmanager
    def loops(self, counts: Sequence[int]) -> Iterator[list[str]]:
        """Nested loops; gives their counters, outermost first."""
        names = ["i"] if len(counts) == 1 else [f"i{depth}" for depth in range(len(counts))]
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.loop(*each)) for each in zip(names, counts, strict=True)]

    def call(self, kernel: str, function: str, *arguments: object) -> None:
        """Call a function of a kernel file."""
        self.kernels.add(kernel)
        self.line(f"{function}({', '.join(map(str, arguments))});")

    def copy(self, to: str, source: str, tensor: Tensor, size: int | None = None) -> None:
        """Copy an array, or its first elements."""
        count = math.prod(tensor.shape) if size is None else size
        if count == 1:
            self.line(f"{_first_of(to)} = {_first_of(source)};")
        else:
            self.line(f"(void)memcpy({to}, {source}, {count}U * sizeof({tensor.type}_t));")

    def name_long(self, name: str, value: Expression) -> Expression:
        """A long expression as a constant of the innermost scope, a short one as it is."""
        if len(str(value)) <= _LONG:
            return value
        self.line(f"const int32_t {name} = {value};")
        return Expression(name)

    def declare(self, tensor: Tensor) -> None:
        """Name the array of the working memory that holds a tensor from now on."""
        place = self._pointers.get(tensor.name)
        if place in self.placement.working_memory:
            self._pointers[tensor.name] = self._alias(short_name(tensor.name), tensor.type, place)

    def helper(self, operation: Operation, name: str) -> str | None:
        """The array that an operation works in, under a name that says what for; None if it has none."""
        place = self.placement.helpers.get(operation.result.name)
        if place is None:
            return None
        tensor = translator_of(operation).helper(operation)
        return self._alias(f"{short_name(operation.result.name)} {name}", tensor.type, place)

    def pointer(self, tensor: Tensor) -> str:
        """The C expression of the array that holds a tensor; the definition of a constant is made on the way."""
        return self._pointer(tensor, f"{tensor.type}_t")

    def share(self, name: str, values: np.ndarray, type: str, note: str = "", like: Tensor | None = None) -> str:
        """An array that operations of several layers read, defined when the first one asks for it."""
        if name not in self._pointers:
            self._pointers[name] = self.constants.array(name, values, type, like, note)
        return self._pointers[name]

    def element(self, tensor: Tensor, index: str) -> Expression:
        """An element as int32, without its zero point."""
        if tensor.data is not None:
            values = np.unique(tensor.data)
            if values.size == 1:
                return Expression(constant=int(values[0]) - tensor.zero_point)
            # In the smallest type that holds the values.
            return Expression(f"{self._pointer(tensor, smallest_type(tensor.data))}[{index}]", -tensor.zero_point)
        if tensor.name in self._inlined:
            return self._inlined[tensor.name](index).plus(-tensor.zero_point)
        return Expression(f"{self.pointer(tensor)}[{index}]", -tensor.zero_point)

    def elementwise(self, output: Tensor, inputs: Sequence[Tensor], value: Callable[..., Expression]) -> None:
        """A loop over the elements of `output`, with numpy's broadcasting of the inputs.

        Args:
            output: what is written.
            inputs: what is read.
            value: a function from the indices of the inputs, as C expressions, to what `output` gets.
        """
        if output.name in self._plan.inlined:
            self._inlined[output.name] = lambda index: value(*[index] * len(inputs))
            return
        counts, strides = loops_over(output.shape, [tensor.shape for tensor in inputs])
        with self.loops(counts) as counters:
            whole, *others = [index_of(*zip(counters, row, strict=True)) for row in strides]
            self.assign(output, whole, value(*others))

    def assign(self, output: Tensor, index: str, value: Expression) -> None:
        """Store an element, through the table that follows if one does."""
        if lookup := self.table_behind(output):
            entry = self.name_long("entry", value.plus(128))
            self.line(f"{self.pointer(lookup.output)}[{index}] = {self.pointer(lookup.table)}[{entry}];")
        else:
            self.line(f"{self.pointer(output)}[{index}] = {value};")

    def table_behind(self, tensor: Tensor) -> Lookup | None:
        """The table through which a tensor goes before it is stored."""
        return self._plan.tabulated.get(tensor.name)

    def magnitude(self, tensor: Tensor) -> int:
        """What no value of a tensor exceeds, less its zero point."""
        if tensor.data is not None:
            return int(np.abs(tensor.data.astype(np.int64) - tensor.zero_point).max())
        if tensor.type == "int32":
            return self.largest.get(tensor.name, 2**31)
        return int(-np.iinfo(tensor.type).min) + abs(tensor.zero_point)

    def rescale(self, value: Expression, scale: float, output: Tensor, largest: int) -> Expression:
        """The element of `output` for an int32 accumulator of a scale: rescaled, rounded and saturated.

        Args:
            value: accumulator.
            scale: real value of one unit of it.
            output: where it goes.
            largest: the magnitude that it does not exceed; 2**31 if it may be anything, and may have wrapped.
        """
        multiplier = fixed_point.rescale_multiplier(scale, output.scale)
        if output.type == "int32" and multiplier == UNIT:
            self.largest[output.name] = min(largest, 2**31)
            return value
        near = largest < SMALL and multiplier.shift <= 0
        value = self.name_long("accumulator", value)
        return saturate(scale_by(value, multiplier, largest), output, near)

    def _announce(self, operation: Operation) -> None:
        """Comments: the Keras layer where one begins, and what the operation does."""
        output = operation.result
        layer = self._plan.program.layer_of(output.name)
        if layer and layer != self._layer:
            self.separate()
            title = f"{printable(layer)} ({self._plan.program.layers[layer]})"
            self.statements += comment(f"---- {title} ----", INDENT * self._depth)
        self._layer = layer
        lookup = self._plan.tabulated.get(output.name)
        behind = "" if lookup is None else f", then {printable(lookup.output.name)} by its table"
        self.separate()
        text = f"{printable(output.name)}: {translator_of(operation).describe(operation)}; {describe(output)}{behind}"
        self.statements += comment(text, INDENT * self._depth)

    def _alias(self, name: str, type: str, place: str) -> str:
        identifier = self.constants.identifier(name)
        self.line(f"{type}_t *const {identifier} = {place};")
        return identifier

    def _pointer(self, tensor: Tensor, type: str) -> str:
        if tensor.data is not None and tensor.name not in self._pointers:
            self._pointers[tensor.name] = self.constants.array(tensor.name, tensor.data, type, tensor)
        return self._pointers[tensor.name]


def _first_of(pointer: str) -> str:
    """What a pointer of `address_of` points to."""
    return pointer.removeprefix("&") if pointer.startswith("&") else f"{pointer}[0]"
