"""`.safetensors` files: a length, a header in JSON, and the bytes of the arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.importers.checkpoint import Checkpoint, CheckpointError, count_numbers

LARGEST_HEADER = 100_000_000
METADATA = "__metadata__"
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "C64": "<c8",
    "C128": "<c16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read(path: Path) -> Checkpoint:
    """The arrays of a file.

    Raises:
        ValueError: it is damaged: a header that is none, arrays that overlap, or do not fill the file.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):
        raise CheckpointError(f"{path} is damaged: its header has {length:,} bytes of {max(0, len(content) - 8):,}.")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is damaged: its header is no dictionary.")
    others = header.pop(METADATA, {})
    body = content[8 + length :]
    places = sorted((_place(path, name, entry), name) for name, entry in header.items())
    end = 0
    for (begin, stop), name in places:
        if begin != end:
            raise CheckpointError(f"{path} is damaged: {name!r} begins at byte {begin:,}; expected {end:,}.")
        end = stop
    if end != len(body):
        raise CheckpointError(f"{path} is damaged: its arrays end at byte {end:,} of {len(body):,}.")
    arrays = {name: _array(path, name, entry, body) for name, entry in header.items()}
    if not arrays:
        raise CheckpointError(f"{path} holds no arrays.")
    return Checkpoint(arrays, "safetensors", others if isinstance(others, dict) else {})


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return found


def _place(path: Path, name: str, entry: Any) -> tuple[int, int]:
    place = entry.get("data_offsets") if isinstance(entry, dict) else None
    whole = isinstance(place, list) and len(place) == 2 and all(type(each) is int and each >= 0 for each in place)
    if not whole or place[0] > place[1]:
        raise CheckpointError(f"{path} is damaged: {name!r} has the place {place!r:.80}; expected [begin, end].")
    return place[0], place[1]


def _array(path: Path, name: str, entry: dict, body: bytes) -> np.ndarray:
    dtype, shape = _TYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if dtype is None or not isinstance(shape, list):
        raise CheckpointError(
            f"{path}: {name!r} has the type {entry.get('dtype')!r:.40}; expected {', '.join(_TYPES)}."
        )
    count, short = count_numbers(tuple(shape), f"{path}: {name!r}"), dtype == "bfloat16"
    begin, end = _place(path, name, entry)
    kind = np.dtype("<u2" if short else dtype)
    if end - begin != count * kind.itemsize:
        raise CheckpointError(f"{path} is damaged: {name!r} of shape {shape} has {end - begin:,} bytes.")
    numbers = np.frombuffer(body[begin:end], kind).reshape(shape)
    return (numbers.astype(np.uint32) << 16).view(np.float32) if short else numbers.copy()
