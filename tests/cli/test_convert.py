import json
import re

import keras
import numpy as np
import pytest

from keras_s4.tflite.application.projects import KINDS
from keras_s4.tflite.flatbuffer.operators.table import OPERATORS
from keras_s4.tflite.flatbuffer.reader import read_summary
from keras_s4.tflite.verification import comparison


def test_bytes_arena_operators_and_files(call, model_file, data_file, tmp_path):
    result = call("convert", model_file, "--data", data_file, "--out", tmp_path / "fw", "--json", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "c.json").read_text())["manifest"]
    for key in ("tflite_bytes", "arena_bytes", "multiply_accumulates_per_step", "operators"):
        assert f"{manifest[key]:,}" in result.output
    assert "FULLY_CONNECTED" in result.output
    model = (tmp_path / "fw" / "model.tflite").read_bytes()
    assert len(model) == manifest["tflite_bytes"]
    assert set(read_summary(model).operators) <= set(OPERATORS)
    assert json.loads((tmp_path / "fw" / "manifest.json").read_text())["sha256"] == manifest["sha256"]


def test_c_alone_or_with_all_else(call, model_file, data_file, tmp_path):
    folders = "--c", tmp_path / "c", "--out", tmp_path / "fw", "--dss", "custom"
    result = call("convert", model_file, "--data", data_file, *folders)
    assert result.exit_code == 0, result.output
    assert f"C99: {tmp_path / 'c'}" in result.output
    alone, beside = ({path.name: path.read_bytes() for path in (tmp_path / end).iterdir()} for end in ("c", "fw/c99"))
    assert alone == beside
    assert {"model.h", "model.c", "keras_s4_diagonal.c", "keras_s4_diagonal.h"} < set(alone)
    files = json.loads((tmp_path / "fw" / "manifest.json").read_text())["files"]
    assert {f"c99/{name}" for name in alone} | {"firmware/main.c", "tflm_custom/keras_s4_block_op.cc"} < set(files)


def test_a_name_for_firmware_with_several_models(call, model_file, data_file, tmp_path):
    """Both folders are called by it, and can be saved again."""
    options = "--name", "wake", "--out", tmp_path / "fw", "--c", tmp_path / "c"
    for _ in range(2):
        result = call("convert", model_file, "--data", data_file, *options)
        assert result.exit_code == 0, result.output
    assert {"wake.h", "wake.c", "keras_s4_kernels.h", "keras_s4_gates.c"} < {
        path.name for path in (tmp_path / "c").iterdir()
    }
    files = json.loads((tmp_path / "fw" / "manifest.json").read_text())["files"]
    assert {"wake.tflite", "wake_model.cc", "c99/wake.c", "firmware/wake_application.h"} < set(files)
    assert not [name for name in files if "model.tflite" in name or name.startswith("c99/model")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--name", "wake"), "--name wake needs --out FOLDER or --c FOLDER"),
        (("--name", "7th", "--out", "saved"), "Received name='7th'; expected an identifier of C, such as 'model_7th'"),
        (("--name", "board", "--c", "saved"), "Received name='board', which C"),
        (("--name", "std", "--c", "saved"), "Received name='std', which C++"),
    ],
)
def test_names_that_cannot_be_are_refused_before_a_model_is_loaded(call, data_file, tmp_path, options, message):
    result = call("convert", tmp_path / "none.keras", "--data", data_file, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_ready_made_project(call, model_file, data_file, tmp_path):
    result = call("convert", model_file, "--data", data_file, "--out", tmp_path / "saved", "--project", "arduino")
    assert result.exit_code == 0, result.output
    assert f"Project (arduino): {tmp_path / 'saved'}" in result.output
    libraries = {path.parent.name for path in (tmp_path / "saved").glob("*/library.properties")}
    assert len(libraries) == 2 and "keras_s4_kernels" in libraries


def test_a_project_that_decides(call, model_file, data_file, tmp_path):
    settings = {"kind": "class", "every": 20, "classes": ["rest", "left", "right", "up"]}
    (tmp_path / "decision.json").write_text(json.dumps(settings))
    options = (
        "--out",
        tmp_path / "saved",
        "--project",
        "make",
        "--name",
        "wake",
        "--decision",
        tmp_path / "decision.json",
    )
    result = call("convert", model_file, "--data", data_file, *options)
    assert result.exit_code == 0, result.output
    assert "wake_decision_step" in (tmp_path / "saved" / "wake" / "wake_decisions.h").read_text()
    assert '"left"' in (tmp_path / "saved" / "sensor" / "wake_board.c").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "has no settings"),
        ("[1]", "holds a list where an object was expected"),
        ('{"kind": "clas"}', "decision.json: Decision got kind='clas'"),
        ('{"evry": 3}', "decision.json: A decision has no setting evry"),
    ],
)
def test_decisions_that_cannot_be_are_refused_before_a_model_is_loaded(call, data_file, tmp_path, text, message):
    (tmp_path / "decision.json").write_text(text)
    (tmp_path / "model.keras").write_bytes(b"never read")
    options = "--out", tmp_path / "saved", "--decision", tmp_path / "decision.json"
    result = call("convert", tmp_path / "model.keras", "--data", data_file, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "saved", "--project", "arduno"), "Received project='arduno'; expected one of 'arduino', "),
        (("--project", "make"), "--project make needs --out FOLDER"),
        (("--out", "saved", "--project", "make", "--dss", "custom"), "project='make' with dss='custom'"),
    ],
)
def test_projects_that_cannot_be_are_refused_before_a_model_is_loaded(call, data_file, tmp_path, options, message):
    (tmp_path / "model.keras").write_bytes(b"never read")
    options = [tmp_path / option if option == "saved" else option for option in options]
    result = call("convert", tmp_path / "model.keras", "--data", data_file, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "saved").exists()


