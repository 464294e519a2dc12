"""What an architecture search found: its trials, the fronts that no other one beats, and the network for a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from rich.table import Column, Table

from keras_s4 import plots
from keras_s4.architecture_search.trial import NOTHING, ArchitectureTrial
from keras_s4.architectures import Architecture
from keras_s4.brief import Brief
from keras_s4.compression.search.conducting import TRIALS
from keras_s4.compression.search.scoring import excess
from keras_s4.compression.search.trials import TrialFolder
from keras_s4.files import json_bytes, write_folder
from keras_s4.tables import text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, ARCHITECTURE = "model.keras", "architecture.json"
# What is added to the kind of networks whose channels share their modes.
SHARED = ", shared modes"
FILES = ("search.json", "search.txt", "pareto.svg", "pareto.png", ARCHITECTURE, MODEL)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ArchitectureResult(Brief):
    """The finished trials of an architecture search; printed, a table.

    Args:
        folder: the folder of the search.
        settings: what was searched, JSON-ready.
        trials: all trials, in the order in which they ended; of a network that was stopped and gone on with, each.
    """

    folder: Path
    settings: dict[str, Any]
    trials: tuple[ArchitectureTrial, ...]

    @classmethod
    def read(cls, folder: str | Path) -> ArchitectureResult:
        """What was found so far, also while a search is running.

        Raises:
            ValueError: no architecture search was begun in the folder.
        """
        files = TrialFolder(Path(folder) / TRIALS, ArchitectureTrial)
        if not files.is_begun or "spaces" not in files.settings():
            raise ValueError(f"No architecture search was begun in {folder}; give the folder of one.")
        return cls(Path(folder), files.settings(), tuple(files.all()))

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.settings["metric"]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of what networks take; the first is the default cost."""
        return tuple(self.settings["measures"])

    @property
    def best(self) -> ArchitectureTrial:
        """The best metric within all budgets; of equals, the one with the lower first measure.

        Raises:
            ValueError: no trial succeeded within them.
        """
        return self.best_within({})

    def best_within(self, budgets: Mapping[str, float]) -> ArchitectureTrial:
        """The best metric within tighter budgets than those of the search.

        Args:
            budgets: limits by measure.

        Raises:
            ValueError: an unknown measure; no trial is within the limits.
        """
        for name in budgets:
            self._check_cost(name)
        within = [trial for trial in self._trained() if excess(trial.measures, budgets) == 0.0]
        if within:
            return min(within, key=lambda trial: (self._loss(trial), trial.measures[self.measures[0]]))
        if not self._trained():
            raise ValueError("No trial of the search succeeded; the table says what went wrong.")
        nearest = min(self._trained(), key=lambda trial: excess(trial.measures, budgets))
        raise ValueError(
            f"None of {len(self._trained())} networks is within {_in_words(budgets)}. The nearest, {nearest.network}, "
            f"takes {_in_words(nearest.measures)}; raise the budgets, or search under them."
        )

    def best_model(self, trial: ArchitectureTrial | None = None) -> keras.Model:
        """The trained model of the best trial, or of another one.

        Raises:
            ValueError: there is none, or it was not trained.
        """
        return TrialFolder(self.folder / TRIALS, ArchitectureTrial).load_model((trial or self.best).name)

    def pareto(self, cost: str | None = None) -> list[ArchitectureTrial]:
        """The trials within the budgets that no other one beats in both the metric and a cost, cheapest first.

        Args:
            cost: a measure; by default the first.

        Raises:
            ValueError: an unknown measure.
        """
        cost = self._check_cost(cost or self.measures[0])
        front: list[ArchitectureTrial] = []
        for trial in sorted(self._trained(), key=lambda trial: (trial.measures[cost], self._loss(trial))):
            if not front or self._loss(trial) < self._loss(front[-1]):
                front.append(trial)
        return front

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready; the front of each cost by the names of its trials."""
        return {
            "settings": self.settings,
            "trials": [trial.figures() for trial in self.trials],
            "best": self.best.name if self._trained() else None,
            "pareto": {cost: [trial.name for trial in self.pareto(cost)] for cost in self.measures},
        }

    def table(self) -> Table:
        """One row a network, the best metric first; of one that was gone on with, the longest training."""
        best = self.best if self._trained() else None
        fronts = {cost: {trial.name for trial in self.pareto(cost)} for cost in self.measures}
        costs = [cost.replace("_", " ") for cost in self.measures]
        title = f"Search over networks: {len(self.trials)} trials on {self.settings['measured_by']}"
        network = Column("network", no_wrap=True)
        table = Table("", network, "epochs", self.metric, *costs, "seconds", "note", title=title)
        for trial in sorted(self._longest(), key=self._order):
            mark = "*" if trial is best else "·" if any(trial.name in front for front in fronts.values()) else ""
            metric = "–" if trial.metric is None else f"{trial.metric:.4g}"
            measures = [f"{trial.measures[name]:,.0f}" if trial.measures else "–" for name in self.measures]
            row = (mark, _described(trial), str(trial.epochs), metric, *measures, f"{trial.seconds:.1f}")
            table.add_row(*row, self._note(trial))
        left_out = [f"{kind} is left out: {why}" for kind, why in self.settings["left_out"].items()]
        table.caption = "\n".join(["* best, · on the front of a cost", *left_out])
        return table

    def figure(self) -> Figure:
        """The metric of every trained network against each cost, with the front and the budget."""
        panels = []
        for cost in self.measures:
            front = {trial.name for trial in self.pareto(cost)}
            points = [
                {
                    "cost": trial.measures[cost],
                    "metric": trial.metric,
                    "kind": _family(trial.network),
                    "front": trial.name in front,
                }
                for trial in self._trained()
            ]
            panels.append((cost.replace("_", " "), points, self.settings["budgets"].get(cost)))
        found = {_family(trial.network) for trial in self._trained()}
        families = [name for kind in self.settings["spaces"] for name in (kind, f"{kind}{SHARED}")]
        shown = [name for name in families if name in found or not name.endswith(SHARED)]
        return plots.fronts_of_kinds(panels, self.metric.replace("_", " "), shown)

    def write(self) -> Path:
        """Writes tables, numbers, the figure, and the best network with its model into the folder, all or none.

        Without matplotlib there is no figure, and where no trial succeeded no network.

        Raises:
            OSError: the folder cannot be written.
        """
        contents = {"search.json": json_bytes(self.figures()), "search.txt": str(self).encode()}
        if plots.can_draw() and self._trained():
            figure = self.figure()
            contents |= {"pareto.svg": plots.draw(figure), "pareto.png": plots.draw(figure, "png")}
        if self._trained():
            best = self.best
            contents[ARCHITECTURE] = json_bytes(best.figures())
            contents[MODEL] = (self.folder / TRIALS / f"{best.name}.keras").read_bytes()
        return write_folder(self.folder, contents)

    def __str__(self) -> str:
        return text_of(self.table())

    def _trained(self) -> list[ArchitectureTrial]:
        return [trial for trial in self.trials if trial.feasible and trial.metric is not None]

    def _longest(self) -> list[ArchitectureTrial]:
        """Of each network and start the trial with the longest training."""
        found: dict[str, ArchitectureTrial] = {}
        for trial in sorted(self.trials, key=lambda trial: (trial.error is None, trial.epochs)):
            found[f"{trial.start} {sorted(trial.architecture.items())}"] = trial
        return list(found.values())

    def _loss(self, trial: ArchitectureTrial) -> float:
        return trial.metric if self.settings["direction"] == "min" else -trial.metric

    def _order(self, trial: ArchitectureTrial) -> tuple[bool, float, float]:
        return trial.error is not None, trial.excess, self._loss(trial) if trial.metric is not None else 0.0

    def _note(self, trial: ArchitectureTrial) -> str:
        if trial.error is not None:
            return trial.error
        if not trial.feasible:
            return f"over by {trial.excess:.0%}, not trained"
        return "stopped" if trial.epochs < self.settings["epochs"] else ""

    def _check_cost(self, cost: str) -> str:
        if cost not in self.measures:
            raise ValueError(f"cost is {cost!r}; measured were {', '.join(self.measures)}.")
        return cost


def _family(network: Architecture) -> str:
    """What has a colour of its own."""
    return network.kind + (SHARED if network.kind == "dss" and network.shared_modes else "")


def _described(trial: ArchitectureTrial) -> str:
    return str(trial.network) if trial.start == NOTHING else f"{trial.network}, cut"


def _in_words(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:,.0f}" for name, value in values.items()) or "the budgets of the search"
