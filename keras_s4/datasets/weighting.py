"""Batches in which all classes count alike."""

from __future__ import annotations

import keras
import numpy as np

from keras_s4.augmentation.aims import weigh_classes
from keras_s4.datasets.batches import WrappedBatches


class WeightedBatches(WrappedBatches):
    """The batches of another data set with a weight for each label, that of its class.

    Args:
        batches: of `(x, y)` or `(x, y, weights)`; y whole numbers of any shape, one a window or step, or shares of
            the classes, `[B, ..., C]`. Weights that are there are multiplied.
        weights: of each class `[C]`, as `keras_s4.recordings.class_weights` gives them.
    """

    def __init__(self, batches: keras.utils.PyDataset, weights: np.ndarray, **kwargs):
        super().__init__(batches, **kwargs)
        self.weights = np.asarray(weights, np.float32)

    def change(self, x, y, *weights):
        """`x`, `y` and the weights of its labels; 0 of `UNLABELLED`."""
        found = weigh_classes(np.asarray(y), self.weights)
        return x, y, found * weights[0] if weights else found
