"""Budgets: what is compared, what is not, and how they are renewed."""

import json
from pathlib import Path

import pytest
from budgets import END, START, Budgets, with_table


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "budgets.json"
    path.write_text(json.dumps({"m4": {"compiler": "cc 1", "code": 1000, "stack": 200}}))
    return path


def test_figures_may_exceed_them_by_five_percent(path):
    assert Budgets(path).hold("m4", "cc 1", {"code": 1050, "stack": 100}) == "held"
    with pytest.raises(AssertionError, match="m4: code 1051, budget 1000"):
        Budgets(path).hold("m4", "cc 1", {"code": 1051, "stack": 100})


def test_figures_of_another_compiler_are_not_compared(path):
    outcome = Budgets(path).hold("m4", "cc 2", {"code": 9999, "stack": 9999})
    assert outcome == "not compared: the budget is of cc 1"


def test_a_target_without_one(path):
    with pytest.raises(KeyError, match=r"'m7' in budgets\.json: store it with pytest firmware_tests --renew-budgets"):
        Budgets(path).hold("m7", "cc 1", {"code": 1, "stack": 1})


def test_are_renewed_and_others_kept(path):
    budgets = Budgets(path, renew=True)
    assert budgets.hold("m7", "cc 2", {"code": 10, "stack": 20.4}) == "renewed"
    budgets.save()
    assert json.loads(path.read_text()) == {
        "m4": {"compiler": "cc 1", "code": 1000, "stack": 200},
        "m7": {"compiler": "cc 2", "code": 10, "stack": 20},
    }


class TestTable:
    def test_shows_the_budgets_of_one_program(self, tmp_path):
        figures = {"code": 1000, "constants": 2, "ram": 3, "stack": 4, "instructions": 5678}
        entries = {f"m4 qemu {program}": {"compiler": "cc 1", **figures} for program in ("classifier", "random")}
        path = tmp_path / "budgets.json"
        path.write_text(json.dumps(entries))
        assert Budgets(path).table("classifier").split("\n")[2:] == ["| m4 qemu | cc 1 | 1,000 | 2 | 3 | 4 | 5,678 |"]

    def test_replaces_the_one_before(self):
        assert with_table(f"a\n{START}old{END}\nb", "new") == f"a\n{START}new{END}\nb"
        with pytest.raises(ValueError, match="Expected the lines"):
            with_table("a\n", "new")

    def test_of_the_readme_is_that_of_the_budgets(self):
        """Renewed with them: pytest firmware_tests --renew-budgets."""
        folder = Path(__file__).parent
        text = (folder.parent / "tflite" / "c99" / "README.md").read_text()
        assert text == with_table(text, Budgets(folder / "budgets.json").table("classifier"))
