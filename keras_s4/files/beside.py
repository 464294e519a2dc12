"""What is being written, beside what it will be: hidden files and folders, locked while their program lives."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Keras saves only under a name that ends in .keras.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.keras-s4(\.keras)?")
# The folder in which several files are prepared, inside of the one that they are for.
STAGING = ".keras-s4-saving"
# Without file locks, nothing younger is taken for left behind.
ABANDONED_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def lock(folder: Path, wait: bool = True) -> Iterator[None]:
    """Keeps other programs that lock the folder waiting; where there are no file locks, nothing does.

    Raises:
        BlockingIOError: another program has locked it, and this one does not wait.
    """
    if fcntl is None:
        yield
        return
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # a file system without locks
            pass
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                break
        os.close(descriptor)  # another program has replaced the folder meanwhile
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        os.close(descriptor)


def new_folder_beside(folder: Path) -> tuple[Path, int]:
    """A hidden, empty folder in the same place, and the descriptor that keeps it from being taken for left behind."""
    while True:
        path = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.keras-s4")
        path.mkdir()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            if _holds(descriptor):
                return path, descriptor


def new_file_beside(path: Path, suffix: str) -> tuple[Path, int]:
    """A hidden, empty file in the same folder, and the descriptor that keeps it from being taken for left behind.

    Args:
        path: what the file will be.
        suffix: that its name must end in.
    """
    while True:
        # Not `tempfile`, whose files are hidden from all other users.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.keras-s4{suffix}")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if _holds(descriptor):
            return temporary, descriptor


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary files and folders in a folder that a killed program left."""
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if TEMPORARY.fullmatch(entry.name)]
    for path in found:
        if _is_abandoned(path):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _holds(descriptor: int) -> bool:
    """Locks a new file or folder; whether it is still there, since it may have been taken for left behind before."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.fstat(descriptor).st_nlink:
        return True
    os.close(descriptor)
    return False


def _is_abandoned(path: Path) -> bool:
    """Whether no living program writes it."""
    try:
        if fcntl is None or path.is_symlink():
            return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
