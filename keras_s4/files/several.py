"""Several files in a folder that are replaced all or not at all; what a killed program began is ended."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s4.files.beside import STAGING, lock
from keras_s4.files.errors import explain_errors
from keras_s4.files.hashes import hash_bytes, hash_file
from keras_s4.files.single import write_bytes

JOURNAL = "journal.json"


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
    with explain_errors(folder, sum(map(len, contents.values()))):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder):
            finish_replacing(folder)
            replace_each(folder, contents)
    return folder


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
        files = {name: [hash_file(folder / name), hash_bytes(content)] for name, content in contents.items()}
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
    changed = [name for name in waiting if hash_file(folder / name) not in (None, *journal["files"][name])]
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


def _remove_stale(folder: Path, stale: Mapping[str, str], kept: Mapping[str, Any]) -> None:
    """Removes files that are as they were written; where case does not matter, none that a new one has replaced."""
    spelt = {name.casefold() for name in kept}
    for name, sha256 in stale.items():
        path = folder / name
        if name.casefold() in spelt or hash_file(path) != sha256:
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
