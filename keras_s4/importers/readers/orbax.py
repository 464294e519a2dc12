"""Orbax checkpoints: a folder of chunked arrays, which `tensorstore` reads and which holds no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.extras import needed_for
from keras_s4.importers.checkpoint import MOST_NAMES, Checkpoint, CheckpointError, count_numbers
from keras_s4.importers.readers.message_pack import checkpoint_of

TREE = "_METADATA"


def find(folder: Path) -> Path | None:
    """The folder of the arrays: this one, or one of an item of it, as managers of checkpoints write it."""
    names = ("", "default", "state", "params", "checkpoint")
    return next((folder / name for name in names if (folder / name / TREE).is_file()), None)


def read(folder: Path) -> Checkpoint:
    """The parameters in a folder.

    Raises:
        ValueError: it has no tree of names, or arrays that cannot be read.
        ModuleNotFoundError: tensorstore is not installed.
    """
    with needed_for("Orbax checkpoints", "orbax"):
        import tensorstore
    try:
        names = json.loads((folder / TREE).read_bytes())["tree_metadata"]
        paths = [_path(entry) for entry in names.values() if _is_array(entry)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / TREE} is damaged: {error}.") from error
    if len(paths) > MOST_NAMES:
        raise CheckpointError(f"{folder / TREE} holds more than {MOST_NAMES:,} names.")
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for name in path[:-1]:
            level = level.setdefault(name, {})
        level[path[-1]] = _array(tensorstore, folder, ".".join(path))
    return checkpoint_of(tree, str(folder), "Orbax")


def _is_array(entry: dict) -> bool:
    return not entry["value_metadata"].get("skip_deserialize", False) and bool(entry["key_metadata"])


def _path(entry: dict) -> tuple[str, ...]:
    path = tuple(str(level["key"]) for level in entry["key_metadata"])
    if any("/" in name or "\\" in name or name in ("", "..") for name in path):
        raise CheckpointError(f"An Orbax checkpoint names {path!r:.80}, a path out of its folder.")
    return path


def _array(tensorstore, folder: Path, name: str) -> np.ndarray:
    base: dict[str, Any] = {"driver": "file", "path": f"{folder.absolute()}/"}
    if (folder / "manifest.ocdbt").is_file():
        store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
        store = {**base, "path": f"{folder.absolute()}/{name}/"}
    driver = "zarr3" if _uses_zarr3(folder) else "zarr"
    try:
        array = tensorstore.open({"driver": driver, "kvstore": store}, read=True, open=True).result()
        count_numbers(tuple(int(length) for length in array.shape), name)
        return np.asarray(array.read().result())
    except CheckpointError:
        raise
    except Exception as error:  # tensorstore has no class of errors of its own
        raise CheckpointError(f"{folder}: the array {name!r} cannot be read: {error!s:.300}") from error


def _uses_zarr3(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / TREE).read_bytes()).get("use_zarr3", False))
    except ValueError:
        return False
