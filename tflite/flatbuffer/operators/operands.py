"""An operator with its tensors as the rules of `rules.py` see them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.flatbuffer.operators.options import Option


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Operand(Brief):
    """A tensor as an operator sees it.

    Args:
        shape: the tensor's shape, the batch axis included.
        type: the type that the file gives it.
        scales: none for plain integers; one, or one each channel along `dimension`.
        zero_points: one zero point a scale.
        dimension: the axis of several scales.
        data: the values of a constant, of any shape; None for what is computed.
    """

    shape: tuple[int, ...]
    type: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    dimension: int = 0
    data: np.ndarray | None = None

    @property
    def axes(self) -> int:
        """How many axes the tensor has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)

    @property
    def scale(self) -> float:
        """The first scale, 0 without any, as the kernels take it."""
        return float(np.float32(self.scales[0])) if self.scales else 0.0

    @property
    def zero_point(self) -> int:
        """The first zero point, 0 without any."""
        return self.zero_points[0] if self.zero_points else 0

    @property
    def values(self) -> list[int]:
        """The values of a constant, one after the other; none of what is computed."""
        return [] if self.data is None else np.asarray(self.data).ravel().tolist()

    @property
    def has_one_scale(self) -> bool:
        """Whether it carries quantisation parameters for all its values."""
        return len(self.scales) == len(self.zero_points) == 1

    @property
    def is_symmetric(self) -> bool:
        """Whether no zero point but 0 occurs."""
        return not any(self.zero_points)

    def is_like(self, other: Operand) -> bool:
        """Whether both give the same number to the same integer."""
        return (self.scale, self.zero_point) == (other.scale, other.zero_point)


@dataclasses.dataclass(frozen=True)
class Call:
    """An operator with the tensors that it reads and writes, and all its options."""

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    options: Mapping[str, Option]

    @property
    def input(self) -> Operand:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> Operand:
        """The first output."""
        return self.outputs[0]

    @property
    def operands(self) -> tuple[Operand, ...]:
        """All tensors."""
        return (*self.inputs, *self.outputs)

    def has_constants(self, *indices: int) -> bool:
        """Whether these inputs are constants."""
        return all(self.inputs[index].data is not None for index in indices)

    def __str__(self) -> str:
        read, written = (
            ", ".join(f"{operand.type} {list(operand.shape)}" for operand in operands)
            for operands in (self.inputs, self.outputs)
        )
        return f"{self.name} of {read or 'nothing'} -> {written or 'nothing'}"
