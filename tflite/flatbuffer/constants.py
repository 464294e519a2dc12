"""The bytes of constants: integers in the order of their tensor, least byte first, those of 4 bits two to a byte."""

from __future__ import annotations

import math

import numpy as np

from keras_s4.tflite.program import nibbles


def constant_bytes(data: np.ndarray, type: str) -> bytes:
    """What a file stores of a constant."""
    if type == "int4":
        return nibbles.pack(data).tobytes()
    return np.ascontiguousarray(data, np.dtype(type).newbyteorder("<")).tobytes()


def constant_values(stored: bytes, type: str, shape: tuple[int, ...]) -> np.ndarray:
    """The integers that a file stores, one after the other; those of 4 bits as int8."""
    if type == "int4":
        return nibbles.unpack(np.frombuffer(stored, np.uint8), math.prod(shape))
    return np.frombuffer(stored, np.dtype(type).newbyteorder("<"))


def stored_bytes(shape: tuple[int, ...], type: str, size: int) -> int:
    """How many bytes the values of a tensor take; `size` is that of one, but of 4 bits."""
    values = math.prod(shape)
    return -(-values // 2) if type == "int4" else values * size
