"""What the stages of a job share: the task, the folder, the settings, and what several of them compute."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np

from keras_s4.augmentation import WholeBatches
from keras_s4.compression.fingerprints import differing, digest
from keras_s4.datasets import Task
from keras_s4.decisions import Decision
from keras_s4.job.aims import Aim, aim_of
from keras_s4.job.run_folder import RECORDINGS, RunFolder
from keras_s4.job.settings import Settings
from keras_s4.job.streams import Streams
from keras_s4.surgery.lengths import at_length
from keras_s4.tflite import Converted, convert

CALIBRATION_WINDOWS = 256
# Windows that a stretch of a stream is as long as.
STRETCH = 6

Report = Callable[[int, int, str], None]


class Job:
    """What the stages share.

    Args:
        task: what is learned.
        folder: takes the results; None where this process writes none.
        settings: of the run.

    Attributes:
        report: called as `report(done, all, note)` by the stage that runs.
    """

    def __init__(self, task: Task, folder: RunFolder | None, settings: Settings):
        self.task = task
        self.folder = folder
        self.settings = settings
        self.report: Report = lambda done, total, note: None
        self._exported: dict[tuple[str, int], keras.Model] = {}

    def check_recordings(self) -> None:
        """Makes sure that the recordings are those that the run began with.

        Raises:
            ValueError: they were changed since.
        """
        splits = self.task.splits._asdict()
        found = {name: digest(part.signals, part.labels, part.subjects) for name, part in splits.items()}
        if not self.folder.has(RECORDINGS):
            self.folder.write_note(RECORDINGS, found)
        others = differing(found, self.folder.read_json(RECORDINGS))
        if others:
            raise ValueError(
                f"{self.folder.path} holds a run of task {self.task.name!r} that began with other recordings for "
                f"{', '.join(others)}. Choose another folder with --out, or begin anew with --restart."
            )

    @functools.cached_property
    def calibration(self) -> np.ndarray:
        """What sets the scales of the integers, `[W, L, features]`: windows of the training data.

        For decisions in a live stream they are longer stretches of its streams: where nobody resets, states of slow
        modes grow far beyond what they reach in a window.
        """
        if self.task.live is not None:
            x = self._stretches()
        else:
            x, _ = self.task.windows("train")
        most = max(1, CALIBRATION_WINDOWS * self.task.length // x.shape[1])
        chosen = np.random.default_rng(self.settings.seed).permutation(len(x))[:most]
        return x[np.sort(chosen)]

    def _stretches(self) -> np.ndarray:
        """Stretches of training streams, `[W, L, features]`: all of each; shorter ones are repeated."""
        signals = Streams.of(self.task, "train", self.settings.seed, normal=self.task.anomaly).signals
        length = min(STRETCH * self.task.length, round(np.median([len(each) for each in signals])))
        long = [each if len(each) >= length else np.resize(each, (length, each.shape[1])) for each in signals]
        return np.stack([each[start : start + length] for each in long for start in _starts(len(each), length)])

    def convert(self, model: keras.Model, sequences: int | None = None) -> Converted:
        """A model converted, its scales set by `calibration`, or by so many sequences of it."""
        return convert(self.at_calibration(model), self.calibration[:sequences], self.task.length)

    def at_calibration(self, model: keras.Model) -> keras.Model:
        """A model for sequences of `calibration`."""
        length = self.calibration.shape[1]
        return model if length == model.inputs[0].shape[1] else at_length(model, length)

    @functools.cached_property
    def aim(self) -> Aim:
        """What the task asks of its models."""
        return aim_of(self.task)

    @functools.cached_property
    def firmware(self) -> Converted:
        """The converted last model."""
        return self.convert(self.exported("aware"))

    @functools.cached_property
    def epoch_windows(self) -> keras.utils.PyDataset:
        """What is trained on."""
        return WholeBatches(self.aim.batches(self.settings))

    @property
    def decision(self) -> Decision | None:
        """How the firmware decides, once it is written."""
        settings = self.folder.read_json("decision.json")
        return Decision.from_dict(settings) if settings else None

    def exported(self, name: str) -> keras.Model:
        """What a device computes of the model of this name, such as "retrained"; loaded once, and not to be changed."""
        path = self.folder.path / f"{name}.keras"
        written = path.stat().st_mtime_ns if path.exists() else 0
        if (name, written) not in self._exported:
            self._exported[name, written] = self.aim.exported(self.folder.load_model(f"{name}.keras"))
        return self._exported[name, written]


def _starts(steps: int, length: int) -> list[int]:
    """Where stretches of a stream begin, one behind the other; the last ends with the stream."""
    return sorted({*range(0, steps - length, length), steps - length})
