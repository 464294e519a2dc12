"""Files that commands read and write: data, numbers, and whether a place can be written. Imports nothing heavy."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.cli.kinds import HDF5, KERAS, NPY, NPZ, kind_of
from keras_s4.files import json_bytes, write_bytes

TRAINING = ("x", "y")
VALIDATION = ("x_validation", "y_validation")
# What `tune` writes, besides what a search keeps; the record has the hashes.
TUNED, TUNED_FIGURE, TUNED_RECORD = ("model.keras", "tuning.json"), "pareto.svg", "files.json"
SAVE_DATA = "Write one with numpy.savez('NAME.npz', {})."


def load_arrays(path: Path, *needed: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file: x, y for training, x_validation, y_validation for choosing.

    An .npy file, which has one array, is taken for `x` where no other is needed.

    Raises:
        ValueError: no such file, one of another kind or a damaged one; an array that is needed is missing, empty, of
            another length than its labels, or holds something other than finite numbers.
    """
    advice = SAVE_DATA.format(", ".join(f"{name}=..." for name in needed))
    check_is_file("file", path, advice)
    kind = kind_of(path)
    if kind not in (NPZ, NPY):
        words = {KERAS: "a Keras model, not data", HDF5: "an HDF5 file"}.get(kind, kind)
        raise ValueError(f"{path} is no .npz file of arrays, or damaged: it is {words}. {advice}")
    if kind == NPY and needed != ("x",):
        raise ValueError(f"{path} is an .npy file with a single array; {', '.join(needed)} are needed. {advice}")
    try:
        arrays = {"x": np.load(path)} if kind == NPY else _arrays_of_npz(path, needed)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, KeyError, NotImplementedError) as error:
        if "pickle" in str(error):
            raise ValueError(
                f"{path} holds Python objects, as lists of different lengths become; expected arrays of numbers. "
                f"Cut or pad the sequences to one length. {advice}"
            ) from error
        raise ValueError(f"{path} is damaged: {error}. {advice}") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        with np.load(path) as file:
            there = ", ".join(file.files) or "none"
        raise ValueError(f"{path} has no array {', '.join(missing)}; it has {there}. {advice}")
    for name, array in arrays.items():
        _check_numbers(path, name, array)
    for x, y in (TRAINING, VALIDATION):
        if x in arrays and y in arrays and len(arrays[x]) != len(arrays[y]):
            raise ValueError(f"{path} has {len(arrays[x]):,} sequences in {x} and {len(arrays[y]):,} labels in {y}.")
    return arrays


def _arrays_of_npz(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in needed if name in file.files}


def check_places(read: Mapping[str, Path | None], files: Mapping[str, Path | None], **folders: Path | None) -> None:
    """Refuses, before the work, what could not be written after it or would replace what was read.

    Args:
        read: the files that are read, by what the user calls them.
        files: that will be written, likewise.
        folders: that will be written into, by the names of their options.

    Raises:
        ValueError: a file that is written twice or read as well, a folder where a file should be, or the reverse.
        OSError: a folder that cannot be written.
    """
    taken = {_place(path): name for name, path in read.items() if path is not None}
    for name, path in files.items():
        if path is None:
            continue
        if _place(path) in taken and not path.is_fifo() and not path.is_char_device():
            raise ValueError(f"{name} and {taken[_place(path)]} are the same file, {path}. Give {name} another name.")
        taken[_place(path)] = name
        if path.is_dir():
            raise ValueError(f"{name} is {path}, which is a folder; give the name of a file.")
        _check_writable(name, path.absolute().parent)
    for name, path in folders.items():
        if path is not None:
            if path.exists() and not path.is_dir():
                raise ValueError(f"--{name} is {path}, which is a file; give the name of a folder.")
            _check_writable(f"--{name}", path.absolute())


def check_model_name(path: Path) -> None:
    """Refuses a name under which Keras does not save.

    Raises:
        ValueError: the name does not end in .keras.
    """
    if path.suffix != ".keras":
        raise ValueError(f"The model cannot be saved as {path}; give a name that ends in .keras.")


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Writes figures to a file, if one is wanted."""
    if path is not None:
        write_bytes(follow_link(path), json_bytes(figures))


def follow_link(path: Path) -> Path:
    """Where a user's own link leads: a file that is asked for by name is written there."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def check_is_file(what: str, path: Path, advice: str) -> None:
    """Refuses what cannot be read.

    Raises:
        ValueError: no such file, a folder, or one that may not be read.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file. {advice}")
    if not path.exists():
        raise ValueError(f"There is no {what} {path}. {advice}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} may not be read: you lack the permission.")


def _check_numbers(path: Path, name: str, array: np.ndarray) -> None:
    """Refuses arrays without sequences, or of anything but finite real numbers."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} has {array.dtype} in {name}; expected real numbers.")
    if array.ndim == 0 or not array.size:
        raise ValueError(f"{path} has {name} of shape {list(array.shape)}; expected sequences along its first axis.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{path} has {array[tuple(place)]} in {name} at {place}; expected finite numbers.")


def _place(path: Path) -> str:
    """What is the same for two names of one file."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return f"{status.st_dev}:{status.st_ino}"


def _check_writable(name: str, folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ValueError(f"{name} cannot be written: {there} is a file, where a folder should be.")
    try:
        tempfile.TemporaryFile(dir=there).close()  # the permissions alone do not tell
    except OSError as error:
        raise OSError(
            error.errno, f"{name} cannot be written: {there}: {error.strerror}. Choose another folder."
        ) from error