def test_help_names_every_kind_of_project(call):
    words = set(re.findall(r"[a-z-]+", call("convert", "--help").output))
    assert set(KINDS) <= words


def test_analysis_comes_first(call, model_file, data_file, tmp_path):
    result = call("convert", model_file, "--data", data_file, "--analyse", "--json", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert result.output.index("block_1/dss") < result.output.index("multiply-accumulates")
    analysis = json.loads((tmp_path / "c.json").read_text())["analysis"]
    assert analysis["refusals"] == []
    assert f"{analysis['predicted_db']:.1f}" in result.output


def test_analysis_compares_types_of_activations(call, model_file, data_file, tmp_path):
    call("convert", model_file, "--data", data_file, "--analyse", "--json", tmp_path / "c.json")
    figures = json.loads((tmp_path / "c.json").read_text())
    for given, layers in (("int16", ["block_1"]), ("block_1=int16", ["block_1"])):
        result = call("convert", model_file, "--data", data_file, "--activations", given, "--json", tmp_path / "w.json")
        assert result.exit_code == 0, result.output
        wide = json.loads((tmp_path / "w.json").read_text())["manifest"]
        assert figures["formats"]["together"]["layers"] == layers
        larger = wide["tflite_bytes"] - figures["manifest"]["tflite_bytes"]
        assert figures["formats"]["together"]["tflite_bytes"] == larger


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["block_9=int16"], "layers 'block_9'"),
        (["float16"], "activations 'float16'; expected 'int8' or 'int16'"),
        (["int16", "block_1=int8"], "expected one type for all layers, or LAYER=TYPE each time"),
    ],
)
def test_unknown_types_and_layers_are_refused(call, model_file, data_file, given, message):
    options = [part for entry in given for part in ("--activations", entry)]
    result = call("convert", model_file, "--data", data_file, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_weights_of_4_bits(call, model_file, data_file, tmp_path):
    """Of all layers that can have them, and by layer; and what has none is refused."""
    for given in ("int4", "block_1=int4"):
        folder = tmp_path / given
        result = call("convert", model_file, "--data", data_file, "--weights", given, "--c", folder)
        assert result.exit_code == 0, result.output
        assert (folder / "model.c").read_text().count("const s4_dense_packed ") == 2
    result = call("convert", model_file, "--data", data_file, "--weights", "int4", "--weights", "block_1=int8")
    assert (result.exit_code, "--weights got int4, block_1=int8" in result.output) == (1, True)


def test_blocks_of_steps_and_states_inside(call, model_file, data_file, tmp_path):
    options = ("--steps", "4", "--states", "variables", "--json", tmp_path / "c.json", "--out", tmp_path / "fw")
    result = call("convert", model_file, "--data", data_file, "--analyse", *options)
    assert result.exit_code == 0, result.output
    assert "Warning: No signal-to-noise ratio is predicted: the program takes 4 steps at once." in result.output
    manifest = json.loads((tmp_path / "c.json").read_text())["manifest"]
    assert manifest["states_kept_as"] == "variables"
    summary = read_summary((tmp_path / "fw" / "model.tflite").read_bytes())
    assert len(summary.variables) == 2
    assert summary.tensors[summary.inputs[0]].shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "0"), "Error: convert received steps=0; expected a whole number, 1 or more."),
        (("--steps", "3"), "Error: The model averages over windows of 20 steps, which end inside a block of 3"),
        (("--states", "outside"), "Error: Received states='outside'; expected one of 'inputs', 'variables'."),
    ],
)
def test_unknown_steps_and_states_are_refused(call, model_file, data_file, options, message):
    result = call("convert", model_file, "--data", data_file, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_verification_shows_what_each_layer_loses(call, model_file, data_file, tmp_path):
    options = ("--verify", data_file, "--json", tmp_path / "c.json")
    result = call("convert", model_file, "--data", data_file, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "c.json").read_text())["verification"]
    assert found["bit_exact"] is True
    assert f"equal in all {32 * 20} steps" in result.output
    assert {"encoder", "block_1", "block_1/dss", "head"} <= set(found["layers"])
    for layer, ratio in found["layers"].items():
        assert re.search(rf"^{layer} +{ratio:.1f}$", result.output, re.MULTILINE)


