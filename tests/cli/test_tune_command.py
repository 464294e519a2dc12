import json

import keras
import numpy as np
import pytest

from keras_s4.compression import parts_of


def test_rank_tuning_holds_the_accuracy_and_can_be_repeated(call, model_file, data_file, tmp_path):
    arguments = ("tune", model_file, data_file, tmp_path, "--relative-loss", 0.2)
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "tuning.json").read_text())
    assert figures["computed"] > 0
    assert b"</svg>" in (tmp_path / "pareto.svg").read_bytes()
    tuned = keras.saving.load_model(tmp_path / "model.keras")
    assert {name: part.max_rank for name, part in parts_of(tuned).items()} == figures["ranks"]
    with np.load(data_file) as data:
        found = tuned.predict(data["x_validation"], verbose=0).argmax(axis=1)
        assert np.mean(found == data["y_validation"]) >= 0.8
    assert call(*arguments).exit_code == 0
    assert json.loads((tmp_path / "tuning.json").read_text())["computed"] == 0


def test_search_stays_within_its_budget(call, model_file, data_file, tmp_path):
    options = ("--by", "random", "--trials", 2, "--epochs", 1, "--budget", "tflite_bytes=1e6", "--json", tmp_path / "t")
    result = call("tune", model_file, data_file, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "t").read_text())
    assert len(figures["trials"]) == 2
    assert all(trial["measures"]["tflite_bytes"] <= 1e6 for trial in figures["trials"])
    assert {"model.keras", "search.json", "pareto.svg"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_search_needs_no_budget(call, model_file, data_file, tmp_path):
    result = call("tune", model_file, data_file, tmp_path, "--by", "random", "--trials", 1, "--epochs", 1)
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "tuning.json").read_text())["trials"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "flash"), "expected NAME=NUMBER"),
        (("--budget", "tflite_bytes=9"), "knows no budget"),
        (("--target", 0.9, "--relative-loss", 0.1), "target"),
    ],
)
def test_refusals(call, model_file, data_file, tmp_path, options, message):
    result = call("tune", model_file, data_file, tmp_path, *options)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")


def test_data_without_validation_is_refused_before_anything_is_loaded(call, model_file, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(3), y=np.zeros(3))
    result = call("tune", model_file, tmp_path / "data.npz", tmp_path / "out")
    assert result.exit_code == 1
    assert "x_validation, y_validation" in result.output.replace("\n", " ")
