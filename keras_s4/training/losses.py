"""Losses that know of steps without a label, of soft labels, and of weights of sequences or steps."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_s4.training.labels import expand_weights, known_classes, known_labels, like_outputs, rows_of_classes


class LossOfKnown(keras.losses.Loss):
    """The mean over all that has a label; a subclass says what a loss is, and what has one.

    Weights may be given for each sequence `[B]` or for each step `[B, L]`, whatever the targets are.

    Args:
        reduction: "mean_with_sample_weight" is the mean over what is known; see `keras.losses.Loss`.
        name: of the loss.
    """

    def __init__(self, reduction: str = "mean_with_sample_weight", name: str | None = None, **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def known(self, y_true, y_pred):
        """What has a label, 1 or 0, of the shape that the losses have; None if all has one."""
        return None

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The mean loss over all that has a label.

        Args:
            y_true: targets.
            y_pred: outputs of a model, with their mask.
            sample_weight: `[B]`, `[B, L]`, or None. A mean is over labels, not over weights, so that they scale it.
        """
        y_true = ops.cast(ops.convert_to_tensor(y_true), self.dtype)  # in which -1 is not 255
        known = self.known(y_true, ops.convert_to_tensor(y_pred))
        packed = {"targets": y_true} if sample_weight is None else {"targets": y_true, "weights": sample_weight}
        return super().__call__(packed, y_pred, known)

    def call(self, y_true, y_pred):
        """The loss of each sequence or step, `[B]` or `[B, L]`; 0 where there is no label."""
        if not isinstance(y_true, dict):
            return self.losses(y_true, y_pred)
        found = self.losses(y_true["targets"], y_pred)
        return found * expand_weights(y_true["weights"], found) if "weights" in y_true else found

    def losses(self, y_true, y_pred):
        """The loss of each sequence or step, `[B]` or `[B, L]`."""
        raise NotImplementedError(f"{type(self).__name__} has no losses(y_true, y_pred).")


@keras.saving.register_keras_serializable(package="keras_s4")
class SmoothedCrossentropy(LossOfKnown):
    """Cross-entropy of probabilities of classes and labels, smoothed.

    Labels are whole numbers `[B]` or `[B, L]`, of which -1 (`keras_s4.recordings.UNLABELLED`) counts for nothing, or
    rows of probabilities `[B, C]` or `[B, L, C]`, as mixed windows have them. Labels that the model does not have make
    the loss NaN.

    Args:
        label_smoothing: part of the label given to all classes evenly, 0 to 1.
        from_logits: whether the model gives logits, not probabilities.
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        from_logits: bool = False,
        name: str = "smoothed_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.from_logits = from_logits

    def known(self, y_true, y_pred):
        """1 where a class is known, `[B]` or `[B, L]`."""
        return known_classes(y_true, y_pred)

    def losses(self, y_true, y_pred):
        """The loss of each sequence or step; 0 where there is no label."""
        rows = rows_of_classes(y_true, y_pred)
        found = keras.losses.categorical_crossentropy(rows, y_pred, self.from_logits, self.label_smoothing)
        return found * ops.cast(known_classes(y_true, y_pred), found.dtype)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="keras_s4")
class BinarySmoothedCrossentropy(LossOfKnown):
    """Cross-entropy of yes or no, for one output or for each of several; smoothed.

    Labels are 0 to 1, of the shape of the outputs, or without its last axis where there is one output; -1
    (`keras_s4.recordings.UNLABELLED`) counts for nothing. The loss of a step is the mean over its known labels.

    Args:
        label_smoothing: by which labels are drawn from 0 and 1 towards 0.5, 0 to 1.
        from_logits: whether the model gives logits, not probabilities.
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        from_logits: bool = False,
        name: str = "binary_smoothed_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.from_logits = from_logits

    def known(self, y_true, y_pred):
        """1 where a label or more is known, `[B]` or `[B, L]`."""
        return ops.max(known_labels(y_true, y_pred), axis=-1)

    def losses(self, y_true, y_pred):
        """The loss of each sequence or step; 0 where there is no label."""
        known, labels = known_labels(y_true, y_pred), ops.cast(like_outputs(y_true, y_pred), y_pred.dtype)
        valid = ops.logical_and(labels >= 0, labels <= 1)
        labels = ops.where(known > 0, ops.where(valid, labels, np.nan), 0.0)
        labels = labels * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        # Of each label by itself: the last axis is what Keras averages over.
        pairs = (ops.expand_dims(values, -1) for values in (labels, y_pred))
        found = keras.losses.binary_crossentropy(*pairs, from_logits=self.from_logits) * known
        return ops.sum(found, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="keras_s4")
class MeanSquaredErrorInUnits(LossOfKnown):
    """The mean squared error of quantities, each in a unit of its own: large numbers do not outweigh small ones.

    Targets have the shape of the outputs, or none of its last axis where there is one quantity.

    Args:
        units: one for each quantity, or a number for all: what counts as an error of 1.
    """

    def __init__(self, units=1.0, name: str = "mean_squared_error_in_units", **kwargs):
        super().__init__(name=name, **kwargs)
        self.units = np.asarray(units, np.float64).tolist()

    def losses(self, y_true, y_pred):
        """The loss of each sequence or step; of forecasts, of each forecast."""
        error = (ops.cast(like_outputs(y_true, y_pred), y_pred.dtype) - y_pred) / ops.cast(self.units, y_pred.dtype)
        return ops.mean(ops.square(error), axis=-1)

    def get_config(self):
        """Every argument."""
        return {**super().get_config(), "units": self.units}
