"""Weights of classes, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from keras_s4.recordings import class_weights


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 3], [7, 2, 40])
    np.testing.assert_allclose(
        class_weights(labels, 5)[[0, 1, 3]],
        compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels),
        rtol=1e-6,
    )
    np.testing.assert_array_equal(class_weights(labels, 5)[[2, 4]], 0)
    np.testing.assert_allclose(class_weights(labels)[labels].mean(), 1, rtol=1e-6)


def test_labels_of_steps_without_those_that_are_unknown():
    steps = [np.array([0, 0, -1, 1]), np.array([[0, -1]])]
    np.testing.assert_allclose(class_weights(steps), [4 / 6, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.5, 1.0], TypeError, "labels of type float64; expected whole numbers"),
        (np.array([], int), ValueError, "no label"),
        (np.array([-1, -1]), ValueError, "no label"),
        (np.array([0, 3]), ValueError, "class 3; expected classes from 0 to 2"),
        (np.array([0, -2]), ValueError, "class -2; expected"),
    ],
)
def test_refusals(labels, error, message):
    with pytest.raises(error, match=message):
        class_weights(labels, 3)
