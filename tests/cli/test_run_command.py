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
    monkeypatch.setattr(pipeline, "train", run)
    return found


@pytest.mark.parametrize("command", ["run", "train"])
def test_settings_are_the_defaults_or_what_was_asked_for(asked, command):
    result = CliRunner().invoke(cli.app, [command, "smartwatch", "--fold", "3", "--epochs", "2", "--fraction", "0.5"])
    assert result.exit_code == 0, result.output
    assert asked == [("smartwatch", {"fold": 3}, "runs/smartwatch", Settings(epochs=2, fraction=0.5))]


def test_demo_is_run_smartwatch(asked):
    for arguments in (["demo", "--seed", "4"], ["run", "smartwatch", "--seed", "4"]):
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert asked[0] == asked[1] == ("smartwatch", {"fold": 0}, "runs/smartwatch", Settings(seed=4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smartwtach"], "no built-in task 'smartwtach'; expected one of smartwatch, "),
        (["keywords", "--fold", "1"], "'keywords' has one split and no folds"),
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
