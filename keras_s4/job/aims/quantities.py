"""Quantities, of windows or of every step, and forecasts: learned as multiples of their deviation, judged in units."""

from __future__ import annotations

import functools

import keras
import numpy as np

from keras_s4 import models, training
from keras_s4.datasets.batches import ChangedTargets
from keras_s4.job.aims.aim import Aim, Figures, Tested
from keras_s4.job.aims.live import pooling_of
from keras_s4.job.aims.scaling import Scaling, without_output_units, without_units
from keras_s4.job.settings import Settings
from keras_s4.scoring.scores import against_targets


class Quantities(Aim):
    """Quantities of a window, or of every step.

    The device computes multiples of the deviation from the mean, since one output tensor has one scale for all
    quantities, whose units differ. What a saved Keras model gives is in their units.
    """

    @functools.cached_property
    def scaling(self) -> Scaling:
        """Of the training data."""
        return Scaling.of([self.task.windows("train")[1]])

    def build(self, settings: Settings) -> keras.Model:
        """A regressor, or a model of sequences."""
        task, arguments = self.task, self.sizes(settings) | {"dropout": training.DROPOUT}
        if task.every_step:
            return models.sequence_to_sequence(task.input_shape, len(task.targets), **arguments)
        if task.live is not None:
            arguments |= pooling_of(task, settings)
        return without_output_units(models.regressor(task.input_shape, len(task.targets), **arguments))

    def finish(self, core: keras.Model) -> keras.Model:
        """The model, in units."""
        return self.scaling.append_to(core)

    def core(self, model: keras.Model) -> keras.Model:
        """The model in front of its units."""
        return without_units(model)

    def batches(self, settings: Settings) -> keras.utils.PyDataset:
        """Windows, and targets of about 1."""
        return ChangedTargets(super().batches(settings), self.scaling.standardize)

    def judge(self, outputs: np.ndarray, targets: np.ndarray) -> Figures:
        """The errors: of one quantity in its unit, of several in their deviations, and of each in its own unit."""
        found = self.scaling.in_units(outputs)
        errors = found - targets
        if errors.shape[-1] == 1:
            return against_targets(self.head, found, targets)
        return against_targets(self.head, outputs, self.scaling.standardize(targets))

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Quantities in their units."""
        columns = len(self.scaling.mean)
        return self.scaling.in_units(outputs.reshape(*outputs.shape[:-1], -1, columns)).reshape(outputs.shape)

    def units(self) -> list[dict[str, object]]:
        """Of each quantity the deviation that an output is multiplied by, and the mean that is added."""
        scaling = zip(self.task.outputs, self.scaling.deviation.tolist(), self.scaling.mean.tolist(), strict=True)
        return [{"name": name, "deviation": deviation, "mean": mean} for name, deviation, mean in scaling]

    def details(self, tested: Tested) -> dict[str, object]:
        """By quantity the errors in its unit, the bias, and R2, the part of the variance that is explained."""
        outputs, targets = tested.device, tested.targets
        errors = (self.scaling.in_units(outputs) - targets).reshape(-1, outputs.shape[-1])
        variance = np.reshape(targets, errors.shape).astype(np.float64).var(axis=0)
        quantities = [
            {
                "name": name,
                "rmse": float(np.sqrt(np.mean(column**2))),
                "mae": float(np.mean(np.abs(column))),
                "bias": float(np.mean(column)),
                "r2": None if spread == 0 else float(1.0 - np.mean(column**2) / spread),
            }
            for name, column, spread in zip(self.task.outputs, errors.T, variance, strict=True)
        ]
        return {"quantities": quantities}


class Forecasts(Quantities):
    """The next steps of a series."""

    @functools.cached_property
    def scaling(self) -> Scaling:
        """Of the training data."""
        return Scaling.of(self.task.splits.train.signals)

    def build(self, settings: Settings) -> keras.Model:
        """A forecaster; without dropout, whose noise a forecast would learn to smooth away."""
        sizes = self.sizes(settings)
        return without_output_units(models.forecaster(self.task.input_shape, self.task.horizon, **sizes, dropout=0.0))

    def details(self, tested: Tested) -> dict[str, object]:
        """The errors by quantity, beside the RMSE of the forecast that nothing changes, and by how many steps ahead."""
        found, targets = super().details(tested), tested.targets
        errors = (targets - tested.x[:, -1:]).astype(np.float64).reshape(-1, targets.shape[-1])
        for quantity, naive in zip(found["quantities"], np.sqrt(np.mean(errors**2, axis=0)), strict=True):
            quantity["persistence_rmse"] = float(naive)
        ahead = (tested.device - self.scaling.standardize(targets)).astype(np.float64)
        return found | {"rmse_by_step": np.sqrt(np.mean(ahead**2, axis=(0, 2))).tolist()}
