"""Tasks with a name of their own: made without reading, and named as they are called."""

import inspect

import pytest

from keras_s4.datasets import BUILT_IN

WITH_FOLDS = [name for name, make in BUILT_IN.items() if "fold" in inspect.signature(make).parameters]


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """Whoever reads a file or asks the network fails."""
    for name in ("KERAS_S4_PLAID", "KERAS_S4_MNIST", "KERAS_S4_DRUMS", "KERAS_S4_SPEECH_COMMANDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail(f"{self} is read"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_tasks_are_made_without_their_data(name):
    task = BUILT_IN[name]()
    assert task.name == name
    assert len(task.classes) == len(set(task.classes)) >= 7
    assert task.purpose.startswith("to recognise ")


@pytest.mark.parametrize(
    "name", [name for name, make in BUILT_IN.items() if "fold" in inspect.signature(make).parameters]
)
def test_folds_are_part_of_what_a_run_is_known_by(name):
    assert BUILT_IN[name](0).choices["fold"] == 0 and BUILT_IN[name](1).choices["fold"] == 1


def test_most_have_folds():
    assert set(WITH_FOLDS) == {"smartwatch", "keywords", "appliances", "drums"}
