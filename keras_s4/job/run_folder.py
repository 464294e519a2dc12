"""The folder of one run: which settings it belongs to, what the run wrote, and whether that is still so."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_s4.compression.fingerprints import describe_difference, differing
from keras_s4.files import (
    damaged_file,
    explain_errors,
    hash_bytes,
    hash_file,
    json_bytes,
    model_bytes,
    read_object,
    write_bytes,
    write_json,
)
from keras_s4.files.beside import lock

RECORD = "settings.json"
WORK = ".keras-s4"
# Files of a run that are no results, but notes about it.
SECONDS, RECORDINGS = "seconds.json", "recordings.json"
# What to do with a damaged result.
AGAIN = "Delete it and start again: what is missing is computed anew."
UNCHECKED = (RECORD, SECONDS, RECORDINGS)


class RunFolder:
    """Results of one run as files that exist only when they are complete.

    `settings.json` keeps the settings, the names of all files that the run may have written, and the hashes of those
    that it did: nothing else in the folder is ever overwritten or removed, and what was damaged or changed since is not
    taken for a result. Unfinished work is in the hidden folder `.keras-s4`.

    Args:
        path: of the folder; created if missing.
        settings: of the run, all that its results depend on; JSON-ready.
        names: the files that the run will write.
        restart: remove what an earlier run wrote here.

    Raises:
        ValueError: another run's results or foreign files are there, a result was damaged or changed since the run
            wrote it, or `settings.json` is damaged; says what to do.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], names: Iterable[str], restart: bool = False):
        self.path = Path(path)
        self._settings = json.loads(json_bytes(settings))
        self._hashes: dict[str, str] = {}
        record = self._read_record()
        if record and restart:
            self._remove(record["files"])
            self.tidy()
            record = None
        if record:
            self._check_settings(record["settings"])
        self._files: list[str] = record["files"] if record else []
        self._hashes = record.get("hashes", {}) if record else {}
        self._refuse_foreign(name for name in self._files if name not in self._hashes and name not in UNCHECKED)
        for name in self._hashes:
            self._check(name)
        self._write_record()
        self.claim(names)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other programs from running here.

        Raises:
            ValueError: one does already.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(self.path, wait=False))
            except BlockingIOError:
                raise ValueError(
                    f"Another program is at work in {self.path}. Wait until it is done, or choose another folder with "
                    "--out."
                ) from None
            yield

    @property
    def work(self) -> Path:
        """The hidden folder for unfinished work."""
        return self.path / WORK

    def has(self, *names: str) -> bool:
        """Whether all of these files are there."""
        return all((self.path / name).is_file() for name in names)

    def is_whole(self, names: Iterable[str]) -> bool:
        """Whether these results are there as they were written; of a file in a subfolder, all that the run wrote there.

        Raises:
            ValueError: one was damaged or changed since; the message names it.
        """
        tops = {name.split("/")[0] for name in names}
        written = [name for name in self._hashes if name.split("/")[0] in tops]
        for name in written:
            self._check(name)
        return set(names) <= set(written) and self.has(*written)

    def claim(self, names: Iterable[str]) -> None:
        """Notes that the run writes these files, before it does.

        Raises:
            ValueError: a file of such a name is there, but not from this run.
        """
        new = [name for name in names if name not in self._files]
        self._refuse_foreign(new)
        if new:
            self._files += new
            self._write_record()

    def discard(self, names: Iterable[str], unfinished: bool = False) -> None:
        """Removes results as far as this run wrote them; of a file in a subfolder, the whole subfolder.

        Args:
            names: of results.
            unfinished: also remove what was begun for them.
        """
        tops = {name.split("/")[0] for name in names}
        self._remove([name for name in self._files if name.split("/")[0] in tops])
        self._hashes = {name: value for name, value in self._hashes.items() if name.split("/")[0] not in tops}
        if unfinished:
            for top in tops:
                shutil.rmtree(self.work / Path(top).stem, ignore_errors=True)

    def tidy(self) -> None:
        """Removes all unfinished work."""
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, name: str, content: bytes) -> None:
        """Writes a result that was claimed."""
        self._note_hashes({name: hash_bytes(content)})
        write_bytes(self.path / name, content)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON result that was claimed."""
        self.write(name, json_bytes(value))

    def write_note(self, name: str, value: Any) -> None:
        """Writes a JSON file that was claimed and is no result: nobody asks whether it was changed."""
        write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads a JSON file.

        Raises:
            ValueError: it is damaged, or no object; the message names it.
        """
        self._check(name)
        return read_object(self.path / name, AGAIN)

    def save_model(self, name: str, model: keras.Model) -> None:
        """Saves a Keras model as a result that was claimed."""
        self.write(name, model_bytes(model))

    def load_model(self, name: str) -> keras.Model:
        """Loads a Keras model, uncompiled, to be evaluated without the long compilation by XLA.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        self._check(name)
        try:
            model = keras.saving.load_model(self.path / name, compile=False)
        except Exception as error:  # zipfile, h5py, json and Keras each have errors of their own
            raise damaged_file(self.path / name, error, AGAIN) from error
        model.jit_compile = False
        return model

    def take_folder(self, folder: Path, name: str) -> None:
        """Moves all files of a folder on the same disk into the folder `name` of the run, as results."""
        files = {f"{name}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*") if file.is_file()}
        self.claim(files)
        self._note_hashes({result: hash_file(file) for result, file in files.items()})
        for result, file in files.items():
            with explain_errors(self.path / result):
                (self.path / result).parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, self.path / result)
        shutil.rmtree(folder)

    def _refuse_foreign(self, names: Iterable[str]) -> None:
        foreign = [name for name in names if self._is_taken(name)]
        if foreign:
            raise ValueError(
                f"{self.path} holds {', '.join(foreign)}, which this program did not write there. Choose another "
                "folder with --out, or move these files away."
            )

    def _note_hashes(self, hashes: dict[str, str]) -> None:
        """Notes what results will be, before they are: of a program killed in between, the result is missing."""
        self._hashes |= hashes
        self._write_record()

    def _check(self, name: str) -> None:
        """Refuses a result that is there, but not as it was written.

        Raises:
            ValueError: see `is_whole`.
        """
        if name in self._hashes and self._is_taken(name) and hash_file(self.path / name) != self._hashes[name]:
            raise damaged_file(self.path / name, "it is not what the run wrote; if you changed it, move it away", AGAIN)

    def _is_taken(self, name: str) -> bool:
        """Whether something is there, or would be written through a link."""
        inside = [self.path / parent for parent in Path(name).parents][:-1]
        return os.path.lexists(self.path / name) or any(parent.is_symlink() for parent in inside)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            path = self.path / name
            path.unlink(missing_ok=True)
            while path.parent != self.path and path.parent.is_dir() and not any(path.parent.iterdir()):
                path = path.parent
                path.rmdir()

    def _read_record(self) -> dict[str, Any] | None:
        if not (self.path / RECORD).is_file():
            return None
        try:
            record = self.read_json(RECORD)
        except ValueError:
            record = None
        if not _is_sound(record):
            raise ValueError(
                f"{self.path / RECORD} is damaged, so it is not known which files of this folder are the run's. Choose "
                "another folder with --out, or delete this one."
            )
        return record

    def _write_record(self) -> None:
        self.write_note(RECORD, {"settings": self._settings, "files": self._files, "hashes": self._hashes})

    def _check_settings(self, there: dict[str, Any]) -> None:
        asked = self._settings
        unknown = [name for name in asked if name not in there]
        if unknown:
            raise ValueError(
                f"{self.path} holds a run of an earlier version, or one that was not asked for what is now: it says "
                f"nothing of {', '.join(unknown)}. Choose another folder with --out, or remove the files of that run "
                "with --restart."
            )
        if differing(asked, there):
            found, wanted = describe_difference(there, asked)
            raise ValueError(
                f"{self.path} holds a run with {found}, but {wanted} was asked for. Choose another folder with --out, "
                "or remove the files of that run with --restart."
            )


def _is_sound(record: Any) -> bool:
    """Whether what `settings.json` holds has the form of a record."""
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        return False
    files, hashes = record.get("files"), record.get("hashes", {})
    if not isinstance(files, list) or not isinstance(hashes, dict):
        return False
    texts = [*files, *hashes, *hashes.values()]
    return all(isinstance(text, str) for text in texts) and all(
        name and not os.path.isabs(name) and ".." not in Path(name).parts for name in [*files, *hashes]
    )
