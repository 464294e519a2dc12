"""`keras-s4 tune --architecture`: whole networks, from data alone."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s4.architecture_search.proposals import TUNERS
from keras_s4.architecture_search.trial import STARTS
from keras_s4.architectures import KINDS
from keras_s4.cli.actions import architectures
from keras_s4.cli.architecture_options import Network, Start
from keras_s4.cli.tune import By
from keras_s4.layers import DiagonalSSM, S4Block


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def words(result):
    return " ".join(result.output.replace("│", " ").split())


def test_the_best_network_within_the_budgets(call, data_file, tmp_path, eager):
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    options = ("--architecture", "--by", "random", "--network", "cnn", "--trials", 2, "--epochs", 1, "--rate", 50)
    budgets = ("--budget", "instructions_a_second=200000", "--budget", "flash_bytes=6000")
    result = call("tune", data_file, out, *options, *budgets, "--json", numbers)
    assert result.exit_code == 0, result.output
    found = json.loads(numbers.read_text())
    assert [trial["architecture"]["kind"] for trial in found["trials"]] == ["cnn", "cnn"]
    assert all(trial["measures"]["instructions_a_second"] <= 200_000 for trial in found["trials"])
    assert json.loads((out / "architecture.json").read_text())["name"] == found["best"]
    with np.load(data_file) as data:
        outputs = keras.saving.load_model(out / "model.keras").predict(data["x_validation"], verbose=0)
        accuracy = np.mean(outputs.argmax(axis=1) == data["y_validation"])
    best = next(trial for trial in found["trials"] if trial["name"] == found["best"])
    assert accuracy == pytest.approx(best["metric"])
    assert "Best network: CNN" in result.output
    assert call("tune", data_file, out, *options, *budgets).exit_code == 0


def test_networks_whose_channels_share_their_modes_alone(call, data_file, tmp_path, eager):
    options = ("--architecture", "--by", "random", "--network", "dss", "--trials", 1, "--epochs", 1, "--shared-modes")
    result = call("tune", data_file, tmp_path / "out", *options, "--json", tmp_path / "numbers.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert found["settings"]["spaces"]["dss"]["shared_modes"] == [True]
    assert [trial["architecture"]["shared_modes"] for trial in found["trials"]] == [True]
    model = keras.saving.load_model(tmp_path / "out" / "model.keras")
    blocks = [layer for layer in model.layers if isinstance(layer, S4Block)]
    assert blocks and all(type(block.dss) is DiagonalSSM for block in blocks)


@pytest.mark.parametrize(("option", "modes"), [((), {}), (("--no-shared-modes",), {"dss": {"shared_modes": (False,)}})])
def test_what_is_said_of_shared_modes_is_searched(call, data_file, tmp_path, monkeypatch, option, modes):
    asked = []

    def search(**arguments):
        asked.append(arguments["spaces"])
        raise ValueError("enough")

    monkeypatch.setattr(architectures, "search_architectures", search)
    assert "enough" in call("tune", data_file, tmp_path / "out", "--architecture", *option).output
    assert asked == [modes]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "out", "more", "--architecture"), "expected DATA OUT, or TASK OUT"),
        (("model", "data"), "expected MODEL DATA OUT. For a search over whole networks"),
        (
            ("model", "data", "out", "--network", "gru", "--core", "m0"),
            "--network, --core, which are of --architecture",
        ),
        (("model", "data", "out", "--no-shared-modes"), "--no-shared-modes, which are of --architecture"),
        (
            ("data", "out", "--architecture", "--network", "gru", "--shared-modes"),
            "--shared-modes, which is of dss networks; add --network dss",
        ),
        (("data", "out", "--architecture", "--by", "grid"), "too many networks to try all"),
        (("data", "out", "--architecture", "--by", "rank-tuning"), "Rank-Tuning finds ranks of a trained model"),
        (("data", "out", "--architecture", "--target", 0.9), "--target; these concern the ranks"),
        (("none.npz", "out", "--architecture"), "There is no file"),
        (("no-such-task", "out", "--architecture"), "There is no built-in task 'no-such-task'"),
        (("data", "out", "--architecture", "--budget", "luck=3"), "budgets limits luck; measured are instructions"),
        (("data", "out", "--architecture", "--core", "z80"), "core is 'z80'; the cost model knows"),
        (("data", "out", "--architecture", "--network", "gru", "--budget", "flash_bytes=9"), "network of kind gru"),
    ],
)
def test_refusals(call, model_file, data_file, tmp_path, arguments, message):
    places = {"data": data_file, "model": model_file, "out": tmp_path / "out"}
    result = call("tune", *(places.get(argument, argument) for argument in arguments))
    assert result.exit_code == 1
    assert message in words(result)
    assert not (tmp_path / "out").exists()


def test_choices_of_the_command_are_those_of_the_library():
    """They are written out there, so that `--help` needs no TensorFlow."""
    assert tuple(Network) == KINDS
    assert tuple(Start) == STARTS
    assert set(TUNERS) < set(By)
