"""Orbax checkpoints: a folder of chunked arrays, which `tensorstore` reads and which holds no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.extras import needed_for
from keras_s4.importers.checkpoint import MOST_NAMES, Checkpoint, CheckpointError, count_numbers
from keras_s4.importers.readers.message_pack import checkpoint_of, unpack

TREE = "_METADATA"
# Of older versions: a file of all names, in which such texts stand for arrays in folders of their own.
AGGREGATE, PLACEHOLDER = "checkpoint", "PLACEHOLDER://"


def find(folder: Path) -> Path | None:
    """The folder of the arrays: this one, or one of an item of it, as managers of checkpoints write it.

    Raises:
        ValueError: the folder has checkpoints of several steps.
    """
    names = ("", "default", "state", "params", "checkpoint")
    for place in (folder / name for name in names):
        if (place / TREE).is_file() or (place / AGGREGATE).is_file():
            return place
    steps = sorted((path.name for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()), key=int)
    if steps:
        raise CheckpointError(
            f"{folder} has checkpoints of the steps {', '.join(steps)}. Give one: {folder / steps[-1]}."
        )
    return None


def read(folder: Path) -> Checkpoint:
    """The parameters in a folder.

    Raises:
        ValueError: it has no tree of names, or arrays that cannot be read.
        ModuleNotFoundError: tensorstore is not installed.
    """
    with needed_for("Orbax checkpoints", "orbax"):
        import tensorstore
    if not (folder / TREE).is_file():
        content = (folder / AGGREGATE).read_bytes()
        return checkpoint_of(_filled(tensorstore, folder, unpack(content, str(folder))), str(folder), "Orbax")
    try:
        names = json.loads((folder / TREE).read_bytes())["tree_metadata"]
        paths = [_path(entry) for entry in names.values() if _is_array(entry)]
    except CheckpointError:
        raise
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


def _filled(tensorstore, folder: Path, tree: Any) -> Any:
    """A tree with arrays in place of the texts that stand for them; optimizers' are left out."""
    if isinstance(tree, dict):
        return {name: _filled(tensorstore, folder, value) for name, value in tree.items() if name != "opt_state"}
    if not isinstance(tree, str) or not tree.startswith(PLACEHOLDER):
        return tree
    name = tree.removeprefix(PLACEHOLDER)
    _check_name(name)
    return _array(tensorstore, folder, name)


def _is_array(entry: dict) -> bool:
    return not entry["value_metadata"].get("skip_deserialize", False) and bool(entry["key_metadata"])


def _path(entry: dict) -> tuple[str, ...]:
    path = tuple(str(level["key"]) for level in entry["key_metadata"])
    for name in path:
        _check_name(name)
    return path


def _check_name(name: str) -> None:
    if "/" in name or "\\" in name or name in ("", "..", "."):
        raise CheckpointError(f"An Orbax checkpoint names {name!r:.80}, a path out of its folder.")


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
    except (OSError, ValueError):
        return False
