"""Models that are trained at every decision of a window."""

import keras
import numpy as np
import pytest

from keras_s4 import models, reduce
from keras_s4.surgery.every_decision import at_every_decision

X = np.random.default_rng(0).normal(size=(2, 40, 3)).astype(np.float32)
POOLINGS = {
    "recent": {"seconds": 0.5, "rate": 10.0, "trainable_time": True, "per_channel": True},
    "sliding": {"window": 20, "hop": 5},
}


def classifier(pooling, length=40):
    keras.utils.set_random_seed(1)
    return models.classifier((length, 3), 4, 6, 2, 1, pooling=pooling, pooling_arguments=POOLINGS.get(pooling))


@pytest.mark.parametrize(("pooling", "hop"), [("recent", 1), ("sliding", 5)])
def test_each_decision_is_that_of_the_window_that_ends_there(pooling, hop):
    every = at_every_decision(classifier(pooling))(X)
    assert every.shape == (2, 40 // hop, 4)
    for end in (20, 40):
        part = classifier(pooling, end)(X[:, :end])
        np.testing.assert_allclose(every[:, end // hop - 1], part, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_go_there_and_back(pooling):
    """Also those of longer windows, and of reduced models."""
    model = reduce(classifier(pooling), 1)
    trained = at_every_decision(model, 60)
    trained.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    labels = np.ones(trained.output_shape[1:2], int)[None].repeat(2, axis=0)
    trained.train_on_batch(np.concatenate([X, X[:, :20]], axis=1), labels)
    before = model(X)
    model.set_weights(trained.get_weights())
    assert np.abs(model(X) - before).max() > 1e-4
    np.testing.assert_allclose(model(X), at_every_decision(model)(X)[:, -1], atol=1e-5)
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize("pooling", ["average", "last"])
def test_other_poolings_are_refused(pooling):
    with pytest.raises(ValueError, match="without RecentAverage or SlidingAverage"):
        at_every_decision(classifier(pooling))
