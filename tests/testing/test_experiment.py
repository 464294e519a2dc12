import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from keras_s4.testing.experiment import (
    Experiment,
    Figure,
    Measurement,
    cache_json,
    finished_parts,
    measure_parts,
    require,
    seeds_by_task,
    show_whole,
)


class TestFigure:
    @pytest.mark.parametrize(
        ("bounds", "holds"),
        [
            ({}, True),
            ({"at_most": 2.0}, True),
            ({"at_most": 1.9}, False),
            ({"at_least": 2.0}, True),
            ({"at_least": 2.1}, False),
            ({"at_least": 1.0, "at_most": 3.0}, True),
        ],
    )
    def test_holds(self, bounds, holds):
        assert Figure("", 2.0, **bounds).holds is holds

    def test_nan_never_holds(self):
        assert not Figure("", float("nan")).holds
        assert not Figure("", float("nan"), at_most=1.0).holds

    def test_words(self):
        figure = Figure("", 316_000.0, at_least=1.0, at_most=3.5, unit=" B")
        assert figure.measured == "316,000 B" and figure.target == "at least 1 B and at most 3.5 B"
        assert Figure("", 1.23456e-7).measured == "1.235e-07"
        assert Figure("", 73_054.7653).measured == "73,055" and Figure("", 12.3456).measured == "12.35"


@pytest.fixture
def experiment(tmp_path):
    """One that doubles a number and asks for at most 4."""

    def compute(cache: Path, number: Annotated[int, typer.Option(help="It.")] = 2) -> Measurement:
        return Measurement([Figure("twice", 2 * number, at_most=4)], {"number": number, "cache": str(cache)})

    def tables(record):
        table = Table("number", title="Numbers")
        table.add_row(str(record["number"]))
        return [table]

    return Experiment("Doubles", tmp_path / "doubles.json", compute, ("numpy",), tmp_path / "cache", tables)


def run(experiment, *arguments):
    application = typer.Typer()
    application.command()(experiment.command())
    return CliRunner().invoke(application, list(arguments), terminal_width=200)


class TestExperiment:
    def test_a_run_over_writes_the_record_that_is_shown_then(self, experiment, tmp_path):
        assert run(experiment, "--rerun", "--cache", str(tmp_path / "other")).exit_code == 0
        record = json.loads(experiment.result.read_text())
        assert record["number"] == 2 and record["cache"] == str(tmp_path / "other")
        assert set(record["versions"]) == {"python", "numpy"} and record["date"]
        shown = run(experiment, "--check")
        assert shown.exit_code == 0
        assert "Numbers" in shown.output and "at most 4" in shown.output and "holds" in shown.output

    def test_other_options_leave_the_committed_record_alone(self, experiment, tmp_path):
        run(experiment, "--rerun")
        before = experiment.result.read_bytes()
        result = run(experiment, "--rerun", "--number", "3")
        assert result.exit_code == 0 and "--json FILE keeps these" in result.output
        assert experiment.result.read_bytes() == before
        run(experiment, "--rerun", "--number", "3", "--json", str(tmp_path / "three.json"))
        assert json.loads((tmp_path / "three.json").read_text())["number"] == 3
        assert experiment.result.read_bytes() == before

    def test_check_ends_with_1_and_names_what_falls_short(self, experiment):
        result = run(experiment, "--rerun", "--number", "3", "--check")
        assert result.exit_code == 1
        assert "falls short: twice: 6, target at most 4" in result.output

    def test_without_a_record_it_says_what_to_do(self, experiment):
        assert "compute them with --rerun" in str(run(experiment).exception)

    def test_figure_is_only_an_option_of_those_that_draw(self, experiment):
        assert run(experiment, "--figure", "x.svg").exit_code == 2


def test_tables_are_shown_whole_in_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    table = Table(*(f"column{number}" for number in range(20)))
    table.add_row(*(f"cell{number:04}" for number in range(20)))
    show_whole(table)
    shown = capsys.readouterr().out
    assert "column19" in shown and "cell0019" in shown and "…" not in shown


def test_missing_packages_are_named_with_all_extras():
    require({"json": "dev"})
    with pytest.raises(ModuleNotFoundError, match=r"nowhere, neither, which are .* pip install -e '\.\[bench,data\]'"):
        require({"nowhere": "bench", "json": "dev", "neither": "data"})


def test_json_is_computed_once(tmp_path):
    calls = []
    for _ in range(2):
        assert cache_json(tmp_path / "one.json", lambda: calls.append(1) or {"a": 1.5}) == {"a": 1.5}
    assert calls == [1]


class TestFinishedParts:
    def test_an_interrupted_run_continues_and_a_finished_one_is_forgotten(self, tmp_path):
        calls = []

        def measure(interrupted):
            with finished_parts(tmp_path, seed=0) as part:
                part("first part", lambda: calls.append("first") or 1)
                if interrupted:
                    raise KeyboardInterrupt
                return part("second", lambda: calls.append("second") or 2)

        with pytest.raises(KeyboardInterrupt):
            measure(True)
        assert measure(False) == 2
        assert calls == ["first", "second"]
        assert list(tmp_path.iterdir()) == []

    def test_other_options_are_other_parts(self, tmp_path):
        for seed in range(2):
            with pytest.raises(KeyboardInterrupt), finished_parts(tmp_path, seed=seed) as part:
                assert part("value", lambda seed=seed: seed) == seed
                raise KeyboardInterrupt
        assert len(list(tmp_path.iterdir())) == 2

    def test_measurements_go_through(self, tmp_path):
        found = Measurement([Figure("a", 1.0, at_most=2, unit=" s")], {"b": [1]})
        with finished_parts(tmp_path) as part:
            assert measure_parts(part, {"one": lambda: found}) == {"one": found}


def test_seeds_by_task():
    assert seeds_by_task("rows:5,smartwatch:3") == {"rows": 5, "smartwatch": 3}
