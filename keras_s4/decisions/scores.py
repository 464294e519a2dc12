"""What decisions are made from: outputs of a model as 32-bit integers, *levels*, with a softmax by table in between.

A level is exact where the output decides as it is: the integer less its zero point, shifted up so that smoothing has
room below. Behind a softmax it is a probability in 2**-30. With d the distance of a class' integer from the largest,
exp(-d scale) comes from a table in 2**-15 (of int16 from two, for the high and the low byte, whose product it is), and
one reciprocal, by Newton's method, divides all of them by their sum.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from keras_s4.checks import choice, number, whole_number

# A level is below 2**LEVEL_BITS in size; entries of tables have TABLE_BITS behind the point.
LEVEL_BITS, TABLE_BITS = 30, 15
# Of Newton's method for 1 / m, m from 1/2 to 1 in 2**-32: the line 48/17 - 32/17 m, and how often it is mended.
START, SLOPE, ROUNDS = round(48 / 17 * 2**30), round(32 / 17 * 2**30), 3
_TYPES = {"int8": 8, "int16": 16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What the outputs are from which decisions are made.

    Args:
        count: C, of classes or labels.
        softmax: whether the integers are logits, whose softmax decides.
        type: "int8" or "int16", of a program's output; None for real numbers, as a Keras model gives them.
        scale: the real value of one unit; without a type, of one unit of the smallest level, 2**-30 by default, so that
            real numbers up to 1 in size are told apart.
        zero_point: the integer of 0.

    Raises:
        ValueError: numbers out of range.
    """

    count: int
    softmax: bool = True
    type: str | None = None
    scale: float = 2.0**-LEVEL_BITS
    zero_point: int = 0

    def __post_init__(self):
        object.__setattr__(self, "count", whole_number(self.count, "Scores got count="))
        if self.count > 2**15 - 1:
            raise ValueError(f"Scores got count={self.count}; decisions are between {2**15 - 1} classes at most.")
        object.__setattr__(self, "scale", number(self.scale, "Scores got scale=", 0.0))
        if not self.scale:
            raise ValueError("Scores got scale=0; expected the real value of one unit.")
        if self.type is None:
            return
        choice(self.type, "Scores got type=", _TYPES)
        limits = np.iinfo(self.type)
        object.__setattr__(self, "zero_point", whole_number(self.zero_point, "Scores got zero_point=", int(limits.min)))
        if self.zero_point > limits.max:
            raise ValueError(f"Scores got zero_point={self.zero_point}; expected an {self.type}.")

    @property
    def shift(self) -> int:
        """By how many bits the level of an integer that decides as it is has been shifted up."""
        return LEVEL_BITS - _TYPES[self.type] if self.type else 0

    @property
    def unit(self) -> float:
        """The real value of one unit of a level."""
        return 2.0**-LEVEL_BITS if self.softmax else self.scale * 2.0**-self.shift

    def level(self, real: float) -> int:
        """The level such that a score is above it if, and only if, its real number is above `real`."""
        return int(np.clip(np.floor(real / self.unit), -(2**31), 2**31 - 1))

    def real(self, levels: np.ndarray) -> np.ndarray:
        """The real numbers that levels stand for."""
        return levels * self.unit

    def levels(self, values) -> np.ndarray:
        """Outputs as levels, int64 `[..., C]`, each at most 2**30 in size.

        Args:
            values: `[..., C]`, or `[...]` where C is 1. Integers of the program; or real numbers, as the Keras model
                gives them, its probabilities behind a softmax. Probabilities become the nearest multiple of 2**-30.
                Other real numbers are rounded and clipped to the integers that the program's output has, where there
                is a program.

        Raises:
            TypeError: other than numbers.
            ValueError: another shape; NaN; integers that the type has not; no probabilities.
        """
        values = np.asarray(values)
        if values.dtype.kind not in "iuf":
            raise TypeError(
                f"Received scores of type {values.dtype}; expected integers of the program or real numbers."
            )
        if self.count == 1 and values.shape[-1:] != (1,):
            values = values[..., None]
        if values.shape[-1:] != (self.count,):
            raise ValueError(f"Received scores of shape {list(values.shape)}; expected [..., {self.count}].")
        if values.dtype.kind == "f":
            return self._levels_of_reals(values.astype(np.float64))
        if self.type is None:
            raise ValueError(
                f"Received scores of type {values.dtype}; these Scores are of real numbers. Give type, scale and zero "
                "point of the program's output, as the `decider` of a converted model does."
            )
        limits = np.iinfo(self.type)
        integers = values.astype(np.int64)
        if integers.size and (integers.min() < limits.min or integers.max() > limits.max):
            raise ValueError(
                f"Received scores from {integers.min()} to {integers.max()}; expected {self.type}: {limits.min} to "
                f"{limits.max}."
            )
        return self._softmax(integers) if self.softmax else (integers - self.zero_point) << self.shift

    @functools.cached_property
    def tables(self) -> tuple[np.ndarray, ...]:
        """The exponential function, uint16 in 2**-15: `exp(-d scale)` by d; of int16 by d >> 8, and by d & 255.

        A table ends before its entries are 0; further ones count as 0.
        """
        if self.type == "int8":
            return (_exponentials(self.scale, 256),)
        return _exponentials(256 * self.scale, 256), _exponentials(self.scale, 256)

    def _levels_of_reals(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise ValueError("Received scores that are NaN or infinite.")
        if self.softmax:
            if values.size and (values.min() < 0.0 or values.max() > 1.0 + 1e-3):
                raise ValueError(
                    f"Received scores from {values.min():g} to {values.max():g}; expected probabilities, as behind a "
                    "softmax."
                )
            return np.rint(np.minimum(values, 1.0) * 2.0**LEVEL_BITS).astype(np.int64)
        if self.type is None:
            limit = 2.0**LEVEL_BITS
            return np.clip(np.rint(values / self.scale), -limit, limit).astype(np.int64)
        limits = np.iinfo(self.type)
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, limits.min, limits.max)
        return (integers.astype(np.int64) - self.zero_point) << self.shift

    def _softmax(self, integers: np.ndarray) -> np.ndarray:
        distances = integers.max(axis=-1, keepdims=True) - integers
        if self.type == "int8":
            exponentials = _look_up(self.tables[0], distances)
        else:
            high, low = _look_up(self.tables[0], distances >> 8), _look_up(self.tables[1], distances & 255)
            exponentials = (high * low + 2 ** (TABLE_BITS - 1)) >> TABLE_BITS
        reciprocal, shift = reciprocals(exponentials.sum(axis=-1, keepdims=True))
        return (exponentials * reciprocal) >> shift


def reciprocals(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r and s such that `(e * r) >> s` is e / sum in 2**-30, without a division.

    Args:
        sums: int64, from 2**15 to 2**31.
    """
    # The sum is m, its highest bit the one of 2**31, so that 1 / m is from 1 to 2 in units of 2**-32 * 2**-30.
    up = 32 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    m = (sums << up).astype(np.uint64)
    bits, two = np.uint64(LEVEL_BITS), np.uint64(2 ** (LEVEL_BITS + 1))
    r = np.uint64(START) - ((np.uint64(SLOPE) * m) >> np.uint64(32))
    for _ in range(ROUNDS):
        r = (r * (two - ((m * r) >> np.uint64(32)))) >> bits
    return r.astype(np.int64), 32 - up


def _exponentials(scale: float, count: int) -> np.ndarray:
    with np.errstate(under="ignore"):
        entries = np.rint(np.exp(-scale * np.arange(count)) * 2**TABLE_BITS).astype(np.uint16)
    return entries[: np.count_nonzero(entries)]


def _look_up(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    entries = np.append(table, 0).astype(np.int64)
    return entries[np.minimum(places, len(table))]
