"""Short digests of models, data and settings, to tell whether results kept in a file belong to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def digest(*values: Any) -> str:
    """A digest of arrays, numbers, texts and nests of them, the same in every run."""
    sha = hashlib.sha256()
    for value in values:
        _update(sha, value)
    return sha.hexdigest()[:16]


def model_digest(model: keras.Model) -> str:
    """A digest of a model's architecture and weights."""
    config = keras.saving.serialize_keras_object(model)["config"]
    return digest(json.dumps(config, sort_keys=True, default=str), *map(keras.ops.convert_to_numpy, model.weights))


def differing(asked: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The names of the settings in which two sets of them differ; one that is missing differs."""
    return [name for name in {**asked, **found} if asked.get(name) != found.get(name)]


def describe_difference(found: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[str, str]:
    """The settings in which two sets of them differ, as `name=value, ...`: those of the first, and of the second."""
    names = differing(asked, found)
    first, second = (", ".join(f"{name}={settings.get(name)!r}" for name in names) for settings in (found, asked))
    return first, second


def _update(sha, value: Any) -> None:
    if isinstance(value, Mapping):
        value = sorted(value.items())
    if isinstance(value, (list, tuple)):
        sha.update(f"({len(value)}".encode())
        for item in value:
            _update(sha, item)
    elif isinstance(value, (str, bytes, int, float, bool, type(None))):
        sha.update(f"{type(value).__name__} {value!r};".encode())
    else:
        array = np.asarray(value)
        sha.update(f"{array.dtype} {array.shape};".encode())
        sha.update(repr(value).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes())
