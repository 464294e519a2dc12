"""Numbers as arguments: numpy's are numbers, truth values and texts are not, and NaN is within no range."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, of Python or numpy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def is_real(value: Any) -> bool:
    """Whether it is a number that is not NaN, of Python or numpy."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and value == value


def whole_number(value: Any, what: str, least: int = 1) -> int:
    """A whole number as Python's.

    Args:
        value: to check.
        what: it is, for the message, up to the value: "GrowingWeight got epochs=".
        least: it may be.

    Raises:
        ValueError: it is something else, or less.
    """
    if not is_whole(value) or value < least:
        raise ValueError(f"{what}{value!r}; expected a whole number of at least {least}.")
    return int(value)


def fraction(value: Any, what: str) -> float:
    """A number above 0 and at most 1.

    Args:
        value: to check.
        what: it is, for the message, up to the value.

    Raises:
        ValueError: it is something else.
    """
    if not is_real(value) or not 0.0 < value <= 1.0:
        raise ValueError(f"{what}{value!r}; expected a number above 0 and at most 1.")
    return float(value)
