import json

import keras
import numpy as np
import pytest

import keras_s4


def test_reduced_model_is_that_of_the_library(call, model_file, data_file, tmp_path):
    options = ("--rank", 2, "--data", data_file, "--json", tmp_path / "r.json", "--figure", tmp_path / "r.svg")
    result = call("reduce", model_file, tmp_path / "small.keras", *options)
    assert result.exit_code == 0, result.output
    small = keras.saving.load_model(tmp_path / "small.keras")
    x = np.load(data_file)["x"]
    expected = keras_s4.reduce(keras.saving.load_model(model_file), 2).predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=0, atol=1e-6)
    assert b"</svg>" in (tmp_path / "r.svg").read_bytes()
    figures = json.loads((tmp_path / "r.json").read_text())
    part = figures["parts"]["block_1/dss"]
    assert (part["full_rank"], part["rank"]) == (4, 2)
    assert part["bytes"][1] == part["bytes"][0] / 2
    assert figures["parameters"][1] == small.count_params()
    assert "block_1/value/kernel" in [item["name"] for item in figures["kept as they are"]]
    assert 0 < figures["outputs"]["measured"] <= figures["outputs"]["bound"]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (("--fraction", 0.5), "states"),
        (("--energy", 0.9), "states"),
        (("--tolerance", 100), "states"),
        (("--scores", 0.5), "states"),
        (("--flash", 700, "--ram", 300), "states"),
        (("--energy", 0.5), "matrix"),
    ],
)
def test_every_rule_makes_a_smaller_model(call, model_file, tmp_path, rule, kind):
    result = call("reduce", model_file, tmp_path / "small.keras", *rule, "--kind", kind, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "r.json").read_text())
    assert all(part["kind"] == kind for part in figures["parts"].values())
    assert any(part["rank"] < part["full_rank"] for part in figures["parts"].values())


@pytest.mark.parametrize("method", ["finite_horizon", "h2", "modal", "singular_perturbation"])
def test_methods(call, model_file, tmp_path, method):
    result = call("reduce", model_file, tmp_path / "small.keras", "--rank", 2, "--method", method)
    assert result.exit_code == 0, result.output
    assert method in result.output


def test_method_auto_tells_the_errors_of_all_methods(call, model_file, data_file, tmp_path):
    options = ("--rank", 2, "--method", "auto", "--data", data_file, "--json", tmp_path / "r.json")
    result = call("reduce", model_file, tmp_path / "small.keras", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "r.json").read_text())
    choice = figures["choice"]
    assert figures["method"] == "auto" and choice["errors of"] == "outputs"
    assert choice["error"] <= min(choice["one for all"].values())
    assert "Error of the model's outputs" in result.output
    assert all(method in result.output for method in choice["one for all"])
    x = np.load(data_file)["x"]
    expected = keras_s4.reduce(keras.saving.load_model(model_file), 2, choice["methods"], x)
    small = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(np.asarray(small(x)), np.asarray(expected(x)), rtol=0, atol=1e-6)
    for name, part in figures["parts"].items():
        assert (part["error_bound"] is None) == (choice["methods"][name] != "balanced")


def test_least_error_within_budgets(call, model_file, data_file, tmp_path):
    options = ("--ram", 480, "--least-error", "--data", data_file, "--json", tmp_path / "r.json")
    result = call("reduce", model_file, tmp_path / "small.keras", *options)
    assert result.exit_code == 0, result.output
    parts = json.loads((tmp_path / "r.json").read_text())["parts"]
    model, x = keras.saving.load_model(model_file), np.load(data_file)["x"]
    assert {name: part["rank"] for name, part in parts.items()} == keras_s4.ranks.least_error(model, x, ram=480)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "reduce got none; give exactly one"),
        (("--rank", 2, "--energy", 0.9), "reduce got --rank, --energy"),
        (("--rank", 2, "--flash", 900), "reduce got --rank, --flash"),
        (("--rank", 9), "expected a whole number from 1 to 4"),
        (("--flash", 3), "flash=3"),
        (("--rank", 2, "--method", "input_weighted"), "give data"),
        (("--ram", 480, "--least-error"), "--least-error without --data"),
        (("--rank", 2, "--least-error"), "--least-error with --rank; give budgets"),
    ],
)
def test_refusals(call, model_file, tmp_path, options, message):
    result = call("reduce", model_file, tmp_path / "small.keras", *options)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert not (tmp_path / "small.keras").exists()


def test_name_of_the_result_must_be_a_models(call, model_file, tmp_path):
    result = call("reduce", model_file, tmp_path / "small.h5", "--rank", 2)
    assert result.exit_code == 1
    assert "ends in .keras" in result.output.replace("\n", " ")


def test_a_model_without_a_bound_is_reduced_on_data_and_its_error_measured(call, data_file, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 3)), keras.layers.GRU(6, name="gru"), keras.layers.Dense(4)])
    model.save(tmp_path / "model.keras")
    options = ("--rank", 1, "--data", data_file, "--json", tmp_path / "r.json")
    result = call("reduce", tmp_path / "model.keras", tmp_path / "small.keras", *options)
    assert result.exit_code == 0, result.output
    outputs = json.loads((tmp_path / "r.json").read_text())["outputs"]
    x = np.load(data_file)["x"]
    small = keras.saving.load_model(tmp_path / "small.keras")
    worst = np.abs(small.predict(x, verbose=0) - model.predict(x, verbose=0)).max()
    assert outputs["measured"] == pytest.approx(worst, rel=1e-5)
    assert outputs["bound"] is None and "no rule for GRU 'gru'" in outputs["no bound"]


def test_bounds_are_probable_with_a_calibration(call, model_file, data_file, tmp_path):
    x = np.load(data_file)["x"]
    noise = np.random.default_rng(1).normal(size=(60, *x.shape[1:])).astype("float32")
    np.savez(tmp_path / "known.npz", x=noise[:40])
    np.savez(tmp_path / "asked.npz", x=np.concatenate([noise[40:], 50.0 * noise[:3]]))
    options = ("--rank", 2, "--data", tmp_path / "asked.npz", "--calibration", tmp_path / "known.npz")
    result = call("reduce", model_file, tmp_path / "small.keras", *options, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    outputs = json.loads((tmp_path / "r.json").read_text())["outputs"]
    certain, probable = outputs["kinds"]["certain"], outputs["kinds"]["probable"]
    assert certain["sequences"] + probable["sequences"] == 23 and certain["sequences"] >= 3
    assert 0 < probable["measured"] <= probable["bound"] < certain["bound"] == outputs["bound"]
    assert "probable, 97.6%" in " ".join(result.output.split())


def test_a_calibration_wants_data_and_a_bound(call, model_file, data_file, tmp_path):
    result = call("reduce", model_file, tmp_path / "small.keras", "--rank", 2, "--calibration", data_file)
    assert result.exit_code == 1 and "--calibration without --data" in " ".join(result.output.split())
    np.savez(tmp_path / "few.npz", x=np.load(data_file)["x"][:3])
    options = ("--data", data_file, "--calibration", tmp_path / "few.npz")
    result = call("reduce", model_file, tmp_path / "small.keras", "--rank", 2, *options)
    assert result.exit_code == 1 and "at least 40" in " ".join(result.output.split())
    assert not (tmp_path / "small.keras").exists()
