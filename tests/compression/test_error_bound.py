import keras
import numpy as np
import pytest
from conformance import shake

from keras_s4 import models, reduce
from keras_s4.compression import parts_of
from keras_s4.compression.error_bound import error_bound
from keras_s4.compression.error_rules import SLOPES, SOFTMAX_SLOPE
from keras_s4.layers import DSS


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    return shake(models.classifier((60, 3), 4, channels=6, states=5, blocks=2))


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(5, 60, 3)).astype("float32")


@pytest.fixture(scope="module", params=["states", "matrices", "both"])
def reduced(request, classifier):
    states = dict.fromkeys(("block_1/dss", "block_2/dss"), 3)
    matrices = {name: part.choices[-2] for name, part in parts_of(classifier, kinds=["matrix"]).items()}
    return reduce(classifier, {"states": states, "matrices": matrices, "both": states | matrices}[request.param])


@pytest.mark.parametrize("local", ["gain", "data"])
def test_no_output_is_further_off_than_its_bound(classifier, reduced, data, local):
    found = error_bound(classifier, reduced, data, local)
    assert found.measured.shape == found.bound.shape == (5, 4)
    assert found.measured.max() > 1e-4, "something must have been lost"
    assert np.all(found.measured <= found.bound + 1e-6)


def test_every_logit_is_within_its_bound_too(classifier, reduced, data):
    """Probabilities are within 1 of each other in any case; logits need not be."""
    logits = [keras.models.clone_model(model) for model in (classifier, reduced)]
    for copy, model in zip(logits, (classifier, reduced), strict=True):
        copy.set_weights(model.get_weights())
        copy.get_layer("head").activation = keras.activations.linear
    found = error_bound(*logits, data, "data")
    assert np.all(found.measured <= found.bound + 1e-6)
    assert found.bound.max() < 1e3 * found.measured.max()


def test_own_errors_on_the_data_are_below_the_gains(classifier, reduced, data):
    gain, on_data = (error_bound(classifier, reduced, data, local).layers for local in ("gain", "data"))
    assert gain.keys() == on_data.keys()
    for name, (own, bound) in on_data.items():
        assert own <= gain[name][0] * (1 + 1e-9)
        assert bound <= gain[name][1] * (1 + 1e-9)


def test_bound_of_one_layer_is_reached_by_the_worst_sine():
    length = 4000
    layer = DSS(4)
    model = keras.Sequential([keras.Input((length, 1)), layer])
    shake(model)
    small = reduce(model, 2)
    error = layer.system() - small.layers[-1].system()
    grid = error.resonance_grid()
    worst = grid[0, np.argmax(np.abs(error.frequency_response(grid))[0])]
    found = error_bound(model, small, np.sin(worst * np.arange(length))[None, :, None])
    assert 0.9 * found.bound < found.measured < found.bound


def test_a_copy_has_no_error(classifier, data):
    found = error_bound(classifier, reduce(classifier, 5), data)
    assert found.bound.max() < 1e-12
    assert found.layers == {}


def test_table_and_figures_name_the_layers(classifier, data):
    found = error_bound(classifier, reduce(classifier, {"block_2/dss": 3}), data)
    assert list(found.figures()["layers"]) == ["block_2/dss"]
    assert "block_2/dss" in str(found)


@pytest.mark.parametrize("name", SLOPES)
def test_no_activation_is_steeper_than_said(name):
    x = np.linspace(-6.0, 6.0, 20_001)
    y = np.asarray(keras.activations.get(name)(x))
    slopes = np.abs(np.diff(y) / np.diff(x))
    assert 0.99 * SLOPES[name] < slopes.max() <= SLOPES[name] * (1 + 1e-6)


def test_no_probability_is_steeper_than_said():
    p = np.random.default_rng(0).dirichlet(np.full(3, 0.2), 5000)
    gradients = p[:, :1] * (np.eye(3)[0] - p)
    steepest = np.linalg.norm(gradients, axis=1).max()
    assert 0.95 * SOFTMAX_SLOPE < steepest <= SOFTMAX_SLOPE


def test_refusals(classifier, data):
    with pytest.raises(ValueError, match=r"local='best'; expected one of 'gain', 'data'"):
        error_bound(classifier, classifier, data, "best")
    with pytest.raises(ValueError, match="got no sequence"):
        error_bound(classifier, classifier, data[:0])
    gru = keras.Sequential([keras.Input((5, 2)), keras.layers.GRU(3)])
    with pytest.raises(ValueError, match=r"no rule for GRU.*it knows.*DSS.*, and models and blocks of these"):
        error_bound(gru, gru, data[:, :5, :2])
