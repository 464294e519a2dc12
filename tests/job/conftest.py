"""One finished run for all modules."""

import shutil

import pytest
from runs import SETTINGS, TASK, training_eagerly

from keras_s4.job import pipeline


@pytest.fixture(scope="module")
def eager_training():
    """Trainings without graphs."""
    with training_eagerly():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run, and its summary."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with training_eagerly():
        return folder, pipeline.run(TASK, folder, SETTINGS)


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that a test may damage, and its summary."""
    return shutil.copytree(finished[0], tmp_path / "copy"), finished[1]
