import keras
import numpy as np
import pytest

from keras_s4 import models
from keras_s4.testing.reference_models import with_logits
from keras_s4.testing.step_files import StepFile
from keras_s4.tflite import convert

FEATURES = 3


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.classifier((24, FEATURES), classes=4, channels=5, states=2, blocks=1)


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).normal(size=(20, 24, FEATURES))


@pytest.mark.parametrize("steps", [1, 4])
def test_files_of_a_step_and_of_a_block_run_to_the_logits_of_the_model(model, data, steps):
    """Probabilities are those of `predict`, which runs TFLM by our own code."""
    converted = convert(model, data, steps=steps)
    file = StepFile(converted.tflite)
    assert file.steps(FEATURES) == steps
    logits = file.run(data[:3])
    expected = converted.predict(data[:3])
    np.testing.assert_allclose(keras.ops.softmax(logits), expected, rtol=1e-6)
    wanted = with_logits(model).predict(data[:3], verbose=0)
    assert np.abs(logits - wanted).max() < 0.1 * np.abs(wanted).max()
