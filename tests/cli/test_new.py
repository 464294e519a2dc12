"""`keras-s4 new`: a task file that is ready to run, and never one in the place of another."""

import pytest
from recording_files import folders_of_classes

from keras_s4.datasets import read_task


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return folders_of_classes(tmp_path / "movements")


def test_a_task_file_is_written_and_shown(call, folder, tmp_path):
    result = call("new", folder)
    assert result.exit_code == 0, result.output
    for text in ("15 csv", "50 steps a second", "rest", "33.3%", "keras-s4 run movements.toml"):
        assert text in result.output
    task = read_task(tmp_path / "movements.toml")
    assert task.name == "movements" and task.classes == ("rest", "run", "walk") and task.group == "person"
    assert (tmp_path / "movements.toml").read_text().count("#") > 10


def test_a_task_file_is_not_replaced(call, folder, tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    result = call("new", folder, "--out", tmp_path / "mine.toml")
    assert result.exit_code == 1 and "is there already" in result.output
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert call("new", folder, "--out", tmp_path / "mine.toml", "--force").exit_code == 0
    assert read_task(tmp_path / "mine.toml").name == "mine"


def test_the_folder_is_found_from_elsewhere(call, folder, tmp_path):
    (tmp_path / "tasks").mkdir()
    assert call("new", folder, "--out", tmp_path / "tasks" / "task.toml").exit_code == 0
    assert 'folder = "../movements"' in (tmp_path / "tasks" / "task.toml").read_text()
    assert len(read_task(tmp_path / "tasks" / "task.toml").splits.test) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new", "nowhere"), "nowhere does not exist"),
        (("new", "movements/run/person1_1.csv"), "is a file; give the folder"),
        (("new", "movements", "--out", "task.txt"), "give a name that ends in .toml"),
    ],
)
def test_what_is_no_folder_or_no_task_file(call, folder, arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1 and message in result.output.replace("\n", " ")
