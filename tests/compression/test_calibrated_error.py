"""Probable bounds: they hold on what meets their assumptions, and what does not keeps its certain bound."""

import keras
import numpy as np
import pytest
from conformance import shake

from keras_s4 import error_bound, models, reduce
from keras_s4.compression.calibrated_error import Calibration, front_of, through_activation

LENGTH, FEATURES = 80, 3


def smooth(seed, count):
    """Sequences of one source: random walks that forget."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, LENGTH, FEATURES))
    noise = rng.normal(size=x.shape)
    for t in range(1, LENGTH):
        x[:, t] = 0.9 * x[:, t - 1] + 0.4 * noise[:, t]
    return x.astype("float32")


@pytest.fixture(scope="module", params=[0, 2])
def pair(request):
    keras.utils.set_random_seed(request.param)
    model = shake(models.classifier((LENGTH, FEATURES), 4, channels=8, states=6, blocks=2))
    return model, reduce(model, dict.fromkeys(("block_1/dss", "block_2/dss"), 2))


def hostile(calibration):
    """Inputs that none of the source is like, some that hide among those seen, and how many are loud: the first."""
    t = np.arange(LENGTH)[None, :, None]
    sines = np.sin(np.linspace(0.1, np.pi - 0.1, 24)[:, None, None] * t) * np.ones(FEATURES)
    noise = np.random.default_rng(9).normal(size=(8, LENGTH, FEATURES))
    loud = [10.0 * sines[:4], 30.0 * noise]
    hidden = [calibration[:12] + level * sines[k::2] for k, level in ((0, 0.05), (1, 0.2))]
    return np.concatenate([*loud, sines, noise, *hidden, 0.0 * noise[:1]]).astype("float32"), sum(map(len, loud))


def test_no_error_is_above_its_bound(pair):
    calibration, data = smooth(0, 40), smooth(1, 60)
    found = error_bound(*pair, data, "data", calibration)
    probable = found.kind == "probable"
    assert probable.mean() > 0.8
    assert not found.violated.any()
    both = error_bound(*pair, np.concatenate([calibration, data]), "data")
    certain, largest = both.bound[40:], both.measured.max()
    assert set(both.kind) == {"certain"}
    assert np.all(found.bound <= certain * (1 + 1e-9))
    assert found.bound[probable].max() < 5.0 * largest < 0.5 * certain.max()
    assert found.confidence == pytest.approx(40.0 / 41.0)
    assert both.confidence == 1.0
    assert "40 of the calibration" in found.assumptions


def test_loud_inputs_are_told_apart_and_others_held(pair):
    calibration = smooth(0, 40)
    data, loud = hostile(calibration)
    found = error_bound(*pair, data, "data", calibration)
    assert set(found.kind[:loud]) == {"certain"}
    assert not found.violated.any()


def test_people_are_counted_rather_than_sequences(pair):
    calibration, data = smooth(0, 40), smooth(1, 10)
    logits = [keras.Model(model.input, model.layers[-2].output) for model in pair]
    alone, few, many = (
        error_bound(*logits, data, "data", calibration, groups)
        for groups in (None, np.arange(40) % 7, [f"person {number % 8}" for number in range(40)])
    )
    assert [found.confidence for found in (few, many)] == pytest.approx([7 / 8, 8 / 9])
    assert "somebody like the 8 of the calibration" in many.assumptions
    np.testing.assert_allclose(few.bound, alone.bound)
    np.testing.assert_allclose(many.bound, alone.bound * 1.3 / 1.9)
    assert not many.violated.any()


def test_a_copy_has_no_error(pair):
    found = error_bound(pair[0], pair[0], smooth(1, 5), "data", smooth(0, 40))
    assert found.bound.max() < 1e-5


def test_one_draw_in_n_plus_one_is_above_without_the_margin():
    """Of exchangeable scores the largest of n is exceeded by the next with probability 1 / (n + 1)."""
    rng, above = np.random.default_rng(0), []
    for _ in range(4000):
        scores = np.abs(rng.normal(size=21)) + 0.1
        measured = (scores * np.exp(rng.normal(size=21)))[:, None]
        above.append(measured[20] > Calibration(scores[:20], measured[:20], 1.0).bound(scores[20:])[0])
    assert np.mean(above) == pytest.approx(1.0 / 21.0, abs=0.012)


def test_outputs_count_relative_to_their_sizes():
    scores, units = np.ones(40), np.array([1.0, 1e3])
    measured = np.random.default_rng(0).uniform(0.5, 1.0, (40, 2)) * units
    bound = Calibration(scores, measured, 1.8).bound(scores[:1])[0]
    assert np.all(bound > measured.max(axis=0))
    assert np.all(bound < 3.0 * units)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_no_probability_moves_further_than_its_logits_let_it(activation):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 5)) * rng.choice([0.1, 1.0, 5.0], (20_000, 1))
    change = rng.normal(size=logits.shape) * 10.0 ** rng.uniform(-3.0, 1.0, (20_000, 1))
    function = {
        "softmax": lambda z: (
            np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)
        ),
        "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    }[activation]
    outputs, moved = function(logits), function(logits + change)
    bound = through_activation(outputs, np.linalg.norm(change, axis=1), activation)
    assert np.all(np.abs(moved - outputs) <= bound[:, None] + 1e-7)
    assert front_of(activation, (outputs, moved)) == activation
    assert front_of(activation, (outputs - 0.5,)) is None


def test_refusals(pair):
    with pytest.raises(ValueError, match="got 39 calibration sequences; expected at least 40"):
        error_bound(*pair, smooth(1, 2), "data", smooth(0, 39))
    with pytest.raises(ValueError, match=r"groups of shape \(3,\) for 40 calibration sequences"):
        error_bound(*pair, smooth(1, 2), "data", smooth(0, 40), groups=[1, 2, 3])
    with pytest.raises(ValueError, match="groups without a calibration"):
        error_bound(*pair, smooth(1, 2), "data", groups=[1, 2, 3])
    with pytest.raises(ValueError, match="local='gain'; it needs local='data'"):
        error_bound(*pair, smooth(1, 2), calibration=smooth(0, 40))
