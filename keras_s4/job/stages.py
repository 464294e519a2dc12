"""The stages of the main job: each reads the results of those before it and writes its own."""

from __future__ import annotations

import functools
import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s4 import datasets, models, ranks, reduce, spectrum, training
from keras_s4.augmentation import RandomWindows
from keras_s4.compression import parts_of
from keras_s4.datasets import Recordings
from keras_s4.files import explained
from keras_s4.job.run_folder import RunFolder
from keras_s4.job.settings import Settings
from keras_s4.tflite import Converted, convert, verify
from keras_s4.tflite.emulator import Emulator

LENGTH = 500
CALIBRATION_WINDOWS = 256
# The size of a `.tflite` does not depend on how many windows set its scales.
SIZE_WINDOWS = 8
STREAMED_WINDOWS = 3
MODELS = ("trained", "reduced", "retrained")
VERIFY_STEPS = ("streamed", "tflm", "tensorflow")

Report = Callable[[int, int, str], None]


class Job:
    """What the stages share.

    Args:
        folder: takes the results.
        settings: of the run.

    Attributes:
        report: called as `report(done, all, note)` by the stage that runs.
    """

    def __init__(self, folder: RunFolder, settings: Settings):
        self.folder = folder
        self.settings = settings
        self.report: Report = lambda done, total, note: None

    @functools.cached_property
    def recordings(self) -> tuple[Recordings, Recordings, Recordings]:
        """Of the subjects for training, validation and test."""
        return datasets.smartwatch_split(self.settings.fold)

    @functools.cached_property
    def calibration(self) -> np.ndarray:
        """Windows of the training data, `[W, L, features]`."""
        x, _ = self.recordings[0].windows(LENGTH)
        chosen = np.random.default_rng(self.settings.seed).permutation(len(x))[:CALIBRATION_WINDOWS]
        return x[np.sort(chosen)]

    @functools.cached_property
    def firmware(self) -> Converted:
        """The converted retrained model."""
        return convert(self.folder.load_model("retrained.keras"), self.calibration)

    @functools.cached_property
    def epoch_windows(self) -> RandomWindows:
        """What is trained on."""
        return RandomWindows(self.recordings[0], LENGTH, batch_size=self.settings.batch_size, seed=self.settings.seed)


def train(job: Job) -> None:
    """The full model: trained.keras."""
    settings = job.settings
    model = models.classifier(
        (LENGTH, job.recordings[0].signals[0].shape[1]),
        len(datasets.SMARTWATCH_CLASSES),
        settings.channels,
        settings.states,
        settings.blocks,
        dropout=training.DROPOUT,
    )
    _fit(job, model, "trained.keras", settings.epochs, training.LEARNING_RATE)


def reduce_states(job: Job) -> None:
    """The spectra and the model with fewer states: spectrum.json, reduced.keras."""
    job.report(0, 1, "")
    model = job.folder.load_model("trained.keras")
    parts = spectrum(model)
    chosen = ranks.uniform(model, fraction=job.settings.fraction)
    figures, curves = parts.figures(), parts.curves(chosen)
    job.folder.write_json("spectrum.json", {name: figures[name] | curves[name] for name in curves})
    job.folder.save_model("reduced.keras", reduce(model, chosen))


def retrain(job: Job) -> None:
    """The reduced model, trained on: retrained.keras."""
    model = job.folder.load_model("reduced.keras")
    _fit(job, model, "retrained.keras", job.settings.retrain_epochs, training.RETRAIN_LEARNING_RATE)


def convert_models(job: Job) -> None:
    """What each model takes on a device, and the files for it: firmware/, sizes.json."""
    sizes = {}
    for index, name in enumerate(MODELS):
        job.report(index, len(MODELS) + 1, f"the {name} model")
        model = job.folder.load_model(f"{name}.keras")
        converted = job.firmware if name == "retrained" else convert(model, job.calibration)
        parts = parts_of(model).values()
        sizes[name] = {
            "parameters": model.count_params(),
            "states": sum(part.system.channels * part.system.state_size for part in parts),
            "manifest": converted.manifest,
        }
    job.report(len(MODELS), len(MODELS) + 1, "firmware files")
    saved = job.folder.work / "firmware"
    shutil.rmtree(saved, ignore_errors=True)
    job.firmware.save(saved)
    job.folder.take_folder(saved, "firmware")
    job.folder.write_json("sizes.json", sizes)


def verify_firmware(job: Job) -> None:
    """The comparison on the whole test set, and one recording: stream.npz, verification.json."""
    job.report(0, 1, "")
    _check_firmware(job)
    x, y = job.recordings[2].windows(LENGTH)
    model = job.folder.load_model("retrained.keras")
    wanted = labels_of(model, x)
    keras_figures = {}
    for name in MODELS:
        labels = wanted if name == "retrained" else labels_of(job.folder.load_model(f"{name}.keras"), x)
        keras_figures[name] = {"accuracy": float(np.mean(labels == y)), "agreement": float(np.mean(labels == wanted))}
    found = verify(job.firmware, model, x, y, progress=_steps_of(job))
    confusion = np.zeros((len(datasets.SMARTWATCH_CLASSES),) * 2, int)
    np.add.at(confusion, (y, found.labels), 1)
    job.folder.write("stream.npz", stream_of_recording(job.firmware, job.recordings[2]))
    job.folder.write_json(
        "verification.json",
        {"windows": len(y), "keras": keras_figures, "comparison": found.figures(), "confusion": confusion.tolist()},
    )


