"""What a file really is, by its content, for messages about files of another kind than was expected."""

from __future__ import annotations

import zipfile
from pathlib import Path

KERAS, HDF5, NPZ, NPY = "keras", "hdf5", "npz", "npy"


def kind_of(path: Path) -> str:
    """One of the constants above, or what the file is, in words, such as "a Python pickle"."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return HDF5
    if start.startswith(b"\x93NUMPY"):
        return NPY
    if start[4:8] == b"TFL3":
        return "a .tflite, which is converted already"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, which is not read, since reading one may run any program"
    return _kind_of_text(start)


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"cut off after {path.stat().st_size:,} bytes: its end is missing, as when a copy was interrupted"
    if "config.json" in names:
        return KERAS
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch model, which `keras-s4 import` takes over"
    return f"a zip archive with {', '.join(names[:3]) or 'nothing'}{' ...' if len(names) > 3 else ''} in it"


def _kind_of_text(start: bytes) -> str:
    if not start:
        return "empty"
    if not start.strip(b"\0"):
        return "nothing but zeros: its content was lost"
    if b"\0" in start:
        return "a binary file of an unknown kind"
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # not a character that the end of what was read cuts
            return "a binary file of an unknown kind"
    return "a text file"
