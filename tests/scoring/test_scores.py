import numpy as np
import pytest

from keras_s4.scoring.heads import Head
from keras_s4.scoring.scores import against_reference, against_targets, signal_to_noise, verdict

RANDOM = np.random.default_rng(0)


def test_labels_are_counted():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 4.0], [1.0, 0.0]])
    assert against_targets(Head("classes"), logits, np.array([0, 1, 0, 0])) == {"accuracy": 0.75}
    assert against_reference(Head("classes"), logits, -logits) == {"agreement": 0.0}
    single = np.array([[0.4], [0.6], [0.7], [-1.0]])
    assert against_targets(Head("binary"), single, np.array([0, 1, 0, 0])) == {"accuracy": 0.75}
    assert against_targets(Head("binary", 0.0), single, np.array([1, 1, 1, 0])) == {"accuracy": 1.0}
    several = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = against_targets(Head("multi_label"), several, np.array([[1, 0], [1, 1], [1, 0]]))
    assert found == {"accuracy": pytest.approx(5 / 6), "exact": pytest.approx(2 / 3)}


def test_quantities_have_an_error_in_their_units_and_a_ratio():
    """A tenth of the amplitude of a sine is 20 dB, whatever offset it has."""
    sine = 7.0 + 3.0 * np.sin(np.arange(1000) * 0.1)[None, :, None]
    noise = np.where(RANDOM.random(sine.shape) < 0.5, 1, -1) * sine.std() / 10
    found = against_reference(Head("regression"), sine + noise, sine)
    assert found["snr"] == pytest.approx(20.0, abs=1e-6)
    errors = against_targets(Head("regression"), sine + 0.5, sine)
    assert errors == {"rmse": pytest.approx(0.5), "mae": pytest.approx(0.5)}


def test_the_worst_column_counts():
    """A pressure that is right does not hide a humidity that is not."""
    reference = RANDOM.normal(size=(50, 20, 2)) * [1e5, 0.4]
    received = reference * [1.0001, 0.0]
    ratios = signal_to_noise(reference, received)
    assert ratios[0] == pytest.approx(80, abs=0.1)
    assert against_reference(Head("regression"), received, reference)["snr"] == min(ratios) < 1.0


def test_equal_constant_and_silent_columns():
    zeros, ones = np.zeros((4, 1)), np.ones((4, 1))
    assert signal_to_noise(zeros, zeros) == [None]
    assert signal_to_noise(ones, ones) == [pytest.approx(144.5, abs=0.1)]
    assert signal_to_noise(zeros, ones) == [pytest.approx(-144.5, abs=0.1)]
    assert signal_to_noise(ones, 1.1 * ones) == [pytest.approx(20.0)]


def test_verdicts_can_fail():
    assert [verdict({"snr": value}) for value in (30.0, 15.0, 0.03, None)] == ["good", "poor", "WRONG", "good"]
    assert [verdict({"agreement": value}) for value in (1.0, 0.9, 0.5)] == ["good", "poor", "WRONG"]


def test_labels_that_are_all_the_same_do_not_hide_a_silent_device():
    reference = RANDOM.uniform(0.6, 0.9, (40, 1))
    found = against_reference(Head("binary"), np.full((40, 1), 0.55), reference)
    assert found["agreement"] == 1.0
    assert verdict(found) == "WRONG"
    assert verdict(against_reference(Head("binary"), reference + 0.001, reference)) == "good"
