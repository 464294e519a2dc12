"""How trials are proposed, resumed and failed, on an experiment that needs no model."""

import dataclasses
import itertools
import math
import threading
import time

import keras_tuner
import pytest

from keras_s4.compression.search import Trial, distribution, oracles
from keras_s4.compression.search.oracles import TUNERS, nearest_untried, oracle_of
from keras_s4.compression.search.trials import TrialFolder, trial_name
from keras_s4.compression.search.tuner import MOST_FAILURES, SearchStoppedError, TrialTuner

RANKS = (1, 2, 4, 8)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv("KERASTUNER_ORACLE_IP", raising=False)


def space(ranks=RANKS):
    hyperparameters = keras_tuner.HyperParameters()
    for name in ("a", "b"):
        hyperparameters.Choice(name, list(ranks))
    return hyperparameters


@dataclasses.dataclass
class Bowl:
    """The metric is least at a = 4, b = 2 and falls with the epochs; b = 8 is over a budget."""

    folder: TrialFolder
    fails: object = lambda number: None

    def __post_init__(self):
        self.ran = []

    def run(self, hp):
        ranks = {name: hp.values[name] for name in ("a", "b")}
        epochs = hp.values.get("tuner/epochs", 2)
        known = self.folder.read(trial_name(ranks, "balanced", epochs))
        if known:
            return known
        self.ran.append((*ranks.values(), epochs))
        self.fails(len(self.ran))
        metric = (math.log2(ranks["a"]) - 2) ** 2 + (math.log2(ranks["b"]) - 1) ** 2 + 1 / epochs
        over = 1.0 if ranks["b"] == 8 else 0.0
        trial = Trial(ranks, "balanced", epochs, metric, {"bytes": 1}, over, 0.0, time.time())
        self.folder.write(trial)
        return trial


def searched(folder, tuner, trials, fails=lambda number: None, epochs=4, deadline=math.inf, ranks=RANKS):
    """The points that a search runs, in order, and what it raised."""
    bowl, error = Bowl(TrialFolder(folder / "trials"), fails), None
    oracle = oracle_of(tuner, space(ranks), trials, epochs, seed=0)
    oracle.deadline = deadline
    try:
        TrialTuner(oracle, bowl, "min", folder / "own").search()
    except (KeyboardInterrupt, SearchStoppedError) as caught:
        error = caught
    return bowl.ran, error


@pytest.mark.parametrize("tuner", TUNERS)
def test_no_trial_is_repeated(tuner, tmp_path):
    ran, _ = searched(tmp_path, tuner, 6)
    assert len(ran) == len(set(ran)) == 6


# Bayesian optimisation takes a second a proposal.
@pytest.mark.parametrize(("tuner", "ranks"), [("bayesian", RANKS[:2]), ("random", RANKS), ("grid", RANKS)])
def test_a_small_space_is_searched_to_its_end(tuner, ranks, tmp_path):
    ran, _ = searched(tmp_path, tuner, 100, ranks=ranks)
    assert sorted(ran) == [(a, b, 2) for a, b in itertools.product(ranks, ranks)]


@pytest.mark.parametrize(("tuner", "trials"), [("bayesian", 5), ("hyperband", 9), ("random", 9), ("grid", 9)])
def test_a_stopped_search_goes_on_where_it_was(tuner, trials, tmp_path):
    def interrupt(number):
        if number == trials - 1:
            raise KeyboardInterrupt

    whole, _ = searched(tmp_path / "whole", tuner, trials)
    before, error = searched(tmp_path / "stopped", tuner, trials, interrupt)
    assert isinstance(error, KeyboardInterrupt)
    after, _ = searched(tmp_path / "stopped", tuner, trials)
    assert before[:-1] + after == whole


def test_more_trials_go_on_from_a_search_that_ended(tmp_path):
    whole, _ = searched(tmp_path / "whole", "random", 9)
    parts = [searched(tmp_path / "parts", "random", trials)[0] for trials in (4, 9)]
    assert parts[0] + parts[1] == whole


def test_bayesian_optimisation_finds_the_best_point_early(tmp_path):
    ran, _ = searched(tmp_path, "bayesian", 8)
    assert (4, 2, 2) in ran


def test_hyperband_trains_the_better_ones_on(tmp_path):
    ran, _ = searched(tmp_path, "hyperband", 30, epochs=9)
    longest = [point for point in ran if point[2] == 9]
    first = [point for point in ran if point[2] == 1]
    assert first and longest and len(longest) < len(first)
    assert all(b != 8 for _, b, _ in longest[:1])


