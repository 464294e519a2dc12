"""Files that are written whole or not at all, alone or several in a folder; what killed programs left is removed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# What is being written, beside what it will be; Keras saves only under a name that ends in .keras.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.keras-s4(\.keras)?")
# The folder in which several files are prepared, inside of the one that they are for.
STAGING = ".keras-s4-saving"
JOURNAL = "journal.json"
# Without file locks, nothing younger is taken for left behind.
ABANDONED_SECONDS = 24 * 3600.0


def write_bytes(path: Path, content: bytes) -> Path:
    """Writes a file, replacing one that exists only when the new one is complete.

    A link is replaced, not followed; a device or pipe is written to.

    Raises:
        OSError: the folder cannot be written or the disk is full; the message says what was tried.
    """
    with explained(path, len(content)):
        if _is_special(path):
            path.write_bytes(content)
            return path
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(content)
    return path


def write_model(path: Path, model: Any) -> Path:
    """Saves a Keras model, whole or not at all; see `write_bytes`."""
    with explained(path), replacing(path, ".keras") as temporary:
        model.save(temporary)
    return path


def model_bytes(model: Any) -> bytes:
    """What a Keras model's `.keras` file holds."""
    with temporary_folder() as folder, explained(folder):
        path = folder / "model.keras"
        model.save(path)
        return path.read_bytes()


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


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Writes several files into a folder and its subfolders, where others may be, replacing those of the same names.

    If one cannot be written, all stays as it was. All are prepared before the first is replaced. A program that is
    killed while it replaces them leaves a folder without the last of them; the next `write_folder` finishes its work.

    Args:
        folder: created if need be.
        contents: by name; the last one is removed first and put in its place last.

    Raises:
        OSError: one cannot be written; see `write_bytes`.
        ValueError: a file was changed by someone else after another program was killed in the middle of replacing it.
    """
    with explained(folder, sum(map(len, contents.values()))):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            finish_replacing(folder)
            replace_each(folder, contents)
    return folder


def json_bytes(value: Any, indent: int | None = 2) -> bytes:
    """A value as the content of a JSON file; NaN and infinite numbers, which JSON has not, are null."""
    return (json.dumps(_without_nan(value), indent=indent, allow_nan=False) + "\n").encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, (list, tuple)) else value


def digest(content: bytes) -> str:
    """The SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of(path: Path) -> str | None:
    """The SHA-256 of a file, or None where there is no regular file; links are not followed."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def explained(path: Path, size: int | None = None) -> Iterator[None]:
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


@contextlib.contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file beside `path` that takes its place if all goes well, and vanishes if not.

    Args:
        path: of the file; its folder is created if need be.
        suffix: that the temporary name must end in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    temporary, descriptor = _locked_temporary(path, suffix)
    try:
        yield temporary
        os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Removes the temporary files and folders in a folder that a killed program left."""
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if TEMPORARY.fullmatch(entry.name)]
    for path in found:
        if _is_abandoned(path):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
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


def replace_each(folder: Path, contents: Mapping[str, bytes], stale: Mapping[str, str] | None = None) -> None:
    """Replaces files in a folder, all of which are prepared before, and removes others.

    Args:
        folder: that is locked.
        contents: by name; see `write_folder`.
        stale: hashes, by name, of files to remove.
    """
    _check_places(folder, contents)
    staging = folder / STAGING
    made = [path for path in _subfolders(folder, contents) if not path.exists()]
    try:
        for name, content in contents.items():
            write_synced(staging / name, content)
        for path in made:
            path.mkdir(exist_ok=True)
        files = {name: [digest_of(folder / name), digest(content)] for name, content in contents.items()}
        write_bytes(staging / JOURNAL, json.dumps({"files": files, "stale": dict(stale or {})}).encode())
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    try:
        finish_replacing(folder)
    except KeyboardInterrupt:
        finish_replacing(folder)
        raise


def finish_replacing(folder: Path) -> None:
    """Ends what `replace_each` began here before its program was killed, or forgets it if nothing was replaced yet.

    Raises:
        ValueError: a file that is still to be replaced was changed meanwhile.
    """
    staging = folder / STAGING
    if not (staging / JOURNAL).is_file():
        if staging.is_dir() and not staging.is_symlink():
            shutil.rmtree(staging)
        return
    journal = json.loads((staging / JOURNAL).read_bytes())
    waiting = [name for name in journal["files"] if (staging / name).is_file()]
    changed = [name for name in waiting if digest_of(folder / name) not in (None, *journal["files"][name])]
    if changed:
        raise ValueError(
            f"{folder} was being written when the program was killed, and {', '.join(changed)} changed since. Move "
            "them away and start again."
        )
    if waiting:
        (folder / waiting[-1]).unlink(missing_ok=True)  # without its last file, the folder is known to be unfinished
    for name in waiting:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name == waiting[-1]:
            _remove_stale(folder, journal["stale"], journal["files"])
        os.replace(staging / name, folder / name)
    shutil.rmtree(staging)


def write_synced(path: Path, content: bytes) -> None:
    """Writes a new file through to the disk, into a folder that is created if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def new_folder_beside(folder: Path) -> tuple[Path, int]:
    """A hidden, empty folder in the same place, and the descriptor that keeps it from being taken for left behind."""
    while True:
        path = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.keras-s4")
        path.mkdir()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            if _holds(descriptor):
                return path, descriptor


def _remove_stale(folder: Path, stale: Mapping[str, str], kept: Mapping[str, Any]) -> None:
    """Removes files that are as they were written; where case does not matter, none that a new one has replaced."""
    spelt = {name.casefold() for name in kept}
    for name, sha256 in stale.items():
        path = folder / name
        if name.casefold() in spelt or digest_of(path) != sha256:
            continue
        path.unlink()
        for parent in list(path.relative_to(folder).parents)[:-1]:
            with contextlib.suppress(OSError):
                (folder / parent).rmdir()


def _check_places(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Refuses folders where files should be, and files where folders should be, before anything is replaced."""
    for path in _subfolders(folder, contents):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    for name in contents:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))


def _subfolders(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """The subfolders that files need, outer ones first."""
    return sorted({folder / parent for name in contents for parent in Path(name).parents} - {folder})


def _locked_temporary(path: Path, suffix: str) -> tuple[Path, int]:
    while True:
        # Not `tempfile`, whose files are hidden from all other users.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.keras-s4{suffix}")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if _holds(descriptor):
            return temporary, descriptor


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


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, to which users direct output."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISBLK(mode)


def _room(path: Path, size: int | None) -> str:
    """What is needed and what is there, in words."""
    there = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    needed = "" if size is None else f"{size:,} bytes are needed, "
    return "" if there is None else f" ({needed}{shutil.disk_usage(there).free:,} bytes are free in {there})"
