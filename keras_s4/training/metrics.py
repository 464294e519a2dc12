"""What trainings report of labels that are partly unknown, soft or padded."""

from __future__ import annotations

import keras
from keras import ops

from keras_s4.training.labels import expand_weights, known_classes, known_labels, like_outputs, rows_of_classes


@keras.saving.register_keras_serializable(package="keras_s4")
class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """The share of right labels among those that are known, -1 (`keras_s4.recordings.UNLABELLED`) being none.

    Args:
        threshold: above which a number means yes, for outputs that are yes or no each; None if the largest is the
            class. Of soft labels the class is the largest, and yes is what is above one half.
        name: of the metric.
    """

    def __init__(self, threshold: float | None = None, name: str = "accuracy", dtype=None):
        super().__init__(fn=_right_labels, name=name, dtype=dtype, threshold=threshold)
        self.threshold = threshold
        self._direction = "up"  # for callbacks that look for the best

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch; weights are `[B]`, `[B, L]`, or None."""
        y_true = ops.cast(y_true, "float32")
        # Of several labels a step counts by the part of them that is known.
        weights = known_classes(y_true, y_pred) if self.threshold is None else _known_parts(y_true, y_pred)
        if sample_weight is not None:
            weights = weights * expand_weights(sample_weight, weights)
        return super().update_state(y_true, y_pred, weights)

    def get_config(self):
        """Every argument."""
        return {"name": self.name, "dtype": self.dtype, "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_s4")
class RootMeanSquaredError(keras.metrics.MeanMetricWrapper):
    """`keras.metrics.RootMeanSquaredError` that leaves padded steps out, as losses do."""

    def __init__(self, name: str = "rmse", dtype=None):
        super().__init__(fn=_squared_errors, name=name, dtype=dtype)
        self._direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch; weights are `[B]`, `[B, L]`, or None."""
        if sample_weight is not None:
            shape = ops.shape(y_pred)[:-1]
            sample_weight = ops.broadcast_to(expand_weights(sample_weight, y_pred[..., 0]), shape)
        return super().update_state(y_true, y_pred, sample_weight)

    def result(self):
        """The root of the mean."""
        return ops.sqrt(super().result())

    def get_config(self):
        """Every argument."""
        return {"name": self.name, "dtype": self.dtype}


def _right_labels(y_true, y_pred, threshold):
    """1 where the label of a step is right; of several labels the share of right ones among those that are known."""
    if threshold is None:
        truth = ops.argmax(rows_of_classes(y_true, y_pred), axis=-1)
        return ops.cast(ops.equal(truth, ops.argmax(y_pred, axis=-1)), "float32")
    known = known_labels(y_true, y_pred)
    right = known * ops.cast(ops.equal(like_outputs(y_true, y_pred) > 0.5, y_pred > threshold), "float32")
    return ops.sum(right, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def _known_parts(y_true, y_pred):
    return ops.mean(known_labels(y_true, y_pred), axis=-1)


def _squared_errors(y_true, y_pred):
    y_pred = ops.cast(y_pred, "float32")
    return ops.mean(ops.square(ops.cast(like_outputs(y_true, y_pred), "float32") - y_pred), axis=-1)
