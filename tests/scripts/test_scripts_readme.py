"""The page of all figures is what the committed results give."""

import json
import runpy
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from keras_s4.testing.experiment import Figure

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPTS / "readme.py"))


def test_it_is_not_stale(script):
    """Otherwise: python scripts/readme.py."""
    assert script["PAGE"].read_text() == script["render_page"]()


def test_every_figure_of_every_result_is_there(script):
    page = script["PAGE"].read_text()
    results = {path: json.loads(path.read_text()) for path in (SCRIPTS / "results").glob("*.json")}
    for path, record in results.items():
        for row in record.get("figures", ()):
            value = Figure(row["name"], row["value"], unit=row["unit"]).measured
            assert f"| {row['name']} | {value} |" in page, path
        for table in record.get("tables", ()):
            assert table["title"] in page and table["source"] in page
            assert all(cell in page for row in table["rows"] for cell in row)


def test_check_tells_a_stale_page(script, tmp_path):
    main = script["main"]
    application = typer.Typer()
    application.command()(main)
    assert CliRunner().invoke(application, ["--check"]).exit_code == 0
    stale = tmp_path / "README.md"
    stale.write_text("old")
    main.__globals__["PAGE"], kept = stale, main.__globals__["PAGE"]
    try:
        result = CliRunner().invoke(application, ["--check"])
    finally:
        main.__globals__["PAGE"] = kept
    assert result.exit_code == 1 and "run python scripts/readme.py" in result.output.replace("\n", " ")
    assert stale.read_text() == "old"


def test_tables_of_the_console_become_markdown(script):
    table = Table("name", "a|b", title="Title", caption="first\nsecond")
    table.add_row("x", "1")
    table.add_row("y", "", style="bold")
    lines = ["Title:", "", "| name | a\\|b |", "| --- | --- |", "| x | 1 |", "| **y** |  |", "", "first", "", "second"]
    assert script["render_table"](table).splitlines() == lines


def test_targets_that_are_missed_are_told(script):
    figures = [Figure("a", 1.0, at_most=2), Figure("b", 3.0, at_most=2, unit=" s"), Figure("c", 3.0)]
    lines = script["render_figures"](figures).splitlines()[2:]
    assert lines == ["| a | 1 | at most 2 | met |", "| b | 3 s | at most 2 s | **missed** |", "| c | 3 |  |  |"]
