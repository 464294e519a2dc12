"""The folder of one run: which settings it belongs to, which files the run wrote, and writing them whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_s4.files import write_bytes
from keras_s4.settings import Settings, differing

RECORD = "settings.json"
WORK = ".keras-s4"


class RunFolder:
    """Results of one run as files that exist only when they are complete.

    `settings.json` keeps the settings and the names of all files that the run may have written: nothing else in the
    folder is ever overwritten or removed. Unfinished work is in the hidden folder `.keras-s4`.

    Args:
        path: of the folder; created if missing.
        settings: of the run.
        names: the files that the run will write.
        restart: remove what an earlier run wrote here.

    Raises:
        ValueError: another run's results or foreign files are there, or `settings.json` is damaged; says what to do.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, settings: Settings, names: Iterable[str], restart: bool = False):
        self.path = Path(path)
        self._settings = settings.figures()
        record = self._read_record()
        if record and restart:
            self._remove(record["files"])
            self.tidy()
            record = None
        if record:
            self._check_settings(record["settings"])
        self._files: list[str] = record["files"] if record else []
        self._write_record()
        self.claim(names)

    @property
    def work(self) -> Path:
        """The hidden folder for unfinished work."""
        return self.path / WORK

    def has(self, *names: str) -> bool:
        """Whether all of these results are there."""
        return all((self.path / name).is_file() for name in names)

    def claim(self, names: Iterable[str]) -> None:
        """Notes that the run writes these files, before it does.

        Raises:
            ValueError: a file of such a name is there, but not from this run.
        """
        new = [name for name in names if name not in self._files]
        foreign = [name for name in new if (self.path / name).exists()]
        if foreign:
            raise ValueError(
                f"{self.path} holds {', '.join(foreign)}, which this program did not write there. Choose another "
                "folder with --out, or move these files away."
            )
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
        if unfinished:
            for top in tops:
                shutil.rmtree(self.work / Path(top).stem, ignore_errors=True)

    def tidy(self) -> None:
        """Removes all unfinished work."""
        shutil.rmtree(self.work, ignore_errors=True)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file that was claimed."""
        write_bytes(self.path / name, content)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file that was claimed."""
        self.write(name, (json.dumps(value, indent=2) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Reads a JSON file.

        Raises:
            ValueError: it is damaged; the message names it.
        """
        try:
            return json.loads((self.path / name).read_bytes())
        except ValueError as error:
            raise _damaged(self.path / name, error) from error

    def save_model(self, name: str, model: keras.Model) -> None:
        """Saves a Keras model into a file that was claimed."""
        temporary = self.work / name
        temporary.parent.mkdir(exist_ok=True)
        model.save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path / name)

    def load_model(self, name: str) -> keras.Model:
        """Loads a Keras model, uncompiled, to be evaluated without the long compilation by XLA.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        try:
            model = keras.saving.load_model(self.path / name, compile=False)
        except Exception as error:  # zipfile, h5py, json and Keras each have errors of their own
            raise _damaged(self.path / name, error) from error
        model.jit_compile = False
        return model

    def take_folder(self, folder: Path, name: str) -> None:
        """Moves all files of a folder on the same disk into the folder `name` of the run."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        self.claim(f"{name}/{file.relative_to(folder).as_posix()}" for file in files)
        for file in files:
            target = self.path / name / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        shutil.rmtree(folder)

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
        files = record.get("files") if isinstance(record, dict) else None
        sound = isinstance(files, list) and all(isinstance(name, str) for name in files)
        inside = sound and all(name[:1] != "/" and ".." not in Path(name).parts for name in files)
        if not inside or not isinstance(record.get("settings"), dict):
            raise ValueError(
                f"{self.path / RECORD} is damaged, so it is not known which files of this folder are the run's. Choose "
                "another folder with --out, or delete this one."
            )
        return record

    def _write_record(self) -> None:
        self.write_json(RECORD, {"settings": self._settings, "files": self._files})

    def _check_settings(self, there: dict[str, Any]) -> None:
        asked = self._settings
        others = differing(asked, there)
        if others:
            found = ", ".join(f"{name}={there.get(name)}" for name in others)
            wanted = ", ".join(f"{name}={asked.get(name)}" for name in others)
            raise ValueError(
                f"{self.path} holds a run with {found}, but {wanted} was asked for. Choose another folder with --out, "
                "or remove the files of that run with --restart."
            )


def _damaged(path: Path, error: object) -> ValueError:
    return ValueError(f"{path} is damaged ({error}). Delete it and start again: what is missing is computed anew.")
