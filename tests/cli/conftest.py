import keras
import numpy as np
import pytest
from conformance import shake
from typer.testing import CliRunner

from keras_s4 import models
from keras_s4.cli import app


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = shake(models.classifier((20, 3), 4, channels=6, states=4, blocks=1))
    # Eager, wherever the file is loaded: for so few batches a graph takes longer to trace than to run.
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def data_file(model_file):
    """Data whose labels are what the model says of them."""
    x = np.random.default_rng(0).normal(size=(48, 20, 3)).astype("float32")
    y = keras.saving.load_model(model_file).predict(x, verbose=0).argmax(axis=1)
    path = model_file.with_name("data.npz")
    np.savez(path, x=x[:32], y=y[:32], x_validation=x[32:], y_validation=y[32:])
    return path


@pytest.fixture
def call():
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
