"""`keras-s4 import`: from a checkpoint of PyTorch to a Keras model, in one line."""

import json
import re
from pathlib import Path

import pytest

CHECKPOINTS = Path(__file__).parents[1] / "importers" / "checkpoints"
MODEL = CHECKPOINTS / "s4d_model_pre.ckpt"
OPTIONS = ("--norm-order", "pre", "--pooling", "mean")


def test_a_checked_model_is_saved_and_read_by_other_commands(call, tmp_path):
    out, figures = tmp_path / "model.keras", tmp_path / "import.json"
    result = call("import", MODEL, "--out", out, *OPTIONS, "--check", f"{MODEL}.npz", "--json", figures)
    assert result.exit_code == 0, result.output
    assert "s4_layers.0: S4D of s4d.py" in result.output
    assert "Assumed: activation gelu" in result.output
    assert "Checked: 2 outputs" in result.output
    found = json.loads(figures.read_text())
    assert found["relative error of the outputs"] < 1e-5
    assert found["modules"]["decoder"] == "Linear, 3 to 4"
    assert "s4_layers_0_dss" in call("spectrum", out).output


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        (MODEL, (), "Give norm_order='pre' or 'post'"),
        (MODEL, (*OPTIONS, "--set", "disc"), "expected NAME=VALUE"),
        (MODEL, (*OPTIONS, "--set", "disc=bilinear"), r"settings\['disc'\] was given"),
        (MODEL, ("--norm-order", "post", "--pooling", "mean", "--check", f"{MODEL}.npz"), "from those recorded"),
        (CHECKPOINTS / "whole_object.pt", (), "names code"),
        (CHECKPOINTS / "none.pt", (), "There is no checkpoint"),
        (MODEL, (*OPTIONS, "--check", CHECKPOINTS / "none.npz"), "There is no file"),
    ],
)
def test_what_is_refused_is_one_message_and_nothing_is_saved(call, tmp_path, checkpoint, options, message):
    result = call("import", checkpoint, "--out", tmp_path / "model.keras", *options)
    assert result.exit_code == 1
    assert re.search(message, result.output.replace("\n", " ")), result.output
    assert result.output.count("Error:") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_needs_its_name(call, tmp_path):
    result = call("import", MODEL, "--out", tmp_path / "model.h5", *OPTIONS)
    assert result.exit_code == 1
    assert ".keras" in result.output
