"""Zip archives of arrays: what is checked before anything is unpacked."""

from __future__ import annotations

import contextlib
import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from keras_s4.importers.checkpoint import CheckpointError

# Of all members together once unpacked, and of one that is compressed against its size in the file.
LARGEST, LARGEST_RATIO = 4 * 2**30, 1100
MOST_MEMBERS = 100_000
# What damaged archives make Python's reader say; ValueError and OSError of places in the file that cannot be.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive that is what it says.

    Raises:
        ValueError: it is damaged, encrypted, has two members of a name, or would unpack to more than there can be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist())
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        UnicodeError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk, not of a place in it
            raise
        raise CheckpointError(f"{path} is damaged: {error}. Copy it again, or save it again.") from error


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of a member, no more than it says and than are allowed."""
    if member.file_size > most:
        raise CheckpointError(f"{member.filename} has {member.file_size:,} bytes; expected at most {most:,}.")
    with archive.open(member) as file:
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise CheckpointError(f"{member.filename} has another length than it says.")
    return content


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if len(names) > MOST_MEMBERS:
        raise CheckpointError(f"{path} has {len(names):,} members; expected at most {MOST_MEMBERS:,}.")
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) != len(names) else set()
    if twice:
        raise CheckpointError(f"{path} has two members named {min(twice)!r}.")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if member.filename.startswith("/") or ".." in parts or ":" in parts[0]:
            raise CheckpointError(f"{path} has a member named {member.filename!r}, a path out of the archive.")
        if member.flag_bits & 1:
            raise CheckpointError(f"{path} is encrypted.")
        if member.file_size > LARGEST_RATIO * max(1, member.compress_size):
            raise CheckpointError(f"{path} has the member {member.filename!r}, which unpacks to more than it can hold.")
    if sum(member.file_size for member in members) > min(LARGEST, LARGEST_RATIO * path.stat().st_size):
        raise CheckpointError(f"{path} unpacks to more than a checkpoint has.")
