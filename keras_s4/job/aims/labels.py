"""Classes, or several labels, of a window or of every step."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4 import models, training
from keras_s4.job.aims.aim import Aim, Figures, Tested
from keras_s4.job.aims.live import pooling_of
from keras_s4.job.aims.per_class import confusion_of, figures_of_classes, figures_of_labels, mean_of
from keras_s4.job.settings import Settings
from keras_s4.recordings import UNLABELLED
from keras_s4.scoring.scores import against_targets


class Labels(Aim):
    """A class, or several labels, of a window."""

    def build(self, settings: Settings) -> keras.Model:
        """A classifier with softmax, or with a sigmoid for each label."""
        arguments = self.sizes(settings) | {"dropout": training.DROPOUT}
        if self.task.live is not None:
            arguments |= pooling_of(self.task, settings)
        return models.classifier(
            self.task.input_shape, len(self.task.classes), **arguments, multi_label=self.task.multi_label
        )

    def details(self, tested: Tested) -> dict[str, object]:
        """Figures by class, their means, and of classes what is confused with what."""
        found, targets, names = self.head.decide(tested.device), tested.targets, self.task.classes
        if self.task.multi_label:
            figures, confusion = figures_of_labels(targets, found, names), None
        else:
            counts = confusion_of(targets, found, len(names))
            figures, confusion = figures_of_classes(counts, names), counts.tolist()
        means = {f"mean_{key}": mean_of(figures, key) for key in ("recall", "f1")}
        return {"classes": figures, "confusion": confusion, **means}


class StepLabels(Labels):
    """A class, or several labels, of every step; those without one count for nothing."""

    def build(self, settings: Settings) -> keras.Model:
        """A model of sequences with softmax, or with a sigmoid for each label."""
        return models.sequence_to_sequence(
            self.task.input_shape,
            len(self.task.classes),
            **self.sizes(settings),
            dropout=training.DROPOUT,
            output_activation="sigmoid" if self.task.multi_label else "softmax",
        )

    def judge(self, outputs: np.ndarray, targets: np.ndarray) -> Figures:
        """The share of right labels, of all steps that have one."""
        known = _are_known(outputs, targets)
        return against_targets(self.head, outputs[known], targets[known])

    def details(self, tested: Tested) -> dict[str, object]:
        """The figures of `Labels`, of all steps that have a label."""
        known = _are_known(tested.device, tested.targets)
        return super().details(tested._replace(device=tested.device[known], targets=tested.targets[known]))


def _are_known(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Which steps have a label, `[W, L]`."""
    return (targets != UNLABELLED).reshape(*outputs.shape[:2], -1).all(axis=-1)
