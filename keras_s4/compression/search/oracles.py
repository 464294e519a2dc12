"""keras-tuner's four ways to propose trials, each until its space is exhausted or its time is over."""

from __future__ import annotations

import collections
import math
import time
import warnings
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from keras_s4.compression.search.engine import keras_tuner

Values = dict[str, Any]


class Punctual(keras_tuner.Oracle):
    """Proposes nothing after `deadline`, a time of `time.monotonic`."""

    deadline = math.inf

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """A trial, before the deadline."""
        if time.monotonic() >= self.deadline:
            return {"status": "STOPPED", "values": None}
        return super().populate_space(trial_id)


class _Distinct(Punctual):
    """Proposes no trial twice, and all before it stops.

    Of its own, Bayesian optimisation proposes the best point of a small space again and again, and random search gives
    up when it draws known points a few times in a row. Here the nearest untried point takes the place of a known one.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        response = super().populate_space(trial_id)
        if time.monotonic() >= self.deadline:
            return response
        values = response["values"] or {hp.name: hp.default for hp in self.hyperparameters.space}
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        untried = nearest_untried(self.hyperparameters, values, tried)
        return {"status": "STOPPED" if untried is None else "RUNNING", "values": untried}


class BayesianOracle(_Distinct, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation over distinct points."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """A point that was not tried, likely to be the best."""
        with warnings.catch_warnings():
            # A hyperparameter that hardly matters, or few points: nothing that the user could change.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class RandomOracle(_Distinct, keras_tuner.oracles.RandomSearchOracle):
    """Random search over distinct points."""


class HyperbandOracle(Punctual, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""


class GridOracle(Punctual, keras_tuner.oracles.GridSearchOracle):
    """All points in order."""


TUNERS = ("bayesian", "hyperband", "random", "grid")


def oracle_of(
    tuner: str, space: keras_tuner.HyperParameters, trials: int | None, epochs: int, seed: int
) -> keras_tuner.Oracle:
    """The oracle that `search` asks for trials.

    Args:
        tuner: one of `TUNERS`.
        space: the hyperparameters, each a `Choice`.
        trials: how many at most; None, for grid alone, for all.
        epochs: epochs that Hyperband trains its survivors for.
        seed: a whole number of at least 0.
    """
    # keras-tuner takes a seed of 0 for none. Failures are counted by `TrialTuner`, which says what failed.
    settings = {"hyperparameters": space, "seed": seed + 1, "max_consecutive_failed_trials": 2**31}
    match tuner:
        case "bayesian":
            # Its own rule, three random points a dimension, would leave nothing to learn from in most searches.
            initial = max(3, min(3 * len(space.space), trials // 3))
            oracle = BayesianOracle(max_trials=trials, num_initial_points=initial, **settings)
        case "random":
            oracle = RandomOracle(max_trials=trials, **settings)
        case "grid":
            oracle = GridOracle(max_trials=trials, **settings)
        case "hyperband":
            # Zero iterations stand for any number of them.
            oracle = HyperbandOracle(max_epochs=epochs, hyperband_iterations=0, **settings)
            oracle.max_trials = trials
    oracle.verbose = 0
    return oracle


def nearest_untried(space: keras_tuner.HyperParameters, values: Values, tried: list[Values]) -> Values | None:
    """The point with the fewest steps from `values` that was not tried, or None if all were.

    A step is one hyperparameter moved to a neighbouring choice.
    """
    names = [hp.name for hp in space.space]
    choices = [list(hp.values) for hp in space.space]
    known = {tuple(point[name] for name in names) for point in tried}
    start = tuple(values[name] for name in names)
    queue, seen = collections.deque([start]), {start}
    while queue:
        point = queue.popleft()
        if point not in known:
            return dict(zip(names, point, strict=True))
        for index, options in enumerate(choices):
            position = options.index(point[index])
            for neighbour in options[max(position - 1, 0) : position + 2]:
                moved = (*point[:index], neighbour, *point[index + 1 :])
                if moved not in seen:
                    seen.add(moved)
                    queue.append(moved)
    return None
