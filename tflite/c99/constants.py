"""The constants of generated C: arrays, and the structs that kernels take."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_s4.tflite.c99.expressions import literal
from keras_s4.tflite.c99.names import identifiers, printable, short_name
from keras_s4.tflite.program.tensors import Tensor

# What counts in kernels has 16 bits.
MOST_COUNTED = 2**16 - 1
# Columns that the values of an array take.
_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Constant:
    """A definition at the top of the C file: an array, or a struct of a kernel.

    Args:
        type: C type of an element, `int8_t` for example, or the struct's name.
        name: identifier.
        size: elements of the array; None for a struct.
        comment: what it is.
        values: initialisers; of a struct each with a comma and the name of its field.
    """

    type: str
    name: str
    size: int | None
    comment: str
    values: list[str]

    @property
    def columns(self) -> int:
        """How many values go on a line."""
        return max(1, _WIDTH // max(len(value) + 2 for value in self.values))

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return self.size is not None


class Constants:
    """The constants of a C file, and the identifiers that are taken in it.

    Args:
        taken: identifiers of functions and arguments.

    Attributes:
        definitions: constants in the order of their definition.
    """

    def __init__(self, taken: list[str]):
        self._names = list(taken)
        self.definitions: list[Constant] = []

    def identifier(self, name: str) -> str:
        """A new identifier for a name of the program."""
        self._names.append(name)
        return identifiers(self._names)[-1]

    def array(
        self, name: str, values: np.ndarray, type: str, like: Tensor | None = None, note: str = "", words: int = 1
    ) -> str:
        """Define an array; returns its identifier.

        Args:
            name: what it holds, with the layer's name in front.
            values: whole numbers, or initialisers as text.
            type: C type of an element.
            like: a tensor whose shape and scale are worth a comment.
            note: another remark for the comment.
            words: elements of the array that one of the values makes.
        """
        identifier = self.identifier(name)
        shape = list(values.shape) if like is None else list(like.shape)
        scale = "" if like is None else f", {describe_scale(like)}"
        comment = f"{printable(name)}: {shape}{scale}{f', {note}' if note else ''}"
        literals = [value if isinstance(value, str) else literal(int(value)) for value in values.ravel().tolist()]
        self.definitions.append(Constant(type, identifier, values.size * words, comment, literals))
        return identifier

    def struct(self, type: str, name: str, **fields: object) -> str:
        """Define the struct that a kernel takes for a layer; returns a pointer to it.

        Args:
            type: name of the struct in C.
            name: name of what the kernel computes.
            **fields: initialisers in the order of the struct; counts with "U" behind them.

        Raises:
            NotImplementedError: a count is beyond the 16 bits that kernels have for it.
        """
        for field, value in fields.items():
            if str(value).endswith("U") and int(str(value)[:-1]) > MOST_COUNTED:
                raise NotImplementedError(
                    f"{printable(name)}: the C kernels count {field} to {MOST_COUNTED:,}, and here are "
                    f"{int(str(value)[:-1]):,}; use the .tflite."
                )
        identifier = self.identifier(f"{short_name(name)} layer")
        # In order, since names of fields in initialisers are C++ from C++20 on only.
        values = [f"{value}, /* {field} */" for field, value in fields.items()]
        self.definitions.append(
            Constant(type, identifier, None, f"{printable(short_name(name))}, as its kernel takes it", values)
        )
        return f"&{identifier}"


def describe(tensor: Tensor) -> str:
    """Type, shape and scale of a tensor, for a comment."""
    zero = f", zero point {tensor.zero_point}" if tensor.zero_point else ""
    return f"{tensor.type}{list(tensor.shape)}, {describe_scale(tensor)}{zero}"


def describe_scale(tensor: Tensor) -> str:
    """The scale of a tensor, or the range of its scales, for a comment."""
    scales = np.unique(tensor.scale)
    if scales.size > 1:
        return f"scales {scales[0]:.6g} to {scales[-1]:.6g}"
    fraction, exponent = math.frexp(float(scales[0]))
    return f"scale 2**{exponent - 1}" if fraction == 0.5 else f"scale {float(scales[0]):.9g}"
