"""An oracle that asks those of several kinds in turn, and proposes what fits the budgets alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keras_s4.architecture_search.space import SHARE, Point, Space
from keras_s4.architectures import Architecture
from keras_s4.compression.search.engine import keras_tuner
from keras_s4.compression.search.oracles import Punctual, oracle_of

NETWORK = "network"
RUNNING, IDLE, STOPPED = "RUNNING", "IDLE", "STOPPED"
TUNERS = ("bayesian", "hyperband", "random")


class KindsInTurn(Punctual):
    """Proposes as many networks of each kind, by an oracle of keras-tuner for each, one kind after the other.

    What an oracle proposes is moved to the nearest point whose network fits the budgets and was not proposed. The
    network is the value `NETWORK` of a trial, as JSON. Shares of the budgets take turns too: of bayesian and random
    search with every proposal, of Hyperband with every bracket, so that networks compete with those of their size.

    Args:
        tuner: one of `TUNERS`.
        spaces: of each kind.
        trials: of each kind.
        epochs: that Hyperband trains its survivors for.
        seed: a whole number of at least 0.
        shares: of the budgets, in turn.
    """

    def __init__(
        self, tuner: str, spaces: Mapping[str, Space], trials: int, epochs: int, seed: int, shares: Sequence[float]
    ):
        super().__init__(
            hyperparameters=keras_tuner.HyperParameters(),
            max_trials=trials * len(spaces),
            seed=seed + 1,
            max_consecutive_failed_trials=2**31,
        )
        self.verbose = 0
        self._spaces, self._trials, self._shares = dict(spaces), trials, tuple(shares)
        self._oracles = {
            kind: oracle_of(tuner, space.hyperparameters(), trials, epochs, seed) for kind, space in spaces.items()
        }
        for oracle in self._oracles.values():
            oracle.ongoing_trials = self.ongoing_trials
        self._taken: dict[str, set[str]] = {kind: set() for kind in spaces}
        self._exhausted: set[str] = set()
        self._brackets = {
            kind: oracle.get_state()["current_bracket"] + 1
            for kind, oracle in self._oracles.items()
            if tuner == "hyperband"
        }

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> keras_tuner.engine.trial.Trial:
        """A trial; the oracle of its kind learns of it."""
        trial = super().create_trial(tuner_id)
        if trial.status == RUNNING:
            kind = network_of(trial.hyperparameters.values).kind
            self._oracles[kind].trials[trial.trial_id] = trial
        return trial

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """A network of the kind that had the fewest."""
        if time.monotonic() >= self.deadline:
            return {"status": STOPPED, "values": None}
        statuses = set()
        for kind in self._in_turn():
            response = self._propose(kind, trial_id)
            if response["status"] == RUNNING:
                return response
            if response["status"] == STOPPED:
                self._exhausted.add(kind)
            statuses.add(response["status"])
        return {"status": IDLE if IDLE in statuses and self.ongoing_trials else STOPPED, "values": None}

    def _in_turn(self) -> list[str]:
        counts = {kind: len(oracle.trials) for kind, oracle in self._oracles.items()}
        open_ones = [kind for kind in counts if kind not in self._exhausted and counts[kind] < self._trials]
        return sorted(open_ones, key=counts.__getitem__)

    def _propose(self, kind: str, trial_id: str) -> dict[str, Any]:
        response = self._oracles[kind].populate_space(trial_id)
        values = response.get("values")
        if response["status"] != RUNNING or values.get("tuner/initial_epoch"):
            return response  # one that goes on stays what it is
        share = self._share(kind)
        try:
            point, network = self._spaces[kind].nearest(values, share, self._taken[kind])
        except LookupError:
            if kind not in self._brackets:
                return {"status": STOPPED, "values": None}
            # A bracket goes on once it is full; what is known already takes no time.
            point, network = self._spaces[kind].nearest(values, share, ())
        self._taken[kind].add(str(network.figures()))
        return {"status": RUNNING, "values": values | self._values(kind, point, share, network)}

    def _values(self, kind: str, point: Point, share: float, network: Architecture) -> dict[str, Any]:
        return point | {SHARE: self._spaces[kind].share_index(share), NETWORK: json.dumps(network.figures())}

    def _share(self, kind: str) -> float:
        """What part of the budgets the next proposal is to take."""
        if kind not in self._brackets:
            return self._shares[len(self._taken[kind]) % len(self._shares)]
        state, brackets = self._oracles[kind].get_state(), self._brackets[kind]
        begun = state["current_iteration"] * brackets + brackets - 1 - state["current_bracket"]
        return self._shares[begun % len(self._shares)]


def network_of(values: Mapping[str, Any]) -> Architecture:
    """The network of a trial's values."""
    return Architecture.of(json.loads(values[NETWORK]))
