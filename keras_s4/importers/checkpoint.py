"""What a checkpoint holds, whatever its format: arrays by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Of one array, whatever a file says: a gigabyte of single precision.
MOST_NUMBERS = 2**28
# Levels of dictionaries in dictionaries, and names in all.
DEEPEST, MOST_NAMES = 32, 100_000


class CheckpointError(ValueError):
    """What is refused of a checkpoint: its file, its contents, or what it does not say and nobody said."""


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, in the order of the file.

    Args:
        arrays: by the names of the source, levels joined by dots.
        format: the kind of file, in words.
        others: plain values that stand beside the arrays, by name: hyper-parameters, an epoch.
    """

    arrays: dict[str, np.ndarray]
    format: str
    others: Mapping[str, Any] = field(default_factory=dict)


def count_numbers(shape: tuple[int, ...], what: str) -> int:
    """How many numbers an array of a shape has.

    Args:
        shape: as a file says it.
        what: the array is called.

    Raises:
        ValueError: a length that is none, or more numbers than an array of a checkpoint has.
    """
    if not all(isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in shape):
        raise CheckpointError(f"{what} has the shape {shape!r}; expected whole numbers of at least 0.")
    count = math.prod(shape)
    if count > MOST_NUMBERS or len(shape) > 32:
        raise CheckpointError(f"{what} has the shape {list(shape)}; expected at most {MOST_NUMBERS:,} numbers.")
    return count


def as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """An array of real or complex numbers in double precision, or of whole numbers as they are.

    Raises:
        ValueError: it holds something else, or NaN or infinity.
    """
    if array.dtype.kind in "iub":
        return array
    if array.dtype.kind not in "fc":
        raise CheckpointError(f"{name} holds {array.dtype} and not numbers.")
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} holds NaN or infinity; the training went wrong, or the file is damaged.")
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def flatten(tree: Any, what: str) -> dict[str, Any]:
    """The leaves of dictionaries in dictionaries, names joined by dots; lists count as dictionaries of their indices.

    Raises:
        ValueError: names that are no text, that meet, or too many or too deep.
    """
    found: dict[str, Any] = {}
    visited = 0
    waiting: list[tuple[tuple[str, ...], Any]] = [((), tree)]
    while waiting:
        path, value = waiting.pop()
        visited += 1
        if visited > MOST_NAMES or len(path) > DEEPEST:
            raise CheckpointError(f"{what} holds more than {MOST_NAMES:,} entries, or more than {DEEPEST} levels.")
        if isinstance(value, list):
            value = dict(enumerate(value[:MOST_NAMES]))
        if isinstance(value, Mapping):
            waiting.extend(((*path, _text(name, what)), entry) for name, entry in reversed(value.items()))
            continue
        name = ".".join(path)
        if name in found:
            raise CheckpointError(f"{what} holds {name!r} twice.")
        found[name] = value
    return found


def _text(name: Any, what: str) -> str:
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise CheckpointError(f"{what} holds an entry under {name!r:.80}; expected names.")
    return str(name)
