"""What may be given as samples: real, finite numbers in an array. Checked at the boundary, before long runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

REAL = "iuf"


def real_array(values: Any, what: str, finite: bool = True) -> np.ndarray:
    """An array of real numbers as it is; anything else is refused, since a cast would lose what it holds.

    Args:
        values: an array, a tensor, or nested lists of numbers.
        what: they are, for the message: "verify got x".
        finite: refuse NaN and infinite numbers, too.

    Raises:
        TypeError: generators, data sets, texts, objects, truth values or complex numbers.
        ValueError: rows of different lengths; NaN or infinite numbers.
    """
    if isinstance(values, (str, bytes, Mapping)) or not (hasattr(values, "__array__") or isinstance(values, Sequence)):
        raise TypeError(
            f"{what}: {type(values).__name__}; expected an array of numbers. Gather the batches of a generator or data "
            "set first: np.concatenate([x for x, _ in batches])."
        )
    if getattr(values, "ndim", 1) == 0:
        raise ValueError(f"{what}: a single number; expected an array of them.")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{what}: rows of different lengths ({error}); expected an array. Cut or pad the sequences to one length."
        ) from error
    if array.dtype.kind not in REAL and array.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        raise TypeError(f"{what} of type {array.dtype}; expected real numbers. {_remedy(array)}")
    if finite and array.dtype.kind not in "iu" and not (good := np.isfinite(array.astype(np.float64))).all():
        place = [int(index) for index in np.argwhere(~good)[0]]
        raise ValueError(
            f"{what} with {np.count_nonzero(~good):,} NaN or infinite values, the first at {place}; remove these "
            "sequences, or fill the gaps."
        )
    return array


def check_examples(x: Any, y: Any, who: str) -> None:
    """Refuse inputs and targets that are no numbers, or of which there are not equally many.

    Args:
        x: an array `[B, ...]`, or a list or dict of arrays for several inputs.
        y: targets `[B, ...]`, or a list or dict of them; None for no targets.
        who: asks, for the message.

    Raises:
        TypeError, ValueError: see `real_array`; no example, or other numbers of them.
    """
    if isinstance(x, Mapping) and not x:
        raise ValueError(f"{who} got x={{}}; expected an array for each input of the model, by name.")
    inputs = {f"x{place}": len(real_array(array, f"{who} got x{place}")) for place, array in name_arrays(x)}
    if is_several(y) and len(y) in inputs.values() and not all(len(array) == len(y) for array in y):
        y = np.asarray(y)  # a list of rows
    targets = (
        {} if y is None else {f"y{place}": _count(array, f"{who} got y{place}") for place, array in name_arrays(y)}
    )
    counts = {**inputs, **targets}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        received = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(f"{who} got {received}; expected as many of each, at least one.")


def check_tokens(tokens: np.ndarray, vocabulary: int) -> None:
    """Refuse what an Embedding of so many tokens cannot look up.

    Raises:
        ValueError: numbers that are not whole, or outside 0 .. vocabulary - 1.
    """
    tokens = np.asarray(tokens)
    if np.any(tokens != np.rint(tokens)):
        raise ValueError("Received tokens that are no whole numbers; pass the numbers that the tokeniser gives.")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary):
        raise ValueError(
            f"Received tokens from {tokens.min():g} to {tokens.max():g}; the vocabulary has {vocabulary}, from 0 to "
            f"{vocabulary - 1}. Give unknown tokens a number of their own inside it."
        )


def name_arrays(values: Any) -> list[tuple[str, Any]]:
    """The arrays of a dict or of a list of arrays, each with its place as in `['name']` or `[0]`; "" for an array."""
    if isinstance(values, Mapping):
        return [(f"[{name!r}]", array) for name, array in values.items()]
    if is_several(values):
        return [(f"[{index}]", array) for index, array in enumerate(values)]
    return [("", values)]


def is_several(values: Any) -> bool:
    """Whether it is a list or tuple of arrays, as for a model with several inputs, and no nested list of numbers."""
    if not isinstance(values, (list, tuple)) or not values:
        return False
    return all(hasattr(array, "__array__") and getattr(array, "ndim", 1) for array in values)


def arrays_by_name(names: Sequence[str], data, owner: str) -> list:
    """What Keras takes for several inputs, as a list in the order of `names`; a single array for a single input.

    Raises:
        ValueError: another number of arrays, or names that do not fit.
    """
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise ValueError(f"{owner} got inputs named {sorted(data)}; expected {list(names)}.")
        return [data[name] for name in names]
    arrays = list(data) if isinstance(data, (list, tuple)) and len(names) > 1 else [data]
    if len(arrays) != len(names):
        raise ValueError(
            f"{owner} has {len(names)} inputs ({', '.join(names)}) and got {len(arrays)}; pass a list of arrays in "
            "this order, or a dict by these names."
        )
    return arrays


def as_list(value) -> list:
    """One or several as several."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _count(targets: Any, what: str) -> int:
    """How many targets there are; labels may be truth values."""
    array = targets if hasattr(targets, "shape") else np.asarray(targets)
    if getattr(array, "ndim", 1) == 0:
        raise ValueError(f"{what}: a single value; expected targets [B, ...].")
    return len(np.asarray(array))


def _remedy(array: np.ndarray) -> str:
    return {
        "c": "The imaginary part would be lost: give real and imaginary part as two features, np.stack([x.real, "
        "x.imag], axis=-1).",
        "b": "Say that they are numbers: x.astype('float32').",
        "O": "An array of objects holds rows of different lengths, None, or numbers of other libraries: make it one "
        "of numbers, np.array(x, dtype='float32').",
        "M": "Give times as seconds from the start of the sequence.",
        "m": "Give durations as numbers of seconds.",
    }.get(array.dtype.kind, "Turn texts into numbers first.")
