"""`.npz` files: arrays of numpy, none of Python objects."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from keras_s4.importers.checkpoint import Checkpoint, CheckpointError, count_numbers
from keras_s4.importers.readers.archives import open_archive, read_member

LARGEST = 2**31
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


def read(path: Path) -> Checkpoint:
    """The arrays of a file, by their names.

    Raises:
        ValueError: it is damaged, holds Python objects, or arrays of other lengths than they say.
    """
    with open_archive(path) as archive:
        arrays = {}
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise CheckpointError(f"{path} holds {member.filename!r}, which is no array.")
            name = member.filename.removesuffix(".npy").replace("/", ".")
            arrays[name] = _array(f"{path}: {name!r}", archive, member)
    if not arrays:
        raise CheckpointError(f"{path} holds no arrays.")
    return Checkpoint(arrays, "arrays of numpy")


def _array(what: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    file = io.BytesIO(read_member(archive, member, LARGEST))
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError, SyntaxError, RecursionError) as error:
        raise CheckpointError(f"{what} is damaged: {error}.") from error
    if dtype.hasobject or dtype.kind not in "fciub":
        raise CheckpointError(f"{what} holds {dtype} and not numbers; Python objects are not read, for they are code.")
    content = file.read()
    if count_numbers(shape, what) * dtype.itemsize != len(content):
        raise CheckpointError(f"{what} of shape {list(shape)} has {len(content):,} bytes.")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
