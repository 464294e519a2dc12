"""Searches in processes of their own: killed and started again, and shared by a chief and workers."""

import functools
import json
import socket
import time

import pytest
import search_worker
from worker_processes import LIMIT, ended, process_of, workers_of


@pytest.fixture(scope="module")
def process():
    return process_of(search_worker)


@pytest.fixture
def start(process, tmp_path):
    with workers_of(process, search_worker, tmp_path) as start:
        yield functools.partial(start, tmp_path)


def trainings(folder):
    return [line.split(" ", 1) for line in search_worker.lines(folder / "trainings.log")]


def test_a_killed_search_repeats_the_running_trial_alone_and_ends_as_if_nothing_had_happened(start, tmp_path):
    # Two proposals after three random ones come from Bayesian optimisation, whose random state must be restored.
    first = start("bayesian", 5, "hang=3")
    give_up = time.monotonic() + LIMIT
    while len(trainings(tmp_path)) < 3:
        assert first.is_alive() and time.monotonic() < give_up, first.output.read_text()[-3000:]
        time.sleep(0.1)
    first.kill()
    first.join()
    assert len(list((tmp_path / "trials").glob("*.keras"))) == 2

    ended(start("bayesian", 5))
    models = [model for _, model in trainings(tmp_path)]
    assert models[3] == models[2]
    assert len(set(models)) == len(models) - 1

    uninterrupted = search_worker.run(tmp_path / "again", "bayesian", 5)
    resumed = json.loads((tmp_path / "search.json").read_text())
    assert [trial["ranks"] for trial in resumed["trials"]] == [trial.ranks for trial in uninterrupted.trials]
    assert not (tmp_path / ".keras-tuner" / "alone").exists()


def test_a_chief_and_two_workers_share_the_trials(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = [
        start("random", 6, "together=2", KERASTUNER_TUNER_ID=name, **address)
        for name in ("worker_1", "worker_2", "chief")
    ]
    for process in processes:
        ended(process)
    found = json.loads((tmp_path / "search.json").read_text())
    assert len(found["trials"]) == 6
    workers, models = zip(*trainings(tmp_path), strict=True)
    assert set(workers) == {str(process.pid) for process in processes[:2]}
    assert len(set(models)) == len(models) == sum(trial["metric"] is not None for trial in found["trials"])
