"""A number that is known to lie between two."""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """From the least to the most.

    Args:
        low: the least.
        high: the most.
    """

    low: float
    high: float

    def __add__(self, other: Range | float) -> Range:
        low, high = other if isinstance(other, Range) else (other, other)
        return Range(self.low + low, self.high + high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.high * factor)

    def __truediv__(self, divisor: float) -> Range:
        return Range(self.low / divisor, self.high / divisor)

    __radd__ = __add__
    __rmul__ = __mul__

    @property
    def middle(self) -> float:
        """Half-way."""
        return (self.low + self.high) / 2
