"""Initialisers of arrays and structs in C."""

from __future__ import annotations

import numpy as np

INTEGERS_A_LINE = 8


def struct(arrays: list[np.ndarray]) -> str:
    """The initialiser of a struct of arrays; long ones take several lines."""
    fields = [lines_of([str(value) for value in array.ravel().tolist()], INTEGERS_A_LINE) for array in arrays]
    return "{" + ",\n     ".join("{" + "\n      ".join(lines) + "}" for lines in fields) + "}"


def lines_of(values: list[str], count: int) -> list[str]:
    """Comma-separated values, `count` a line; no comma after the last."""
    lines = [", ".join(values[start : start + count]) for start in range(0, len(values), count)]
    return [line + "," for line in lines[:-1]] + lines[-1:]
