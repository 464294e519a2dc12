import keras
import numpy as np
import pytest
from bench_export_files import StepFile
from reproduce_export import STAGES, summarise, with_logits

from keras_s4 import models
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
    """Probabilities are those of `predict`, which is TFLM without the script."""
    converted = convert(model, data, steps=steps)
    file = StepFile(converted.tflite)
    assert file.steps(FEATURES) == steps
    logits = file.run(data[:3])
    expected = converted.predict(data[:3])
    np.testing.assert_allclose(keras.ops.softmax(logits), expected, rtol=1e-6)
    wanted = with_logits(model).predict(data[:3], verbose=0)
    assert np.abs(logits - wanted).max() < 0.1 * np.abs(wanted).max()


def result(lost):
    """Of a task that loses so many of 1,000 sequences in each stage."""
    stages = {stage: {"float": 0.9, "device": 0.9 - count / 1000, "tflm_equal": True} for stage, count in lost.items()}
    return {"title": "Task", **stages}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_loses_more_than_its_limit_falls_short(stage):
    limit, words = STAGES[stage]
    for lost, holds in ((10 * limit - 0.5, True), (10 * limit + 0.5, False)):
        figures = summarise({"task": result(dict.fromkeys(STAGES, 0) | {stage: lost})})
        assert {figure.name for figure in figures if not figure.holds} == (set() if holds else {f"Task: lost {words}"})


def test_a_file_that_differs_on_tflm_falls_short():
    found = result(dict.fromkeys(STAGES, 0))
    found["16x8"]["tflm_equal"] = False
    assert [figure.value for figure in summarise({"task": found}) if not figure.holds] == [1]