def test_a_file_that_differs_from_its_program_is_not_saved(call, model_file, data_file, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "find_first_difference", lambda *arguments: (0, 0, "head/product[1] is another"))
    result = call("convert", model_file, "--data", data_file, "--verify", data_file, "--out", tmp_path / "fw")
    assert result.exit_code == 1
    assert "Error: The program differs between its engines: head/product[1] is another" in result.output
    assert not (tmp_path / "fw").exists()


def test_a_model_that_cannot_work_is_refused_and_not_saved(call, data_file, tmp_path):
    """Weights of which one is so large that 8 bits leave nothing of the others."""
    kernel = np.full((3, 4), 1e-3)
    kernel[0] = 1.0
    model = keras.Sequential([keras.Input((20, 3)), keras.layers.Dense(4, name="head")])
    model.layers[0].set_weights([kernel, np.zeros(4)])
    model.save(tmp_path / "model.keras")
    x = np.load(data_file)["x"].copy()
    x[..., 0] = 0.0
    np.savez(tmp_path / "data.npz", x=x)
    options = ("--data", tmp_path / "data.npz", "--out", tmp_path / "fw", "--analyse", "--json", tmp_path / "c.json")
    result = call("convert", tmp_path / "model.keras", *options)
    assert result.exit_code == 1
    assert "Error: The output's predicted signal-to-noise ratio is" in result.output
    assert "comes from coefficients" in result.output
    assert not (tmp_path / "fw").exists()
    assert json.loads((tmp_path / "c.json").read_text())["analysis"]["refusals"]


def test_list_needs_no_model(call, tmp_path):
    result = call("convert", "--list", "--json", tmp_path / "l.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "l.json").read_text())
    assert {"DSS", "S4Block", "Dense"} <= set(found["layers"])
    assert set(found["operators"]) == set(OPERATORS)
    for name, operator in OPERATORS.items():
        assert name in result.output
        assert operator.registration in result.output


@pytest.mark.parametrize("arguments", [(), ("--analyse",), ("model.keras",)])
def test_what_is_missing_is_named(call, arguments):
    result = call("convert", *arguments)
    assert result.exit_code == 1
    assert "needs a model and --data FILE.npz with inputs x; or --list" in result.output


def test_a_layer_that_cannot_be_converted_is_one_message(call, data_file, tmp_path):
    model = keras.Sequential([keras.Input((20, 3)), keras.layers.Conv1D(2, 3, padding="same", name="looks_ahead")])
    model.save(tmp_path / "model.keras")
    result = call("convert", tmp_path / "model.keras", "--data", data_file)
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert "looks_ahead" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y + 1, "got classes from 1 to 4; the model knows 4, from 0 to 3"),
        (lambda y: np.zeros((len(y), len(y))), "targets of shape [32, 32] for outputs of shape [32, 4]"),
        (lambda y: y + 0.5, "no whole numbers"),
    ],
)
def test_labels_of_verify_are_looked_at_before_the_conversion(
    call, model_file, data_file, tmp_path, change, message, monkeypatch
):
    monkeypatch.setattr("keras_s4.tflite.convert", lambda *_: pytest.fail("it converted"), raising=False)
    data = dict(np.load(data_file))
    np.savez(tmp_path / "verify.npz", x=data["x"], y=change(data["y"]))
    result = call("convert", model_file, "--data", data_file, "--verify", tmp_path / "verify.npz")
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_program_that_does_not_do_what_the_model_does_is_not_saved(call, model_file, data_file, tmp_path):
    """Calibrated on recordings a thousand times too small."""
    data = dict(np.load(data_file))
    np.savez(tmp_path / "small.npz", x=data["x"] / 1000)
    folders = "--verify", data_file, "--out", tmp_path / "fw"
    result = call("convert", model_file, "--data", tmp_path / "small.npz", *folders)
    assert result.exit_code == 1
    assert "The program does not do what the model does. Output head: device against Keras: WRONG" in result.output
    assert not (tmp_path / "fw").exists()
