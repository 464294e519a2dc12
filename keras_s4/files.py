"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> Path:
    """Writes a file, replacing one that exists only when the new one is complete.

    Raises:
        OSError: the folder cannot be written or the disk is full; the message says what was tried.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, content)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Cannot write {path}: {error.strerror}. Choose a folder that you can write to and that has room",
            str(path.parent),
        ) from error
    return path


def _write_and_rename(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    # Not `tempfile`, whose files are hidden from all other users.
    file = temporary.open("xb")
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_model(path: Path, model: Any) -> Path:
    """Saves a Keras model, whole or not at all; see `write_bytes`."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.keras"
        model.save(temporary)
        return write_bytes(path, temporary.read_bytes())


def write_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    """Writes several files into a folder and its subfolders.

    If one cannot be written, none of the new files and subfolders remains.
    """
    subfolders = {folder / parent for name in contents for parent in Path(name).parents} - {folder}
    new_folders = sorted((path for path in subfolders if not path.exists()), reverse=True)
    created = []
    try:
        for name, content in contents.items():
            existed = (folder / name).exists()
            write_bytes(folder / name, content)
            if not existed:
                created.append(folder / name)
    except BaseException:
        for path in created:
            path.unlink(missing_ok=True)
        for path in new_folders:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
    return folder
