"""What an `OSError` means to a user: which file could not be written, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_s4.files.beside import STAGING, TEMPORARY


@contextlib.contextmanager
def explain_errors(path: Path, size: int | None = None) -> Iterator[None]:
    """Says of an `OSError` which file could not be written, and what to do.

    Args:
        path: what is being written.
        size: bytes that are needed, if known.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if reason.startswith("Cannot write"):
            raise
        culprit = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        if culprit != path and not any(part == STAGING or TEMPORARY.fullmatch(part) for part in culprit.parts):
            reason = f"{culprit}: {reason}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "errno = 28" in reason  # as h5py says it
        number = error.errno or (errno.ENOSPC if full else errno.EIO)
        room = _room(path, size) if full else ""
        if error.errno == errno.EFBIG:
            room = " (a limit on the size of files is set; see `ulimit -f`)"
        advice = "Choose a folder that you can write to and that has room"
        raise OSError(number, f"Cannot write {path}: {reason}{room}. {advice}.", str(path.parent)) from error


def _room(path: Path, size: int | None) -> str:
    """What is needed and what is there, in words."""
    there = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    needed = "" if size is None else f"{size:,} bytes are needed, "
    return "" if there is None else f" ({needed}{shutil.disk_usage(there).free:,} bytes are free in {there})"
