"""The trials of a search as files: each is there completely or not at all, so that a killed search goes on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_s4.compression.fingerprints import describe_difference, differing
from keras_s4.files import damaged_file, read_object, write_json, write_model

SETTINGS = "settings.json"
AGAIN = "Delete it: its trial is run again."


class Record:
    """Mixin of dataclasses: what searches know of a finished trial, whatever they tried.

    Attributes:
        epochs: of training in all; 0 if there was none.
        metric: on the validation data after training; None if it was not trained or failed.
        measures: what it takes, by name.
        excess: how far it is over its budgets, as a fraction of each, summed.
        seconds: that it took.
        finished: when, in seconds since 1970.
        error: what went wrong, or None.
    """

    epochs: int
    metric: float | None
    measures: Mapping[str, float]
    excess: float
    seconds: float
    finished: float
    error: str | None

    @property
    def feasible(self) -> bool:
        """Whether it succeeded within all budgets."""
        return self.error is None and self.excess == 0.0

    @property
    def name(self) -> str:
        """What its files are called."""
        raise NotImplementedError(f"{type(self).__name__} has no name.")

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {"name": self.name, "feasible": self.feasible, **dataclasses.asdict(self)}

    def check_types(self) -> None:
        """Refuses what a file of another kind, or a damaged one, holds.

        Raises:
            TypeError: says what.
        """
        if not isinstance(self.measures, dict):
            raise TypeError("measures must be an object")
        metric = [] if self.metric is None else [self.metric]
        check_numbers(self.epochs, *metric, *self.measures.values(), self.excess, self.seconds, self.finished)


def check_numbers(*values: Any) -> None:
    """Refuses what is no number of JSON.

    Raises:
        TypeError: names it.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is no number")


@dataclasses.dataclass(frozen=True)
class Trial(Record):
    """One choice of ranks and method, tried.

    Args:
        ranks: by part name.
        method: of reduction.
        epochs: of training after the reduction, in all.
        metric: on the validation data after training; None if it was not trained or failed.
        measures: what it takes, by name.
        excess: how far it is over its budgets, as a fraction of each, summed.
        seconds: that it took.
        finished: when, in seconds since 1970.
        error: what went wrong, or None.
    """

    ranks: Mapping[str, int]
    method: str
    epochs: int
    metric: float | None
    measures: Mapping[str, float]
    excess: float
    seconds: float
    finished: float
    error: str | None = None

    @functools.cached_property
    def name(self) -> str:
        """What its files are called."""
        return trial_name(self.ranks, self.method, self.epochs)

    def check_types(self) -> None:
        """See `Record`."""
        super().check_types()
        if not isinstance(self.ranks, dict) or not isinstance(self.method, str):
            raise TypeError("ranks must be an object, and the method a text")
        check_numbers(*self.ranks.values())


def trial_name(ranks: Mapping[str, int], method: str, epochs: int) -> str:
    """A name for a choice, the same in every process."""
    return name_of([sorted(ranks.items()), method, epochs])


def name_of(choice: Any) -> str:
    """A name for what JSON can say, the same in every process."""
    return hashlib.sha256(json.dumps(choice).encode()).hexdigest()[:16]


class TrialFolder:
    """The finished trials of one search, and their models, in a folder that several processes may share.

    A trial's record is written after its model, and replaces an older one only as a whole.

    Args:
        path: of the folder; created when the first file is written.
        record: the class of its trials.
    """

    def __init__(self, path: str | Path, record: type[Record] = Trial):
        self.path = Path(path)
        self._record = record

    def open(self, settings: Mapping[str, Any]) -> None:
        """Notes what is searched, or makes sure that the folder's trials are of the same search.

        Raises:
            ValueError: they are of another search; says in what it differs.
            OSError: the folder cannot be written.
        """
        wanted = json.loads(json.dumps(settings))
        if (self.path / SETTINGS).exists():
            found = self.settings()
            if differing(wanted, found):
                there, asked = describe_difference(found, wanted)
                raise ValueError(
                    f"{self.path} holds the trials of another search with {there}; asked for was {asked}. Choose "
                    "another folder, or delete this one."
                )
        write_json(self.path / SETTINGS, wanted)

    @property
    def is_begun(self) -> bool:
        """Whether a search was begun here."""
        return (self.path / SETTINGS).exists()

    def settings(self) -> dict[str, Any]:
        """What was searched."""
        return read_object(self.path / SETTINGS, AGAIN)

    def write(self, trial: Record) -> None:
        """Writes the record of a trial, whole."""
        write_json(self.path / f"{trial.name}.json", dataclasses.asdict(trial))

    def read(self, name: str) -> Record | None:
        """A trial by name, or None if it is not finished."""
        path = self.path / f"{name}.json"
        if not path.exists():
            return None
        try:
            trial = self._record(**read_object(path, AGAIN))
            trial.check_types()
        except TypeError as error:
            raise damaged_file(path, error, AGAIN) from error
        return trial

    def all(self) -> list[Record]:
        """All finished trials in the order in which they ended."""
        names = [path.stem for path in self.path.glob("*.json") if path.name != SETTINGS]
        return sorted((self.read(name) for name in names), key=lambda trial: (trial.finished, trial.name))

    def set_aside_damaged(self) -> None:
        """Takes trials out of the way that cannot be read, or whose models cannot, so that they are run again."""
        for record in sorted(self.path.glob("*.json")):
            if record.name != SETTINGS and (flaw := self._flaw_of(record.stem)):
                record.replace(record.with_suffix(".json.damaged"))
                warnings.warn(f"{record} is set aside, and its trial is run again: {flaw}", stacklevel=3)

    def _flaw_of(self, name: str) -> str:
        try:
            trial = self.read(name)
        except ValueError as error:
            return str(error)
        if trial.name != name:
            return "it holds another trial than its name says."
        if not trial.epochs or trial.metric is None:
            return ""  # such have no model
        try:
            with zipfile.ZipFile(self.path / f"{name}.keras") as model:
                return "" if model.testzip() is None else "its model is damaged."
        except (OSError, zipfile.BadZipFile) as error:
            return f"its model cannot be read ({error})."

    def save_model(self, name: str, model: keras.Model) -> None:
        """Keeps the model of a trial."""
        write_model(self.path / f"{name}.keras", model)

    def load_model(self, name: str) -> keras.Model:
        """The model of a trial, compiled.

        Raises:
            ValueError: it is not there: the trial was not trained, or its file was removed.
        """
        path = self.path / f"{name}.keras"
        if not path.exists():
            raise ValueError(f"{path} is not there: the trial was not trained, or its model was removed.")
        return keras.saving.load_model(path)