def measure_sizes(job: Job) -> None:
    """Accuracy on the validation subjects against size, over ranks without training: tradeoff.json."""
    x, y = job.recordings[1].windows(LENGTH)
    sizes = job.folder.read_json("sizes.json")
    trained = job.folder.load_model("trained.keras")
    candidates = [2**exponent for exponent in range(10) if 2**exponent < job.settings.states]
    points = []
    for index, rank in enumerate(candidates):
        job.report(index, len(candidates) + 1, f"{rank} modes a channel")
        model = reduce(trained, rank)
        size = len(convert(model, job.calibration[:SIZE_WINDOWS]).tflite)
        points.append({"rank": rank, "accuracy": float(np.mean(labels_of(model, x) == y)), "tflite_bytes": size})
    result = {"windows": len(y), "truncated": points}
    for name in ("trained", "retrained"):
        model = trained if name == "trained" else job.folder.load_model("retrained.keras")
        result[name] = {
            "accuracy": float(np.mean(labels_of(model, x) == y)),
            "tflite_bytes": sizes[name]["manifest"]["tflite_bytes"],
        }
    job.folder.write_json("tradeoff.json", result)


def labels_of(model: keras.Model, x: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The class that a model finds likeliest for each sequence, `[B]`; for few sequences quicker than `predict`."""
    batches = [model(x[start : start + batch_size], training=False) for start in range(0, len(x), batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(batch).argmax(axis=1) for batch in batches])


def stream_of_recording(firmware: Converted, recordings: Recordings) -> bytes:
    """The first recording of several windows, run through the emulator with a reset after each window.

    Returns:
        An `.npz`: `signal` `[L, features]`, class `probabilities` `[L, C]` after each step, `label`, and the steps of
        a `window`.
    """
    windows = [len(signal) // LENGTH for signal in recordings.signals]
    index = next((i for i, count in enumerate(windows) if count >= STREAMED_WINDOWS), int(np.argmax(windows)))
    count = min(windows[index], STREAMED_WINDOWS)
    signal = recordings.signals[index][: count * LENGTH]
    integers = firmware.quantize(signal.reshape(count, LENGTH, -1))
    probabilities = firmware.dequantize(Emulator(firmware.program).run(integers))
    content = io.BytesIO()
    np.savez_compressed(
        content,
        signal=signal,
        probabilities=probabilities.reshape(count * LENGTH, -1),
        label=recordings.labels[index],
        window=LENGTH,
    )
    return content.getvalue()


def _check_firmware(job: Job) -> None:
    """The verdict must be about the file that is delivered."""
    path = job.folder.path / "firmware" / "model.tflite"
    if not path.is_file() or path.read_bytes() != job.firmware.tflite:
        raise ValueError(
            f"{path} is not what retrained.keras converts to (it was changed, or other versions of the packages wrote "
            f"it). Delete {job.folder.path / 'sizes.json'} and start again: it is then written anew."
        )


def _steps_of(job: Job) -> Callable[[str, int, int], None]:
    """The progress of `verify` over all of its parts, most of the time going to the second."""

    def progress(step: str, done: int, total: int) -> None:
        place = VERIFY_STEPS.index(step) if step in VERIFY_STEPS else 0
        job.report(int(1000 * (place + done / max(total, 1))), 1000 * len(VERIFY_STEPS), step)

    return progress


def _fit(job: Job, model: keras.Model, name: str, epochs: int, learning_rate: float) -> None:
    """Trains a model from where an interrupted training stopped, and saves it."""
    backup = job.folder.work / name.removesuffix(".keras")
    windows = job.epoch_windows
    job.report(0, epochs * len(windows), "compiling")
    callbacks = [_Backup(backup), _Epochs(windows, job.settings.seed, job.report)]
    training.fit_windows(model, windows, epochs, learning_rate, callbacks)
    job.folder.save_model(name, model)
    shutil.rmtree(backup, ignore_errors=True)


class _Backup(keras.callbacks.BackupAndRestore):
    """Continues an interrupted training, and says which folder to delete where it cannot."""

    def __init__(self, folder):
        # Kept until the trained model is saved, and twice, since a killed program may leave half of one.
        super().__init__(str(folder), double_checkpoint=True, delete_checkpoint=False)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores weights, optimizer and epoch."""
        try:
            super().on_train_begin(logs)
        except Exception as error:  # h5py, json and Keras each have errors of their own
            raise ValueError(
                f"The interrupted training in {self.backup_dir} cannot be continued ({error}). Delete that folder and "
                "start again: this training then begins anew."
            ) from error

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps weights, optimizer and epoch."""
        with explained(Path(self.backup_dir)):
            super().on_epoch_end(epoch, logs)


class _Epochs(keras.callbacks.Callback):
    """Gives each epoch randomness of its own, so that a continued training is the same as one in a single go."""

    def __init__(self, windows: RandomWindows, seed: int, report: Report):
        super().__init__()
        self._windows = windows
        self._seed = seed
        self._report = report

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the windows, their order and the dropout."""
        self._epoch = epoch
        self._windows.epoch = epoch
        source = np.random.default_rng((self._seed, epoch))
        random.seed(int(source.integers(2**63)))  # Keras shuffles the batches with it
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                variable.assign(source.integers(2**32, size=2, dtype=np.uint32))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Reports loss and accuracy so far."""
        steps, epochs = self.params["steps"], self.params["epochs"]
        note = f"epoch {self._epoch + 1}/{epochs} loss {logs['loss']:.2f} accuracy {logs['accuracy']:.0%}"
        self._report(self._epoch * steps + batch + 1, epochs * steps, note)
