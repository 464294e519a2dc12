"""A training that may be interrupted, and ends with the same model as one in a single go."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import keras

from keras_s4 import training
from keras_s4.files import explain_errors
from keras_s4.job import several
from keras_s4.job.job import Job, Report
from keras_s4.training.epochs import SeededEpochs


def fit(job: Job, model: keras.Model, name: str, epochs: int, learning_rate: float) -> None:
    """Trains a model from where an interrupted training stopped, and saves it.

    Args:
        job: has the windows.
        model: as it is saved.
        name: of the file.
        epochs: of the training.
        learning_rate: the largest.
    """
    backup = job.folder.work / name.removesuffix(".keras")
    windows, trained = job.epoch_windows, job.aim.trained(model)
    job.report(0, epochs * len(windows), "compiling")
    train = functools.partial(train_on, job)
    if several.is_alone():
        train(trained, windows, backup, epochs, learning_rate)
    else:
        several.train_together(trained, windows, backup, epochs, learning_rate, train)
    job.aim.adopt(model, trained)
    job.folder.save_model(name, model)
    shutil.rmtree(backup, ignore_errors=True)


def train_on(
    job: Job, model: keras.Model, batches: keras.utils.PyDataset, backup: Path, epochs: int, learning_rate: float
) -> None:
    """Trains a model from where an interrupted training stopped.

    Args:
        job: has the windows.
        model: is trained.
        batches: the windows, or a share of each batch of them.
        backup: folder for what an interrupted training leaves.
        epochs: of the training.
        learning_rate: the largest.
    """
    callbacks = [_Backup(backup), _Epochs(job.epoch_windows, job.settings.seed, job.report)]
    training.fit_windows(model, batches, epochs, learning_rate, callbacks, compile_model=job.aim.compile)


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
        with explain_errors(Path(self.backup_dir)):
            super().on_epoch_end(epoch, logs)


class _Epochs(SeededEpochs):
    """Reports how far a training is, besides."""

    def __init__(self, windows: keras.utils.PyDataset, seed: int, report: Report):
        super().__init__(windows, seed)
        self._report = report

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch."""
        self._epoch = epoch
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Reports the loss and the metric so far."""
        steps, epochs = self.params["steps"], self.params["epochs"]
        metric = f"accuracy {logs['accuracy']:.0%}" if "accuracy" in logs else f"RMSE {logs['rmse']:.3g}"
        note = f"epoch {self._epoch + 1}/{epochs} loss {logs['loss']:.2f} {metric}"
        self._report(self._epoch * steps + batch + 1, epochs * steps, note)
