import json

import pytest
from summaries import SUMMARY
from typer.testing import CliRunner

from keras_s4 import cli
from keras_s4.job import pipeline
from keras_s4.job.find_task import find_task, settings_of
from keras_s4.job.settings import Settings


@pytest.fixture
def asked(monkeypatch):
    """What the job was asked for, when a command has run."""
    found = []

    def run(task, out, settings, *_):
        found.append((task.name, dict(task.choices), str(out), settings))
        return SUMMARY

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(pipeline, "train", lambda *arguments: run(*arguments)["training"])
    return found


@pytest.mark.parametrize("command", ["run", "train"])
def test_settings_are_the_defaults_or_what_was_asked_for(asked, command):
    result = CliRunner().invoke(cli.app, [command, "smartwatch", "--fold", "3", "--epochs", "2", "--fraction", "0.5"])
    assert result.exit_code == 0, result.output
    assert asked == [("smartwatch", {"fold": 3}, "runs/smartwatch", Settings(epochs=2, fraction=0.5, normalize=False))]


def test_demo_is_run_smartwatch(asked):
    for arguments in (["demo", "--seed", "4"], ["run", "smartwatch", "--seed", "4"]):
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert asked[0] == asked[1] == ("smartwatch", {"fold": 0}, "runs/smartwatch", Settings(seed=4, normalize=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smartwtach"], "no built-in task 'smartwtach'; expected one of smartwatch, "),
        (["fashion-mnist-rows", "--fold", "1"], "has one split and no folds"),
        (["smartwatch", "--fold", "5"], "fold=5; expected a whole number from 0 to 4"),
    ],
)
def test_a_task_that_there_is_not_is_refused(asked, arguments, message):
    result = CliRunner().invoke(cli.app, ["run", *arguments])
    assert result.exit_code == 1 and message in " ".join(result.output.split())
    assert not asked


def test_settings_of_the_task_are_overridden_by_options():
    class Asking:
        name, settings = "mine", {"epochs": 3, "channels": 8}

    assert settings_of(Asking, {"epochs": 5}) == Settings(epochs=5, channels=8)
    Asking.settings = {"epoch": 3}
    with pytest.raises(ValueError, match=r"'mine' has the settings epoch; expected some of seed, "):
        settings_of(Asking, {})


def test_every_built_in_task_is_found_by_its_name():
    assert find_task("smartwatch", 2).choices == {"fold": 2}
    assert find_task("fashion-mnist-rows").name == "fashion-mnist-rows"


def test_all_folds_are_run_each_in_its_folder(asked, tmp_path):
    result = CliRunner().invoke(cli.app, ["run", "smartwatch", "--folds", "--out", str(tmp_path), "--epochs", "3"])
    assert result.exit_code == 0, result.output
    assert [(choices["fold"], out) for _, choices, out, _ in asked] == [
        (i, str(tmp_path / f"fold-{i}")) for i in range(5)
    ]
    assert {settings for *_, settings in asked} == {Settings(epochs=3, normalize=False)}
    assert "fold 4" in result.output and "50.0%" in result.output
    rows = json.loads((tmp_path / "folds.json").read_text())["rows"]
    assert rows[0] == {
        "row": "Keras trained", "figure": "accuracy", "values": [0.5] * 5, "mean": 0.5, "deviation": 0.0
    }  # fmt: skip


def test_folds_of_a_task_that_has_none_are_refused(asked, tmp_path):
    result = CliRunner().invoke(cli.app, ["run", "fashion-mnist-rows", "--folds", "--out", str(tmp_path)])
    assert result.exit_code == 1 and "leave --fold" in result.output
    both = CliRunner().invoke(cli.app, ["run", "smartwatch", "--folds", "--fold", "1"])
    assert both.exit_code == 1 and "expected one of the two" in both.output
    assert not asked
