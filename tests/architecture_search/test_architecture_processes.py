"""Searches over architectures in processes of their own: killed and started again, shared by a chief and workers."""

import functools
import json
import socket
import time

import architecture_worker
import pytest
from worker_processes import LIMIT, ended, process_of, workers_of


@pytest.fixture(scope="module")
def process():
    return process_of(architecture_worker)


@pytest.fixture
def start(process, tmp_path):
    with workers_of(process, architecture_worker, tmp_path) as start:
        yield functools.partial(start, tmp_path)


def trainings(folder):
    return [line.split(" ", 1) for line in architecture_worker.lines(folder / "trainings.log")]


def test_a_killed_search_repeats_the_running_trial_alone(start, tmp_path):
    first = start(3, "hang=4")
    give_up = time.monotonic() + LIMIT
    while len(trainings(tmp_path)) < 4:
        assert first.is_alive() and time.monotonic() < give_up, first.output.read_text()[-3000:]
        time.sleep(0.1)
    first.kill()
    first.join()
    assert len(list((tmp_path / "trials").glob("*.keras"))) == 3

    ended(start(3))
    networks = [network for _, network in trainings(tmp_path)]
    assert networks[4] == networks[3]
    assert len(set(networks)) == len(networks) - 1 == 6
    assert len(json.loads((tmp_path / "search.json").read_text())["trials"]) == 6


def test_a_chief_and_two_workers_share_the_trials(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = [
        start(4, "together=2", KERASTUNER_TUNER_ID=name, **address) for name in ("worker_1", "worker_2", "chief")
    ]
    for process in processes:
        ended(process)
    found = json.loads((tmp_path / "search.json").read_text())
    kinds = [trial["architecture"]["kind"] for trial in found["trials"]]
    assert sorted(kinds) == ["cnn"] * 4 + ["gru"] * 4
    workers, networks = zip(*trainings(tmp_path), strict=True)
    assert set(workers) == {str(process.pid) for process in processes[:2]}
    assert len(set(networks)) == len(networks) == 8
    assert (tmp_path / "model.keras").exists() and (tmp_path / "architecture.json").exists()
