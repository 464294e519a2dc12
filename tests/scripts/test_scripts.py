"""Every script: its flags, its committed results, and what it says where packages are missing."""

import ast
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from keras_s4.testing.experiment import figures_of, load_experiments

SCRIPTS = Path(__file__).parents[2] / "scripts"
EXPERIMENTS = load_experiments(SCRIPTS)
NAMES = {path.relative_to(SCRIPTS).as_posix(): experiment for path, experiment in EXPERIMENTS.items()}
# Modules that no script may need for its help and its committed results.
OPTIONAL = {"mpmath", "slycot", "pymor", "keras_lmu", "seglearn", "unicorn", "elftools", "ziglang", "tflite_micro"}


def run(experiment, *arguments):
    application = typer.Typer()
    application.command()(experiment.command())
    return CliRunner().invoke(application, list(arguments), terminal_width=200)


def test_all_rooms_are_seen():
    rooms = {name.split("/")[0] for name in NAMES}
    assert rooms == {"bench", "reproduce", "soak"}
    mains = {path for path in SCRIPTS.rglob("*.py") if "__main__" in path.read_text() and path.parent != SCRIPTS}
    assert mains == set(EXPERIMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_common_flags(name):
    result = run(NAMES[name], "--help")
    assert result.exit_code == 0
    for flag in ("--rerun", "--json", "--check", "--cache"):
        assert flag in result.output


@pytest.mark.parametrize("name", NAMES)
def test_committed_results_are_shown_and_checked(name, tmp_path):
    experiment = NAMES[name]
    record = json.loads(experiment.result.read_text())
    figures = figures_of(record)
    assert figures
    assert [row["holds"] for row in record["figures"]] == [figure.holds for figure in figures]
    result = run(experiment, "--json", str(tmp_path / "copy.json"))
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "copy.json").read_text()) == record
    short = [figure for figure in figures if not figure.holds]
    checked = run(experiment, "--check")
    assert checked.exit_code == (1 if short else 0)
    assert checked.output.count("falls short:") == len(short)


@pytest.mark.parametrize("name", [name for name, experiment in NAMES.items() if experiment.needs])
def test_missing_packages_are_named_with_their_extra(name, monkeypatch, capsys):
    """Before anything is computed; help and committed results do without them."""
    experiment = NAMES[name]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n in experiment.needs else find_spec(n, *a))
    result = run(experiment, "--rerun")
    assert result.exit_code == 2
    for module, extra in experiment.needs.items():
        assert module in result.output
        assert extra in result.output.split("pip install -e '.[")[1]
    assert run(experiment, "--help").exit_code == 0


def test_no_script_needs_optional_packages_before_it_computes():
    """Of all that is imported at the top of scripts and of what they import, nothing is optional."""
    code = (
        "import sys\n"
        f"hidden = {sorted(OPTIONAL)!r}\n"
        "for name in hidden: sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from keras_s4.testing.experiment import load_experiments\n"
        f"print(len(load_experiments(Path({str(SCRIPTS)!r}))), 'tensorflow' in sys.modules, 'keras' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(len(EXPERIMENTS)), "False", "False"]


def test_extras_are_declared():
    declared = (SCRIPTS.parent / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1]
    extras = {extra for experiment in EXPERIMENTS.values() for extra in experiment.needs.values()}
    assert extras and all(f"\n{extra} = [" in declared for extra in extras)


def test_no_script_imports_another():
    """Modules beside a script are parts of the one whose name they begin with; packages beside it are, too."""
    scripts = {path.stem: path for path in EXPERIMENTS}
    for path in SCRIPTS.rglob("*.py"):
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            + ([node.module] if isinstance(node, ast.ImportFrom) and node.module else [])
        }
        beside = {name for name in imported if (path.parent / f"{name}.py").exists()}
        owners = {name.split("_")[0] for name in beside}
        assert not beside & set(scripts), path
        assert owners <= {path.stem.split("_")[0]}, path
        assert "sys.path" not in path.read_text(), path


def is_module(package, name):
    return hasattr(package, "__path__") and importlib.util.find_spec(f"{package.__name__}.{name}") is not None


def test_all_that_scripts_take_from_the_library_is_there():
    """Also inside of functions, which no test runs."""
    missing = []
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_s4":
                module = importlib.import_module(node.module)
                names = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                missing += [f"{path.name}: {node.module}.{name}" for name in names if not is_module(module, name)]
    assert missing == []


def test_results_are_drawn(tmp_path):
    path = tmp_path / "figure.svg"
    assert run(NAMES["reproduce/rank_tuning.py"], "--figure", str(path)).exit_code == 0
    assert "</svg>" in path.read_text()


def test_options_that_change_results_need_a_rerun():
    result = run(NAMES["reproduce/smartwatch.py"], "--seeds", "1")
    assert result.exit_code == 2
    assert "--seeds needs --rerun" in result.output.replace("\n", " ")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default_and_help(name):
    parameters = inspect.signature(NAMES[name].compute, eval_str=True).parameters
    assert next(iter(parameters)) == "cache"
    for option in list(parameters.values())[1:]:
        assert option.default is not option.empty, option
        assert option.annotation.__metadata__[0].help, option


class TestExport:
    """What `reproduce/export.py` demands of each stage."""

    def result(self, stages, lost):
        """Of a task that loses so many of 1,000 sequences in each stage."""
        found = {
            stage: {"float": 0.9, "device": 0.9 - lost.get(stage, 0) / 1000, "tflm_equal": True} for stage in stages
        }
        return {"title": "Task", **found}

    @pytest.fixture
    def script(self):
        return NAMES["reproduce/export.py"].compute.__globals__

    @pytest.mark.parametrize("stage", ["calibrated", "16x8", "aware"])
    def test_a_stage_that_loses_more_than_its_limit_falls_short(self, script, stage):
        limit, words = script["STAGES"][stage]
        for lost, holds in ((10 * limit - 0.5, True), (10 * limit + 0.5, False)):
            figures = script["summarise"]({"task": self.result(script["STAGES"], {stage: lost})})
            short = {figure.name for figure in figures if not figure.holds}
            assert short == (set() if holds else {f"Task: lost {words}"})

    def test_a_file_that_differs_on_tflm_falls_short(self, script):
        found = self.result(script["STAGES"], {})
        found["16x8"]["tflm_equal"] = False
        assert [figure.value for figure in script["summarise"]({"task": found}) if not figure.holds] == [1]
