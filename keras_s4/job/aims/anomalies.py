"""Anomalies: a forecaster learns what is normal, and its error is the score of a window."""

from __future__ import annotations

import functools

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from keras_s4 import models
from keras_s4.datasets.batches import ChangedTargets
from keras_s4.datasets.task import Metric
from keras_s4.decisions import Decision
from keras_s4.job.aims.aim import Aim, Figures, Tested, outputs_of
from keras_s4.job.aims.live import pooling_of
from keras_s4.job.aims.scaling import Scaling
from keras_s4.job.settings import Settings
from keras_s4.scoring.heads import REGRESSION, Head

NORMAL, ANOMALOUS = 0, 1
# Of the false alarms that the partial AUC looks at, as in DCASE and MLPerf Tiny.
PARTIAL = 0.1


class Anomalies(Aim):
    """A model of what is normal; what is exported computes the score of a window, how wrong its forecasts were.

    The score is part of the exported model, so that a device and Keras compute the same: the mean, over the steps and
    features of a window, of how far each step is from its forecast, in deviations of the training data.
    """

    @property
    def head(self) -> Head:
        """The score is a quantity."""
        return Head(REGRESSION)

    @property
    def metric(self) -> Metric:
        """How well the scores part what is normal from what is not."""
        return Metric("auc", "snr")

    @property
    def choice(self) -> str:
        """Validation data may all be normal: models are compared by their forecasts."""
        return "rmse"

    @functools.cached_property
    def scaling(self) -> Scaling:
        """Of the normal training data."""
        task = self.task
        return Scaling.of([task.windows("train")[0]])

    def build(self, settings: Settings) -> keras.Model:
        """A model of sequences that forecasts, at each step, the step `horizon` behind it."""
        features = self.task.input_shape[1]
        return models.sequence_to_sequence(self.task.input_shape, features, **self.sizes(settings), dropout=0.0)

    def batches(self, settings: Settings) -> keras.utils.PyDataset:
        """Normal windows, and what comes behind each of their steps, in deviations."""
        return ChangedTargets(super().batches(settings), self.scaling.standardize)

    def exported(self, model: keras.Model) -> keras.Model:
        """The score of a window, `[B, 1]`."""
        mean, deviation = self.scaling.mean, self.scaling.deviation
        features = len(mean)
        rescale = keras.layers.Rescaling((1.0 / deviation).tolist(), (-mean / deviation).tolist(), name="seen")
        delay = keras.layers.Conv1D(features, self.task.horizon + 1, padding="causal", use_bias=False, name="forecast")
        average = keras.layers.Dense(1, use_bias=False, name="deviation")
        seen, forecast = rescale(model.input), delay(model.output)
        above = keras.layers.Subtract(name="above")([seen, forecast])
        below = keras.layers.Subtract(name="below")([forecast, seen])
        errors = average(keras.layers.Maximum(name="errors")([above, below]))
        delay.kernel.assign(np.eye(features)[None] * (np.arange(self.task.horizon + 1) == 0)[:, None, None])
        average.kernel.assign(np.full((features, 1), 1.0 / features))
        score = self._pooling()(errors)
        return keras.Model(model.input, score, name=f"{model.name}_score")

    def _pooling(self) -> keras.layers.Layer:
        """The average of a window; in a live stream of what was lately."""
        if self.task.live is None:
            return keras.layers.GlobalAveragePooling1D(name="score")
        pooling, arguments = pooling_of(self.task, Settings()).values()
        return models.POOLINGS[pooling](**arguments, name="score")

    def examples(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Windows of all recordings, and whether each is normal (0) or not (1)."""
        return getattr(self.task.splits, split).windows(self.task.length, self.task.hop)

    def judge(self, outputs: np.ndarray, targets: np.ndarray) -> Figures:
        """The area under the curve of detections over false alarms, and of its part of few false alarms."""
        if len(np.unique(targets)) < 2:
            return {"auc": None, "partial_auc": None}
        return {
            "auc": float(roc_auc_score(targets, outputs[:, 0])),
            "partial_auc": float(roc_auc_score(targets, outputs[:, 0], max_fpr=PARTIAL)),
        }

    def units(self) -> list[dict[str, object]]:
        """The score, in deviations."""
        return [{"name": "score"}]

    def details(self, tested: Tested) -> dict[str, object]:
        """AUCs of windows, and of whole recordings, whose score is the mean over their windows; and the alarms.

        Of live decisions alarms are those in streams, see `keras_s4.job.decision.alarms_in_streams`.
        """
        recordings = self.task.splits.test
        counts = recordings.window_counts(self.task.length, self.task.hop)
        ends = np.cumsum(counts)
        scores = [
            tested.device[end - count : end].mean(axis=0) for end, count in zip(ends, counts, strict=True) if count
        ]
        labels = np.asarray(recordings.labels)[np.array(counts) > 0]
        found = {
            "windows": self.judge(tested.device, tested.targets),
            "recordings": self.judge(np.stack(scores), labels),
        }
        if tested.decision is None or self.task.live is not None:
            return found
        threshold = float(np.ravel(tested.decision.threshold)[0])
        alarms = tested.device[:, 0] > threshold, tested.keras[:, 0] > threshold
        return found | {"alarms": figures_of_alarms(tested.decision, *alarms, tested.targets, "windows")}

    def validate(self, model: keras.Model, split: str = "validation") -> Figures:
        """The error of the forecasts of normal windows, in deviations."""
        x, y = self.task.windows(split)
        errors = outputs_of(model, x) - self.scaling.standardize(y)
        return {"rmse": float(np.sqrt(np.mean(errors.astype(np.float64) ** 2)))}


def figures_of_alarms(
    decision: Decision, device: np.ndarray, model: np.ndarray, labels: np.ndarray, of: str
) -> dict[str, float | str | None]:
    """What a decision does: the parts of what is judged that are detected, falsely alarmed, and equal in Keras.

    Args:
        decision: with the threshold.
        device: bool `[D]`, where the device raises an alarm.
        model: where Keras does.
        labels: `NORMAL` or `ANOMALOUS`.
        of: what is judged, "windows" or "decisions" in streams.
    """
    anomalous = labels == ANOMALOUS
    return {
        "of": of,
        "threshold": float(np.ravel(decision.threshold)[0]),
        "detected": float(device[anomalous].mean()) if anomalous.any() else None,
        "false_alarms": float(device[~anomalous].mean()) if not anomalous.all() else None,
        "equal": float(np.mean(device == model)),
    }
