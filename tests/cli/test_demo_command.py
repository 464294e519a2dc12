import pytest
from summaries import SUMMARY
from typer.testing import CliRunner

from keras_s4 import cli
from keras_s4.job import pipeline


@pytest.fixture
def call(monkeypatch):
    def with_result(result, *arguments):
        def run(*_):
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(pipeline, "run", run)
        return CliRunner().invoke(cli.app, ["demo", *arguments])

    return with_result


def test_demo_prints_the_table_and_where_the_rest_is(call, tmp_path):
    result = call(SUMMARY, "--out", str(tmp_path / "run"))
    assert result.exit_code == 0
    for text in ("12,345", "6,789", "50.0%", "equal, bit for bit", "report.html", "accuracy", "1,000"):
        assert text in result.output


@pytest.mark.parametrize("width", [40, 80])
def test_no_column_is_left_out_on_a_narrow_terminal(call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    table = call(SUMMARY).output.partition("Emulator")[0]
    assert {"TFLM", "50.0%", "100.0%", "8", "12,345", "6,789", "42", "1,000"} <= set(table.split())
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize("error", [ValueError("the poles"), OSError(28, "Cannot write x: no room"), ImportError("pip")])
def test_what_a_user_can_put_right_is_one_message(call, error):
    result = call(error)
    assert result.exit_code == 1
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in result.output


def test_interruption_says_how_to_continue(call):
    result = call(KeyboardInterrupt())
    assert result.exit_code == 130
    assert "The same command continues" in result.output


def test_wrong_usage_and_version():
    assert CliRunner().invoke(cli.app, ["demo", "--fold", "9"]).exit_code == 2
    assert CliRunner().invoke(cli.app, ["--version"]).output.startswith("keras-s4 ")
    assert "demo" in CliRunner().invoke(cli.app, ["--help"]).output
