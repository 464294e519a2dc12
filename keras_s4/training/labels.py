"""Labels as tensors: classes as whole numbers or rows of probabilities, yes or no, and those that are not known."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_s4.recordings import UNLABELLED


def are_rows(y_true, y_pred) -> bool:
    """Whether labels of classes are rows of probabilities, and not whole numbers."""
    inner, columns = len(y_pred.shape) - 1, y_pred.shape[-1]
    ranks = len(y_true.shape)
    if ranks == inner + 1 and y_true.shape[-1] == columns and columns > 1:
        return True
    if ranks == inner or (ranks == inner + 1 and y_true.shape[-1] == 1):
        return False
    raise ValueError(
        f"Received labels of shape {tuple(y_true.shape)} for probabilities of shape {tuple(y_pred.shape)}; expected "
        f"whole numbers of shape {tuple(y_pred.shape[:-1])}, or rows of probabilities of the shape of the outputs."
    )


def rows_of_classes(y_true, y_pred):
    """Labels as rows of the shape of the outputs; zeros where there is none, NaN where the model has none such."""
    classes, dtype = y_pred.shape[-1], y_pred.dtype
    if are_rows(y_true, y_pred):
        return ops.maximum(ops.cast(y_true, dtype), 0.0)
    labels = ops.cast(ops.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true, "int32")
    valid = ops.logical_and(labels >= UNLABELLED, labels < classes)
    return ops.where(ops.expand_dims(valid, -1), ops.one_hot(labels, classes, dtype=dtype), np.nan)


def known_classes(y_true, y_pred):
    """1 where a class is known and 0 where none is, `[B]` or `[B, L]`, float32."""
    if are_rows(y_true, y_pred):
        y_true = ops.min(y_true, axis=-1)
        return ops.cast(y_true >= 0, "float32")
    labels = ops.squeeze(y_true, -1) if len(y_true.shape) == len(y_pred.shape) else y_true
    return ops.cast(ops.not_equal(labels, UNLABELLED), "float32")


def like_outputs(y_true, y_pred):
    """Targets with the axes of the outputs."""
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    fits = zip(y_true.shape, y_pred.shape, strict=False)
    if len(y_true.shape) != len(y_pred.shape) or any(None not in pair and pair[0] != pair[1] for pair in fits):
        raise ValueError(
            f"Received targets of shape {tuple(y_true.shape)} for outputs of shape {tuple(y_pred.shape)}; expected "
            "equal shapes."
        )
    return y_true


def known_labels(y_true, y_pred):
    """1 where a yes or no is known and 0 where none is, of the shape of the outputs, float32."""
    return ops.cast(ops.not_equal(like_outputs(y_true, y_pred), UNLABELLED), "float32")


def expand_weights(weights, values):
    """Weights of sequences or steps, with axes for all behind them that `values` have."""
    weights = ops.cast(weights, values.dtype)
    if len(weights.shape) > len(values.shape) and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, -1)
    if len(weights.shape) > len(values.shape):
        raise ValueError(
            f"Received weights of shape {tuple(weights.shape)} for losses of shape {tuple(values.shape)}; expected one "
            "a sequence or one a step."
        )
    return ops.reshape(weights, (*ops.shape(weights), *[1] * (len(values.shape) - len(weights.shape))))
