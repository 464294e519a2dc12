"""Integers of 4 bits, two to a byte."""

from __future__ import annotations

import numpy as np

# Weights of 4 bits are symmetric, so that -8 is left out.
LARGEST = 7


def pack(values: np.ndarray) -> np.ndarray:
    """The bytes of integers: the first of two in the low half.

    Args:
        values: from -8 to 7, of any shape; they are taken in one row.

    Returns:
        uint8; where the number of values is odd the last high half is 0.
    """
    halves = values.ravel().astype(np.uint8) & 15
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    return halves[::2] | halves[1::2] << 4


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The first so many integers of the bytes that `pack` gives, int8."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).ravel()[:count].astype(np.int8)
    return (halves ^ 8) - 8
