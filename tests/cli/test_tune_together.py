"""One search by several processes, each `keras-s4 tune` with keras-tuner's variables."""

import json
import socket
import time

import keras
import pytest
import tune_worker
from worker_processes import LIMIT, process_of, workers_of

from keras_s4.cli.tune import CHIEF_LIMIT, _limit_of


@pytest.fixture
def start(tmp_path):
    with workers_of(process_of(tune_worker), tune_worker, tmp_path) as start:
        yield start


def test_a_chief_and_two_workers_share_a_search(start, model_file, data_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free.getsockname()[1])}
    options = ("--by", "random", "--trials", 4, "--epochs", 1, "--time-limit", LIMIT)
    command = ("tune", model_file, data_file, tmp_path / "out", *options)
    named = {name: start(*command, KERASTUNER_TUNER_ID=name, **address) for name in ("left", "right", "chief")}
    give_up = time.monotonic() + LIMIT
    for process in named.values():
        process.join(max(1.0, give_up - time.monotonic()))
        assert process.exitcode == 0, process.output.read_text()[-3000:]
    found = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert len(found["trials"]) == 4
    assert len({json.dumps(trial["ranks"]) for trial in found["trials"]}) == 4
    assert keras.saving.load_model(tmp_path / "out" / "model.keras").count_params() > 0
    for name in ("left", "right"):
        assert f"Worker {name} is done; the chief writes the result" in named[name].output.read_text()
    assert "Model: " in named["chief"].output.read_text()


def test_a_chief_does_not_wait_for_ever(monkeypatch):
    assert _limit_of(None) is None
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert _limit_of(None) == CHIEF_LIMIT
    assert _limit_of(60.0) == 60.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "random", "--time-limit", 0), "expected seconds, more than 0"),
        (("--by", "random", "--time-limit", "nan"), "expected seconds, more than 0"),
        (("--time-limit", 5), "knows no --time-limit"),
    ],
)
def test_impossible_limits_are_refused(call, model_file, data_file, tmp_path, options, message):
    result = call("tune", model_file, data_file, tmp_path, *options)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_half_of_the_variables_are_refused_before_anything_is_tried(call, model_file, data_file, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    result = call("tune", model_file, data_file, tmp_path / "out", "--by", "random", "--trials", 1)
    assert result.exit_code == 1
    assert "KERASTUNER_ORACLE_IP is set, but not KERASTUNER_TUNER_ID" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
