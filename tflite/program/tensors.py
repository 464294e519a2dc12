"""The tensors of an integer program."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_s4.brief import Brief
from keras_s4.tflite.program import nibbles

TYPES = ("int4", "int8", "int16", "int32", "int64")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tensor(Brief):
    """A tensor of a program: an activation, a state, or (when `data` is set) a constant.

    Args:
        name: unique in its program; names the Keras layer that it came from.
        shape: without a batch axis: `[H]` for activations, `[2, N, H]` (real and imaginary part) for DSS states.
        type: "int8", "int16", "int32" or "int64"; of constants also "int4", from -7 to 7, which `data` holds as int8.
        scale: real value of one unit; an array `[H]` for weights quantised per channel.
        zero_point: the integer that stands for 0.0. Only int8 activations may have another than 0.
        data: the constant's integers, of this shape and type.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scale: float | np.ndarray = 1.0
    zero_point: int = 0
    data: np.ndarray | None = None

    def __post_init__(self):
        if self.type not in TYPES:
            raise ValueError(f"Tensor {self.name!r} has type {self.type!r}; expected one of {', '.join(TYPES)}.")
        if self.zero_point and self.type != "int8":
            raise ValueError(
                f"Tensor {self.name!r} is {self.type} with zero point {self.zero_point}; only int8 may have one."
            )
        stored = "int8" if self.type == "int4" else self.type
        if self.type == "int4" and (self.data is None or np.any(np.abs(self.data.astype(int)) > nibbles.LARGEST)):
            raise ValueError(
                f"Tensor {self.name!r} is int4; expected a constant from {-nibbles.LARGEST} to {nibbles.LARGEST}."
            )
        if self.data is not None and (self.data.shape != self.shape or self.data.dtype != stored):
            raise ValueError(
                f"Tensor {self.name!r} is declared {self.type}{list(self.shape)}, but its data is "
                f"{self.data.dtype}{list(self.data.shape)}."
            )
        if not np.all(np.isfinite(self.scale)) or np.any(np.asarray(self.scale) <= 0):
            raise ValueError(f"Tensor {self.name!r} has scale {self.scale}; expected finite positive numbers.")
