"""What all operations have in common: what they do to the tensors in their fields, and what readers ask of them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, Self

from keras_s4.tflite.program.tensors import Tensor

# The key of a field's metadata under which it says what becomes of its tensors.
_USE = "use"
_READ, _WRITTEN, _INTERNAL = "read", "written", "internal"


def read() -> Any:
    """A field whose tensors an operation reads, constants included."""
    return dataclasses.field(metadata={_USE: _READ})


def written(rounded: bool = False) -> Any:
    """A field whose tensor an operation writes; `rounded` where values are rounded when they are stored."""
    return dataclasses.field(metadata={_USE: _WRITTEN, "rounded": rounded})


def internal(rounded: bool = False) -> Any:
    """As `written`, for what lies between the parts of an operation: nobody else reads it, and a reader may skip it."""
    return dataclasses.field(metadata={_USE: _INTERNAL, "rounded": rounded})


class Operation:
    """An operation of an integer program; its class carries the facts that the readers of a program ask for.

    A class is a frozen dataclass whose docstring is its exact arithmetic. Each field with tensors says what becomes of
    them: `input: Tensor = read()`, `output: Tensor = written()`, `partial: Tensor = internal()`.

    Attributes:
        elementwise: whether element i of the output is written after element i of each input is read, and no element of
            an input is read later.
        holds_state: whether the operation takes a state from `state` to `next_state`; it then knows what a block of
            several steps is, unless it `repeats`.
        repeats: whether a block of several steps has the operation once for each.
        moves_values: whether the output holds values of the inputs, none of them changed.
        stride: rows of the inputs for each row of the output.

    Raises:
        TypeError: at the definition of a class, when a field with tensors does not say what becomes of them, when
            another field does, or when the fields `state` and `next_state` do not go with `holds_state`. Of an object,
            when a field that says what becomes of its tensors holds anything else, or another one holds a tensor.
    """

    elementwise: ClassVar[bool] = False
    holds_state: ClassVar[bool] = False
    repeats: ClassVar[bool] = False
    moves_values: ClassVar[bool] = False
    stride = 1

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        inherited = getattr(cls, "__dataclass_fields__", {})
        uses = {name: field.metadata.get(_USE) for name, field in inherited.items()}
        for name, annotation in inspect.get_annotations(cls).items():
            field = cls.__dict__.get(name)
            uses[name] = field.metadata.get(_USE) if isinstance(field, dataclasses.Field) else None
            has_tensors = re.search(r"\bTensor\b", str(annotation)) is not None
            if has_tensors != (uses[name] is not None):
                raise TypeError(
                    f"Field {name!r} of operation {cls.__name__} is {annotation}; give a field with tensors, and no "
                    f"other, one of read(), written() and internal(): `{name}: Tensor = read()`."
                )
        ends = uses.get("state"), uses.get("next_state")
        if uses and ends != ((_READ, _WRITTEN) if cls.holds_state else (None, None)):
            raise TypeError(
                f"Operation {cls.__name__} has holds_state={cls.holds_state}; exactly those that hold one have the "
                "fields `state`, which is read, and `next_state`, which is written."
            )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, has_use = getattr(self, field.name), _USE in field.metadata
            # A state may be None.
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            if any(isinstance(each, Tensor) != has_use for each in values):
                expected = field.metadata[_USE] if has_use else "neither read nor written"
                raise TypeError(
                    f"{type(self).__name__} received {value!r} as {field.name!r}, whose tensors are {expected}; give "
                    f"its arguments in the order {', '.join(field.name for field in dataclasses.fields(self))}."
                )

    def reads(self) -> list[Tensor]:
        """The tensors that the operation reads, constants included."""
        return self._tensors_of(lambda field: field.metadata.get(_USE) == _READ)

    def writes(self) -> list[Tensor]:
        """The tensors that the operation writes, internal ones included."""
        return self._tensors_of(lambda field: field.metadata.get(_USE) in (_WRITTEN, _INTERNAL))

    def internals(self) -> list[Tensor]:
        """The tensors between the parts of the operation, which a reader may leave out."""
        return self._tensors_of(lambda field: field.metadata.get(_USE) == _INTERNAL)

    def rounds(self) -> list[Tensor]:
        """The tensors whose values are rounded when they are stored."""
        return self._tensors_of(lambda field: field.metadata.get("rounded", False))

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the fields."""
        return self._tensors_of(lambda field: True)

    @property
    def result(self) -> Tensor:
        """What the operation is there for: its output or, of one without, the state after it."""
        return getattr(self, "output", None) or self.next_state

    @property
    def rows(self) -> int:
        """Steps of a block, or what else lies before the last axis of the result."""
        return math.prod(self.result.shape[:-1])

    def multiply_accumulates(self) -> int:
        """Multiplications with a weight, or of two activations, for one run."""
        return 0

    def check(self) -> None:
        """Check what every reader relies on.

        Raises:
            ValueError: when the tensors do not fit each other.
        """

    def with_tensors(self, other: Callable[[Tensor], Tensor]) -> Self:
        """The operation on other tensors; constants stay."""

        def replace(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(replace(each) for each in value)
            return other(value) if isinstance(value, Tensor) and value.data is None else value

        return type(self)(*(replace(getattr(self, field.name)) for field in dataclasses.fields(self)))

    def _tensors_of(self, wanted: Callable[[dataclasses.Field], bool]) -> list[Tensor]:
        """The tensors in some of the fields: of each one, a tuple of them, or none."""
        found = []
        for field in filter(wanted, dataclasses.fields(self)):
            value = getattr(self, field.name)
            found += [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, Tensor)]
        return found
