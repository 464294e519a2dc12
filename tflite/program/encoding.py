"""Features of different units: what the values of a tensor stand for, feature by feature.

A tensor has one scale. Where its features are of different sizes (a pressure of 1e5 beside a humidity of 0.4), its
values are in units of each feature's own, and the encoding says which: `real = offset + unit * value`. That of an input
is the host's affair; inside a program the first layers take the units into their coefficients.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# What floating point leaves of a scaling and its inverse, relative to the numbers that cancel.
_CANCELLED = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """`real = offset + unit * value`, along the last axis.

    Args:
        unit: float64 `[H]`; negative where a feature is turned round, 0 where nothing of it is left.
        offset: float64 `[H]`.
    """

    unit: np.ndarray
    offset: np.ndarray

    @classmethod
    def plain(cls, features: int) -> Encoding:
        """Values that are the real numbers themselves."""
        return cls(np.ones(features), np.zeros(features))

    @property
    def is_plain(self) -> bool:
        """Whether the values are the real numbers themselves."""
        return bool(np.all(self.unit == 1.0) and np.all(self.offset == 0.0))

    def real(self, values: np.ndarray) -> np.ndarray:
        """What values `[.., H]` stand for."""
        return self.offset + self.unit * values

    def values(self, real: np.ndarray) -> np.ndarray:
        """The values that stand for real numbers `[.., H]`; no unit is 0."""
        return (np.asarray(real, np.float64) - self.offset) / self.unit

    def then(self, gain: np.ndarray, offset: np.ndarray) -> Encoding:
        """That of `gain * real + offset`; what is a power of two, or 0, but for rounding becomes so."""
        unit = self.unit * gain
        moved = self.offset * gain
        total = moved + offset
        total = np.where(np.abs(total) <= _CANCELLED * (np.abs(moved) + np.abs(offset)), 0.0, total)
        nearest = np.sign(unit) * 2.0 ** np.rint(np.log2(np.where(unit == 0.0, 1.0, np.abs(unit))))
        return Encoding(np.where(np.abs(unit - nearest) <= _CANCELLED * np.abs(unit), nearest, unit), total)

    def before(self, gain: np.ndarray, offset: np.ndarray) -> Encoding:
        """That of the numbers whose `gain * number + offset` this one encodes; no gain is 0."""
        return Encoding(self.unit / gain, (self.offset - offset) / gain)


def encode(encoding: Encoding | None, real: np.ndarray) -> np.ndarray:
    """The values that stand for real numbers; without an encoding these themselves."""
    return np.asarray(real, np.float64) if encoding is None else encoding.values(real)


def decode(encoding: Encoding | None, values: np.ndarray) -> np.ndarray:
    """What values stand for; without an encoding themselves."""
    return values if encoding is None else encoding.real(values)
