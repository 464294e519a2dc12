"""Models at another sampling rate, on signals that are known at every moment."""

import keras
import numpy as np
import pytest

from keras_s4.layers import DSS, DiagonalSSM, LastStep, RecentAverage, S4Block, SlidingAverage
from keras_s4.models import classifier
from keras_s4.resampling import at_rate

STEPS = 200


def sampled(rate, channels=3):
    """A sum of slow sines over the duration of `STEPS` steps, at the centres of steps of length `rate`."""
    random = np.random.default_rng(0)
    frequencies, phases = random.uniform(0.005, 0.05, (5, 1, channels)), random.uniform(0, 6.3, (5, 1, channels))
    moments = (np.arange(round(STEPS / rate))[:, None] + 0.5) * rate
    return np.sin(frequencies * moments + phases).sum(axis=0, keepdims=True)


def slow_model(**arguments):
    """Modes far slower than a step, as a layer trained on a well-sampled signal has them, and memory alone."""
    layer = DSS(6, time_step_initializer=keras.initializers.Constant(np.log(0.01)), dtype="float64", **arguments)
    model = keras.Sequential([keras.Input((STEPS, 3)), layer])
    layer.feedthrough.assign(np.zeros(layer.feedthrough.shape))
    return model


def at_ends_of(outputs, steps):
    """Of every group of fine steps the last, which ends when the coarse step does."""
    return outputs[:, steps - 1 :: steps]


@pytest.mark.parametrize("kernel", ["exp", "softmax", "clip"])
@pytest.mark.parametrize("rate", [0.5, 0.25, 2.0])
def test_a_resampled_signal_gives_the_outputs_at_the_same_moments(kernel, rate):
    model = slow_model(kernel=kernel)
    resampled = at_rate(model, rate)
    assert resampled.input_shape == (None, round(STEPS / rate), 3)
    coarse, fine = sorted((max(rate, 1.0), min(rate, 1.0)), reverse=True)
    of_coarse, of_fine = (np.asarray((resampled if step == rate else model)(sampled(step))) for step in (coarse, fine))
    of_fine = at_ends_of(of_fine, round(coarse / fine))
    # A held input is off by the square of the phase of a coarse step: 0.1 for the fastest sine, 0.2 for the mode.
    np.testing.assert_allclose(of_fine, of_coarse, rtol=0, atol=0.02 * np.abs(of_coarse).max())
    unchanged = at_ends_of(np.asarray(model.layers[0](sampled(fine))), round(coarse / fine))
    if rate < 1:
        assert np.abs(unchanged - of_coarse).max() > 0.2 * np.abs(of_coarse).max(), "the rate must matter"


def test_a_held_signal_leaves_the_same_memory_at_twice_the_rate():
    model = classifier((40, 3), 4, channels=6, states=5, blocks=1, dropout=0.0)
    inputs = np.random.default_rng(0).normal(size=(2, 40, 6)).astype("float32")
    resampled = at_rate(model, 0.5)
    assert resampled.input_shape == (None, 80, 3)
    expected = np.asarray(model.get_layer("block_1").dss(inputs))
    outputs = resampled.get_layer("block_1").dss(np.repeat(inputs, 2, axis=1))
    np.testing.assert_allclose(at_ends_of(outputs, 2), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert resampled(np.repeat(inputs[..., :3], 2, axis=1)).shape == (2, 4)


def test_rates_multiply_and_one_changes_nothing():
    model = keras.Sequential([keras.Input((None, 3)), S4Block(4), LastStep()])
    inputs = sampled(1.0).astype("float32")
    np.testing.assert_array_equal(at_rate(model, 1.0)(inputs), model(inputs))
    there_and_back = at_rate(at_rate(model, 2.0), 0.5)
    np.testing.assert_array_equal(there_and_back(inputs), model(inputs))


@pytest.mark.parametrize("trainable_time", [False, True])
def test_recent_averages_keep_their_seconds(trainable_time):
    average = RecentAverage([0.2, 0.5, 4.0], 50.0, trainable_time, True)
    model = keras.Sequential([keras.Input((40, 3)), S4Block(4), average])
    resampled = at_rate(model, 2.0).layers[-1]
    np.testing.assert_allclose(resampled.time_constants(), [5.0, 12.5, 100.0], rtol=1e-6)
    np.testing.assert_allclose(average.time_constants(), [10.0, 25.0, 200.0], rtol=1e-6)


def test_bidirectional_models_change_their_rate_too():
    model = slow_model(bidirectional=True)
    assert at_rate(model, 0.5).layers[0].rate == 0.5


def test_shared_modes_of_a_held_signal_at_twice_the_rate():
    layer = DiagonalSSM(2, 6)
    model = keras.Sequential([keras.Input((40, 3)), layer, keras.layers.Dense(2)])
    inputs = np.random.default_rng(0).normal(size=(2, 40, 3)).astype("float32")
    resampled = at_rate(model, 0.5)
    assert resampled.layers[0].rate == 0.5
    expected = np.asarray(model(inputs))
    outputs = at_ends_of(np.asarray(resampled(np.repeat(inputs, 2, axis=1))), 2)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


class TestRefusals:
    @pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "2"])
    def test_rates(self, rate):
        model = keras.Sequential([keras.Input((10, 3)), DSS(2)])
        with pytest.raises(ValueError, match=r"at_rate got rate=.*; expected a positive number"):
            at_rate(model, rate)

    def test_nothing_to_change(self):
        with pytest.raises(ValueError, match="has no DSS or DiagonalSSM layer"):
            at_rate(keras.Sequential([keras.Input((10, 3)), keras.layers.Dense(2)]), 2.0)

    @pytest.mark.parametrize(
        "layer",
        [
            keras.layers.Conv1D(3, 2, padding="causal", name="samples"),
            keras.layers.GRU(3, name="samples"),
            SlidingAverage(4, 2, name="samples"),
        ],
    )
    def test_a_memory_in_samples(self, layer):
        model = keras.Sequential([keras.Input((10, 3)), DSS(2), layer])
        with pytest.raises(ValueError, match=r"'samples' \((Conv1D|GRU|SlidingAverage)\) counts its memory in samples"):
            at_rate(model, 2.0)
