"""Angles of poles as a sum of two, so that the angle of thousands of steps is as exact as that of one.

A single-precision angle near pi is rounded to 1e-7, and 16,384 steps make 2e-3 of it. Here an angle is a whole number
of 1,024ths of a turn, whose multiples are exact but for whole turns, and a rest of at most 4e-3, rounded to 3e-10.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_s4.dss.complex_pairs import ComplexPair

# Of a turn, a power of two.
PARTS = 1024

Tensor = Any


class SplitAngle(NamedTuple):
    """`2 pi parts / PARTS + rest`.

    Args:
        parts: whole numbers, which have no gradient.
        rest: radians.
    """

    parts: Tensor
    rest: Tensor

    def after(self, steps: Tensor | float) -> Tensor:
        """The angle of so many steps, without whole turns."""
        steps = ops.cast(steps, self.rest.dtype)
        parts = self.parts * _without_multiples(steps)
        return _without_multiples(parts) * (2.0 * math.pi / PARTS) + self.rest * steps

    def expand(self, axis: int) -> SplitAngle:
        """With an axis of length 1."""
        return SplitAngle(*(ops.expand_dims(part, axis) for part in self))


def bilinear_angle(z: ComplexPair) -> SplitAngle:
    """That of `(1 + z/2) / (1 - z/2)`, the sum of those of `1 + z/2` and of `1 / (1 - z/2)`.

    Both are turned back by half the nearest whole number of parts, whose tangent t is a number of single precision:
    `1 + i b` becomes `1 + b t + i (b - t)`, which is exact but for the rounding of small numbers. The nearest to half a
    turn has no tangent; there the angle is half a turn less what is seen from the imaginary axis.
    """
    real, imaginary = 0.5 * z[0], 0.5 * z[1]
    sign = ops.cast(ops.where(imaginary < 0.0, -1.0, 1.0), imaginary.dtype)
    imaginary = sign * imaginary
    angle = ops.arctan2(imaginary, 1.0 + real) + ops.arctan2(imaginary, 1.0 - real)
    parts = ops.cast(ops.round(angle * (PARTS / (2.0 * math.pi))), "int32")
    tangents, rests = (ops.take(ops.cast(each, imaginary.dtype), parts) for each in _tangents())
    along, across = tangents * imaginary, tangents * real
    turned = ops.arctan2(imaginary - tangents - across, 1.0 + real + along)
    turned = turned + ops.arctan2(imaginary - tangents + across, 1.0 - real + along)
    beyond = ops.arctan2(1.0 + real, imaginary) + ops.arctan2(1.0 - real, imaginary)
    rest = ops.where(parts == PARTS // 2, -beyond, turned + rests)
    return SplitAngle(sign * ops.cast(parts, imaginary.dtype), sign * rest)


@functools.cache
def _tangents() -> tuple[np.ndarray, np.ndarray]:
    """Tangents of halves of 0 .. PARTS / 2 parts in single precision, and what their angles have more than the parts.

    The last tangent would be infinite, and is 0.
    """
    parts = np.arange(PARTS // 2 + 1) * (2.0 * math.pi / PARTS)
    tangents = np.tan(0.5 * parts).astype("float32").astype("float64")
    tangents[-1] = 0.0
    rests = 2.0 * np.arctan(tangents) - parts
    rests[-1] = 0.0
    return tangents, rests


def _without_multiples(numbers: Tensor) -> Tensor:
    """Whole numbers less the nearest multiple of PARTS."""
    return numbers - PARTS * ops.round(numbers / PARTS)