def test_a_failing_trial_does_not_end_the_search(tmp_path):
    def fail(number):
        if number in (2, 4, 5):
            raise ValueError("unlucky")

    ran, error = searched(tmp_path, "random", 8, fail)
    assert error is None
    assert len(ran) == 8


def test_failures_in_a_row_end_it_with_the_error(tmp_path):
    def fail(number):
        if number >= 3:
            raise ValueError(f"mistake {number}")

    ran, error = searched(tmp_path, "random", 9, fail)
    assert len(ran) == 2 + MOST_FAILURES
    assert isinstance(error.__cause__, ValueError)
    assert str(error.__cause__) == "mistake 5"


def test_a_full_disk_ends_it_at_once(tmp_path):
    def fail(number):
        raise OSError(28, "No space left on device")

    ran, error = searched(tmp_path, "random", 9, fail)
    assert len(ran) == 1
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize("tuner", TUNERS)
def test_after_the_time_limit_no_trial_is_begun(tuner, tmp_path):
    assert searched(tmp_path, tuner, 9, deadline=time.monotonic())[0] == []


def test_the_nearest_untried_point():
    everything = [dict(a=a, b=b) for a, b in itertools.product(RANKS, RANKS)]
    at = {"a": 2, "b": 2}
    assert nearest_untried(space(), at, []) == at
    near = nearest_untried(space(), at, [at])
    assert sum(abs(RANKS.index(near[name]) - RANKS.index(at[name])) for name in at) == 1
    assert nearest_untried(space(), at, everything[:-1]) == everything[-1]
    assert nearest_untried(space(), at, everything) is None


def test_keras_tuner_still_repeats_points_of_its_own(tmp_path):
    """Why the oracles are wrapped; once this fails the wrapping can go."""
    oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=100, hyperparameters=space(), seed=1)
    oracle.verbose = 0
    bowl = Bowl(TrialFolder(tmp_path / "trials"))
    TrialTuner(oracle, bowl, "min", tmp_path / "own").search()
    assert len(bowl.ran) < len(RANKS) ** 2
    assert issubclass(oracles.RandomOracle, keras_tuner.oracles.RandomSearchOracle)


class Server:
    """A chief's tuner that serves until it is released, and whose worker never comes back."""

    def __init__(self, search=None):
        self.released, self.is_done = threading.Event(), False
        self.search = search or self.serve
        self.oracle = keras_tuner.oracles.RandomSearchOracle(hyperparameters=space())
        self.oracle.start_order, self.oracle.tuner_ids, self.oracle.ongoing_trials = ["0"], {"w"}, {"w": None}

    def serve(self):
        self.released.wait(20)
        self.is_done = True


@pytest.fixture
def server():
    server = Server()
    yield server
    server.released.set()


def test_a_chief_does_not_wait_for_a_dead_worker_longer_than_its_limit(server):
    distribution.lead(server, time.monotonic() + 0.3)
    assert not server.is_done


def test_a_chief_waits_for_a_worker_within_its_limit(server):
    start = time.monotonic()
    distribution.lead(server, start + 0.3)
    assert time.monotonic() >= start + 0.3


def test_a_chief_leaves_when_all_workers_were_told(server, monkeypatch):
    monkeypatch.setattr(distribution, "FAREWELL", 0.0)
    server.oracle.tuner_ids, server.oracle.ongoing_trials = set(), {}
    distribution.lead(server, math.inf)
    assert not server.is_done


def test_a_chief_that_cannot_serve_says_so():
    def taken():
        raise RuntimeError("Failed to bind to address")

    with pytest.raises(RuntimeError, match="cannot serve its workers: Failed to bind"):
        distribution.lead(Server(taken), math.inf)


def test_a_worker_without_a_chief_gives_up(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setattr(distribution, "PATIENCE", 0.0)
    with pytest.raises(ConnectionError, match=r"No chief answers at 127\.0\.0\.1:1 .*finished trials are kept"):
        distribution.await_chief()


def test_half_an_address_is_refused(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.delenv("KERASTUNER_ORACLE_PORT", raising=False)
    monkeypatch.delenv("KERASTUNER_TUNER_ID", raising=False)
    with pytest.raises(ValueError, match="not KERASTUNER_TUNER_ID and KERASTUNER_ORACLE_PORT"):
        distribution.role()
