"""What happens in a trial: a network is begun, or gone on with, trained, judged and kept."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping

import keras

from keras_s4.architecture_search.prices import Prices
from keras_s4.architecture_search.proposals import network_of
from keras_s4.architecture_search.training import Trainer
from keras_s4.architecture_search.trial import NOTHING, REDUCTION, ArchitectureTrial, trial_name
from keras_s4.architectures import Architecture
from keras_s4.compression.layer_states import AUTO
from keras_s4.compression.parts import parts_of
from keras_s4.compression.reduce import reduce
from keras_s4.compression.search.engine import keras_tuner
from keras_s4.compression.search.scoring import Measures, excess
from keras_s4.compression.search.trials import TrialFolder
from keras_s4.compression.search.tuner import run_once

# Methods that look at what the states are excited by.
MEASURING = ("input_weighted", AUTO)
# Methods after which every output sees every input, as a layer with another feedthrough cannot.
CHANGING_FEEDTHROUGH = ("singular_perturbation",)


@dataclasses.dataclass(frozen=True)
class Parents:
    """Large trained networks that those of a search are cut from.

    Args:
        folder: where they are kept.
        states: modes a channel that they have.
        shared_states: modes of those whose channels share them.
        epochs: of their training.
        method: that reduces their states, see `keras_s4.reduce`.
    """

    folder: TrialFolder
    states: int
    shared_states: int
    epochs: int
    method: str

    def of(self, network: Architecture) -> Architecture | None:
        """What a network is cut from; None if it begins from nothing."""
        states = self.shared_states if network.shared_modes else self.states
        if network.kind != "dss" or network.states > states:
            return None
        if network.shared_modes and network.feedthrough != "full" and self.method in CHANGING_FEEDTHROUGH:
            return None
        return dataclasses.replace(network, states=states)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Runs trials and remembers them: one that is finished is never run again.

    Args:
        folder: where trials are written.
        trainer: trains and judges networks.
        prices: what networks take.
        budgets: limits by measure; what is over one is never trained.
        epochs: of a whole training; Hyperband has its own for each trial.
        parents: of networks with states; None if all begin from nothing.
    """

    folder: TrialFolder
    trainer: Trainer
    prices: Prices
    budgets: Mapping[str, float]
    epochs: int
    parents: Parents | None = None

    def run(self, hp: keras_tuner.HyperParameters) -> ArchitectureTrial:
        """The trial of a proposal, from the folder if it is there.

        Raises:
            OSError: it cannot be written.
            Exception: whatever went wrong in it, after that was recorded.
        """
        network = network_of(hp.values)
        epochs, past = hp.values.get("tuner/epochs", self.epochs), hp.values.get("tuner/initial_epoch", 0)
        start = REDUCTION if self._is_cut(network) else NOTHING
        return self._run(self.folder, network, start, past, epochs, self.epochs)

    def _run(
        self, folder: TrialFolder, network: Architecture, start: str, past: int, epochs: int, whole: int
    ) -> ArchitectureTrial:
        """A trial of `epochs` epochs, of which `past` are done, in a training of `whole`."""
        figures = network.figures()
        name, budgets = trial_name(figures, start, epochs), self.budgets if folder is self.folder else {}

        def train() -> tuple[float | None, Measures]:
            measures = self.prices.of(network) or {}
            if measures and excess(measures, budgets) > 0.0:
                return None, measures
            model, done = self._begin(folder, network, start, past, whole)
            self.trainer.train(model, done, epochs)
            metric = self.trainer.judge(model)
            if not math.isfinite(metric):
                raise ArithmeticError(f"the metric is {metric} after training; lower the learning rate")
            folder.save_model(name, model)
            return metric, measures

        def record(metric, measures, seconds, error=None) -> ArchitectureTrial:
            over = excess(measures, budgets) if measures else 0.0
            return ArchitectureTrial(figures, start, epochs, metric, measures, over, seconds, time.time(), error)

        return run_once(folder, name, train, record)

    def _begin(
        self, folder: TrialFolder, network: Architecture, start: str, past: int, whole: int
    ) -> tuple[keras.Model, int]:
        """A compiled network, and how many epochs it was trained for."""
        known = folder.read(trial_name(network.figures(), start, past)) if past else None
        if known is not None and known.metric is not None:
            return folder.load_model(known.name), past
        if start == REDUCTION:
            return self.trainer.compile(self._cut(network), whole), 0
        return self.trainer.new(network, whole), 0

    def _is_cut(self, network: Architecture) -> bool:
        return self.parents is not None and self.parents.of(network) is not None

    def _cut(self, network: Architecture) -> keras.Model:
        """What is left of a large trained network with as many states as a small one has."""
        parents = self.parents
        large = parents.of(network)
        trial = self._run(parents.folder, large, NOTHING, 0, parents.epochs, parents.epochs)
        model = parents.folder.load_model(trial.name)
        keras.utils.set_random_seed(self.trainer.seed)
        ranks = {name: network.states for name in parts_of(model, ("states",))}
        data = self.trainer.samples() if parents.method in MEASURING else None
        return reduce(model, ranks, parents.method, data)
