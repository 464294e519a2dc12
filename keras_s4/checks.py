"""Arguments: numpy's numbers are numbers, truth values and texts are none, NaN is in no range, a path is no model."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Characters of a value in a message.
LONGEST = 80


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, of Python or numpy."""
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def is_real(value: Any) -> bool:
    """Whether it is a number that is not NaN, of Python or numpy."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and value == value


def is_truth_value(value: Any) -> bool:
    """Whether it is True or False, of Python or numpy, or 0 or 1 in their place."""
    return isinstance(value, (bool, np.bool_)) or (is_whole(value) and value in (0, 1))


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
        raise ValueError(f"{what}{quote(value)}; expected a whole number of at least {least}.")
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
        raise ValueError(f"{what}{quote(value)}; expected a number above 0 and at most 1.")
    return float(value)


def number(value: Any, what: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within a range, as Python's.

    Args:
        value: to check.
        what: it is, for the message, up to the value.
        least: it may be.
        most: it may be.

    Raises:
        ValueError: it is something else, or out of range.
    """
    if not is_real(value) or not math.isfinite(value) or not least <= value <= most:
        limits = {"at least": least, "at most": most}
        words = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        raise ValueError(f"{what}{quote(value)}; expected a finite number{f' of {words}' if words else ''}.")
    return float(value)


def truth_value(value: Any, what: str) -> bool:
    """True or False, as Python's; 0 and 1 will do.

    Args:
        value: to check.
        what: it is, for the message, up to the value.

    Raises:
        ValueError: it is something else, such as the text "False", which Python takes for true.
    """
    if is_truth_value(value):
        return bool(value)
    raise ValueError(f"{what}{quote(value)}; expected True or False.")


def choice(value: Any, what: str, choices: Iterable[str]) -> str:
    """One of several texts.

    Args:
        value: to check.
        what: it is, for the message, up to the value.
        choices: that there are.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{what}{quote(value)}; expected one of {', '.join(map(repr, choices))}.")


def check_model(model: Any, data: Any, who: str) -> None:
    """Refuse what is no model, as early as possible.

    Args:
        model: to check.
        data: what is given behind it, to tell whether the two are swapped; None if nothing is.
        who: asks.

    Raises:
        TypeError: a path, arguments in the wrong order, or anything else.
    """
    import keras

    if isinstance(model, keras.Model):
        return
    if isinstance(data, keras.Model):
        raise TypeError(f"{who} received its arguments in the wrong order; expected {who}(model, data).")
    if isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"{who} received {os.fspath(model)!r} as its model; expected a Keras model. Load it first: "
            "keras.models.load_model(path)."
        )
    if isinstance(model, type) and issubclass(model, keras.Model):
        raise TypeError(f"{who} received the class {model.__name__} as its model; expected an object of it, trained.")
    raise TypeError(f"{who} received a {type(model).__name__} as its model; expected a built Keras model.")


def check_parts(parts: Any, who: str) -> None:
    """Refuse what are no parts of a model.

    Raises:
        TypeError: no dict of parts by name.
    """
    # Whatever has a spectrum and choices of ranks is a part.
    if not isinstance(parts, Mapping) or not all(hasattr(part, "choices") for part in parts.values()):
        raise TypeError(
            f"{who} got parts={quote(parts)}; expected a dict of parts by name, as parts_of(model) gives it."
        )


def quote(value: Any) -> str:
    """A value in a message: as Python writes it, on one line, and not for pages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({type(value).__name__})"
