"""Objects as JSON files, written whole and read with one message for what is no object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s4.files.single import write_bytes


def json_bytes(value: Any, indent: int | None = 2) -> bytes:
    """A value as the content of a JSON file; NaN and infinite numbers, which JSON has not, are null."""
    return (json.dumps(_without_nan(value), indent=indent, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any, indent: int | None = 2) -> Path:
    """Writes a value as a JSON file, whole or not at all; see `json_bytes` and `write_bytes`."""
    return write_bytes(path, json_bytes(value, indent))


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        path: of the file.
        advice: a sentence that says what to do with a damaged one.

    Raises:
        ValueError: it is damaged, or no object; the message names it.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged_file(path, error, advice) from error
    if not isinstance(value, dict):
        raise damaged_file(path, f"it holds a {type(value).__name__} where an object was expected", advice)
    return value


def damaged_file(path: Path, reason: object, advice: str) -> ValueError:
    """The error for a file whose content is not what was written."""
    return ValueError(f"{path} is damaged ({reason}). {advice}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value
