import keras
import numpy as np
import pytest

from keras_s4.testing.comparison import compare_readers, decibels
from keras_s4.tflite.runtimes import TflmRunner

FORMATS = [{}, {"states": "variables"}]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((12, 2)), keras.layers.Conv1D(2, 2, padding="causal")])


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(4, 12, 2)).astype("float32")


@pytest.mark.parametrize("format", FORMATS)
def test_readers_agree_and_are_near_keras(model, data, format):
    compared = compare_readers(model, [data], format, ("tflm", "c"))
    assert compared.agree and compared.differing == ()
    (ratio,) = compared.ratios
    expected, received = model.predict(data[:3], verbose=0), compared.converted.predict(data[:3], engine="emulator")
    assert ratio == pytest.approx(10 * np.log10(np.sum(expected**2) / np.sum((expected - received) ** 2)), abs=1e-3)


@pytest.mark.parametrize("end", ["outputs", "states", "variables"])
def test_a_runtime_of_other_integers_is_named(model, data, monkeypatch, end):
    run = TflmRunner.run

    def run_differently(self, inputs, keep_states=False, **options):
        found = run(self, inputs, keep_states=keep_states, **options)
        changed = {"outputs": found[0], "states": found[1][0], "variables": None}[end] if keep_states else found
        if changed is not None and (keep_states or end == "variables"):
            changed[-1, -1] += 1
        return found

    monkeypatch.setattr(TflmRunner, "run", run_differently)
    assert compare_readers(model, [data], {"states": "variables"}).differing == ("tflm",)


def test_decibels_are_of_the_last_values():
    expected = np.ones((2, 3, 1))
    received = np.concatenate([np.zeros((2, 4, 1)), 1.1 * expected], axis=1)
    assert decibels(expected, received) == pytest.approx(20.0)
    assert decibels(expected[:, -1], received) == pytest.approx(20.0)
    assert decibels(expected, expected) == np.inf
