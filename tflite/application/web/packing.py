"""Arrays of numbers as a page has them: base64 of the least type that holds each of them exactly."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

WHOLE, REAL = ("int8", "int16", "int32"), ("float32", "float64")


def pack(values: Any) -> dict[str, str]:
    """`{"type", "data"}` of numbers, flat; little-endian.

    Raises:
        ValueError: whole numbers beyond 32 bits.
    """
    array = np.asarray(values)
    array = array.astype(np.int64) if array.dtype.kind in "biu" else array
    for kind in WHOLE if array.dtype.kind == "i" else REAL:
        with np.errstate(over="ignore"):
            stored = array.astype(kind)
        if np.array_equal(stored, array, equal_nan=array.dtype.kind == "f"):
            return {
                "type": kind,
                "data": base64.b64encode(stored.astype(stored.dtype.newbyteorder("<")).tobytes()).decode(),
            }
    raise ValueError(f"Received {array.dtype} from {array.min()} to {array.max()}; expected whole numbers of 32 bits.")
