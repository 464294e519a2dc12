import pytest
import tensorflow as tf
from networks import Untrained

from keras_s4 import plots
from keras_s4.architecture_search import searching


@pytest.fixture
def trainings(monkeypatch):
    """In place of trainings, the list of what would have been trained: qualities, and epochs before and after."""
    monkeypatch.setattr(Untrained, "log", [])
    monkeypatch.setattr(searching, "Trainer", Untrained)
    monkeypatch.setattr(plots, "can_draw", lambda: False)
    return Untrained.log


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("KERASTUNER_ORACLE_IP", raising=False)


@pytest.fixture
def eager():
    """For so few batches a graph takes longer to trace than to run."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
