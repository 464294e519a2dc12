"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s4.files.beside import new_file_beside, remove_abandoned
from keras_s4.files.errors import explain_errors


def write_bytes(path: Path, content: bytes) -> Path:
    """Writes a file, replacing one that exists only when the new one is complete.

    A link is replaced, not followed; a device or pipe is written to.

    Raises:
        OSError: the folder cannot be written or the disk is full; the message says what was tried.
    """
    with explain_errors(path, len(content)):
        if _is_special(path):
            path.write_bytes(content)
            return path
        with replace_file(path) as temporary, temporary.open("wb") as file:
            file.write(content)
    return path


def write_model(path: Path, model: Any) -> Path:
    """Saves a Keras model, whole or not at all; see `write_bytes`."""
    with explain_errors(path), replace_file(path, ".keras") as temporary:
        model.save(temporary)
    return path


def model_bytes(model: Any) -> bytes:
    """What a Keras model's `.keras` file holds."""
    with temporary_folder() as folder, explain_errors(folder):
        path = folder / "model.keras"
        model.save(path)
        return path.read_bytes()


@contextlib.contextmanager
def replace_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file beside `path` that takes its place if all goes well, and vanishes if not.

    Args:
        path: of the file; its folder is created if need be.
        suffix: that the temporary name must end in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    temporary, descriptor = new_file_beside(path, suffix)
    try:
        yield temporary
        os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what is needed for a moment.

    Raises:
        OSError: there is no place for it, or none is left; says what to set.
    """
    try:
        made = tempfile.TemporaryDirectory(ignore_cleanup_errors=os.name == "nt")
    except OSError as error:
        raise _no_temporary_files(error) from error
    with made as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not str(error.strerror).startswith("Cannot write"):
                raise _no_temporary_files(error) from error
            raise


def _no_temporary_files(error: OSError) -> OSError:
    where = f" in {tempfile.tempdir}" if tempfile.tempdir else ""
    return OSError(
        error.errno or errno.EIO,
        f"Cannot write temporary files{where}: {error.strerror or error}. Set TMPDIR to a folder that you can write to "
        "and that has room.",
    )


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, to which users direct output."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISBLK(mode)
