"""A folder of generated files that is replaced as a whole, and never a file that someone else wrote or changed."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_s4.files import explain_errors, hash_bytes, hash_file, json_bytes
from keras_s4.files.beside import lock, new_folder_beside, remove_abandoned
from keras_s4.files.several import finish_replacing, replace_each, write_synced

# Of `renameat2`.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def with_record(contents: Mapping[str, bytes], name: str, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Files with a record of their hashes as the last.

    Args:
        contents: by name.
        name: of the record.
        facts: what it says besides.
    """
    files = {key: {"bytes": len(content), "sha256": hash_bytes(content)} for key, content in sorted(contents.items())}
    return {**contents, name: json_bytes({**facts, "files": files})}


def save_folder(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Writes a folder of files over what an earlier save left there.

    At every moment the folder is wholly the old one or wholly the new one: a new one is prepared beside it, and the
    two change places at once. Where they cannot (on other systems than Linux, in a folder that also holds other
    people's files, in the current folder or a mounted one), each file is replaced, all being prepared before. A program
    killed in the middle of that leaves a folder without its record, and the next save finishes what it began.

    Args:
        folder: created if need be; a link to a folder is followed.
        contents: by name, the last one being the record of the hashes of all others; see `with_record`. What the record
            in the folder lists and these have not is removed.

    Returns:
        The folder.

    Raises:
        ValueError: files are in the way that no save has written, or that were changed since; nothing is touched.
        OSError: the folder cannot be written; nothing half-written remains.
    """
    target = Path(os.path.realpath(folder))
    with explain_errors(target, sum(map(len, contents.values()))):
        target.mkdir(parents=True, exist_ok=True)
        if not os.access(target, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        if os.access(target.parent, os.W_OK | os.X_OK):
            remove_abandoned(target.parent)
        with lock(target):
            finish_replacing(target)
            *_, record = contents
            _refuse_foreign(folder, contents, record)
            stale = _find_stale(target, contents, record)
            if not (_is_alone(target, {*contents, *stale}) and _switch(target, contents)):
                replace_each(target, contents, stale)
    return folder


def check_before(folder: Path, names: Iterable[str], record: str) -> None:
    """Refuses what `save_folder` would, before there is anything to save; ends what a killed save began.

    Args:
        folder: that may not be there yet.
        names: of the files that will be written.
        record: the name of the record.

    Raises:
        ValueError: see `save_folder`.
    """
    if folder.is_dir():
        with explain_errors(folder), lock(folder):
            finish_replacing(folder)
    _refuse_foreign(folder, dict.fromkeys(names), record)


def _refuse_foreign(folder: Path, contents: Mapping[str, bytes | None], record: str) -> None:
    """Refuses to write over files that no save has written, or that were changed since.

    Args:
        folder: that may not be there yet.
        contents: by name; None where they are not known yet.
        record: the name of the record.

    Raises:
        ValueError: names the files and says what to do.
    """
    old = read_record(folder, record)
    foreign = sorted(name for name, content in contents.items() if _is_foreign(folder, name, content, old, record))
    foreign += _spelt_otherwise(folder, contents, {*old, record})
    if foreign:
        raise ValueError(
            f"{folder} holds {', '.join(foreign)}, which no save has written there. Choose another folder, or move "
            "these away."
        )
    changed = [name for name, content in contents.items() if _is_changed(folder, name, content, old)]
    if changed:
        raise ValueError(
            f"{folder} holds {', '.join(changed)}, changed since they were saved. Choose another folder, or move these "
            "files away if the changes matter, or delete them."
        )


def read_record(folder: Path, record: str) -> dict[str, str]:
    """The hashes of the files that an earlier save has written, by name; empty where none did."""
    try:
        files = json.loads((folder / record).read_bytes())["files"]
        hashes = {name: entry["sha256"] for name, entry in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    sound = all(isinstance(value, str) for value in hashes.values())
    inside = all(name and not os.path.isabs(name) and ".." not in Path(name).parts for name in hashes)
    return hashes if sound and inside and record not in hashes else {}


def _find_stale(folder: Path, contents: Mapping[str, bytes], record: str) -> dict[str, str]:
    """The hashes of the files that an earlier save has written, nobody has changed, and the new one has not."""
    there = {name: sha256 for name, sha256 in read_record(folder, record).items() if name not in contents}
    return {
        name: sha256
        for name, sha256 in there.items()
        if hash_file(folder / name) == sha256 and _is_inside(folder, name)
    }


def _is_foreign(folder: Path, name: str, content: bytes | None, old: Mapping[str, str], record: str) -> bool:
    path = folder / name
    if not _is_inside(folder, name):
        return True
    if not path.exists() and not path.is_symlink():
        return False
    if hash_file(path) is None:
        return True
    ours = name in old or (name == record and bool(old))
    return not ours and not (content is not None and hash_file(path) == hash_bytes(content))


def _is_changed(folder: Path, name: str, content: bytes | None, old: Mapping[str, str]) -> bool:
    there = hash_file(folder / name)
    wanted = None if content is None else hash_bytes(content)
    return name in old and there not in (None, old[name], wanted)


def _is_inside(folder: Path, name: str) -> bool:
    """Whether the subfolders on the way to a file are folders, not links or files."""
    parents = [folder / parent for parent in Path(name).parents][:-1]
    return not any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in parents)


def _spelt_otherwise(folder: Path, names: Iterable[str], ours: set[str]) -> list[str]:
    """Files and folders that differ from new ones in capitals alone: some disks mix them, and `make` prefers one."""
    parts = {Path(*Path(name).parts[:end]) for name in names for end in range(1, len(Path(name).parts) + 1)}
    spelt = {(part.parent, part.name.casefold()): part for part in parts}
    found = set()
    for parent in {part.parent for part in parts}:
        there = sorted(os.listdir(folder / parent)) if (folder / parent).is_dir() else []
        for name in there:
            path = parent / name
            if path not in parts and (parent, name.casefold()) in spelt and path.as_posix() not in ours:
                found.add(path.as_posix())
    return sorted(found)


def _is_alone(folder: Path, ours: set[str]) -> bool:
    """Whether a folder holds nothing but these files and their subfolders."""
    subfolders = {parent.as_posix() for name in ours for parent in Path(name).parents}
    for root, folders, files in os.walk(folder):
        inside = Path(root).relative_to(folder)
        if not all((inside / name).as_posix() in ours for name in files):
            return False
        if not all(
            (inside / name).as_posix() in subfolders and not (Path(root) / name).is_symlink() for name in folders
        ):
            return False
    return True


def _switch(folder: Path, contents: Mapping[str, bytes]) -> bool:
    """Prepares a new folder and lets it take the place of the old one at once; False where that cannot be.

    Raises:
        OSError: a file cannot be written; the old folder is as it was.
    """
    current = Path(os.path.realpath(os.curdir))
    # A program that stands in the folder would be left in one that is gone.
    if current == folder or folder in current.parents or os.path.ismount(folder):
        return False
    if not os.access(folder.parent, os.W_OK | os.X_OK) or os.stat(folder).st_uid != getattr(os, "geteuid", int)():
        return False
    staged, descriptor = new_folder_beside(folder)
    try:
        for name, content in contents.items():
            write_synced(staged / name, content)
        shutil.copymode(folder, staged)
        return _exchange(staged, folder)
    finally:
        os.close(descriptor)
        shutil.rmtree(staged, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Lets two folders change places in one step, which Linux can; False where it cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and not rename(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    )
