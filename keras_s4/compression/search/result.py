"""What a search found: its trials, the best of them, and the front of those that no other one beats."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from rich.table import Table

from keras_s4 import plots
from keras_s4.brief import Brief
from keras_s4.compression.search.conducting import TRIALS
from keras_s4.compression.search.trials import Trial, TrialFolder
from keras_s4.files import json_bytes, write_folder
from keras_s4.tables import text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("search.json", "search.txt", "pareto.svg", "pareto.png")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SearchResult(Brief):
    """The finished trials of a search; printed, a table.

    Args:
        folder: the folder of the search.
        settings: the description of the search, JSON-ready.
        original: the model before any reduction, as a trial of no epochs.
        trials: all trials, in the order in which they ended.
    """

    folder: Path
    settings: dict[str, Any]
    original: Trial
    trials: tuple[Trial, ...]

    @classmethod
    def read(cls, folder: str | Path) -> SearchResult:
        """What was found so far, also while a search is running.

        Raises:
            ValueError: no search was begun in the folder.
        """
        files = TrialFolder(Path(folder) / TRIALS)
        trials = files.all()
        original = next((trial for trial in trials if trial.epochs == 0), None)
        if original is None:
            raise ValueError(f"No search was begun in {folder}; give the folder of one.")
        return cls(Path(folder), files.settings(), original, tuple(trial for trial in trials if trial.epochs))

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.settings["metric"]

    @property
    def measured_by(self) -> str:
        """ "measure", the function that was given, or "weights", where there was none or it cannot take the model."""
        return self.settings["measured_by"]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures; the first is the default cost."""
        return tuple(self.original.measures)

    @property
    def best(self) -> Trial:
        """The best metric within all budgets; of equals, the one with the lower first measure.

        Raises:
            ValueError: no trial is within them; the message names the nearest.
        """
        feasible = self._feasible()
        if feasible:
            return min(feasible, key=lambda trial: (self._loss(trial), trial.measures[self.measures[0]]))
        sound = [trial for trial in self.trials if trial.error is None]
        if not sound:
            raise ValueError("No trial of the search succeeded; the table says what went wrong.")
        nearest = min(sound, key=lambda trial: trial.excess)
        raise ValueError(
            f"None of {len(self.trials)} trials is within {_in_words(self.settings['budgets'])}. The nearest, "
            f"{_in_words(nearest.ranks)}, takes {_in_words(nearest.measures)}; try lower ranks, or raise the budgets."
        )

    def best_model(self, trial: Trial | None = None) -> keras.Model:
        """The trained model of the best trial, or of another one.

        Raises:
            ValueError: there is none, or it was not trained.
        """
        return TrialFolder(self.folder / TRIALS).load_model((trial or self.best).name)

    def pareto(self, cost: str | None = None) -> list[Trial]:
        """The trials within the budgets that no other one beats in both the metric and a cost, cheapest first.

        Args:
            cost: a measure; by default the first.

        Raises:
            ValueError: an unknown measure.
        """
        cost = self._check_cost(cost)
        front: list[Trial] = []
        for trial in sorted(self._feasible(), key=lambda trial: (trial.measures[cost], self._loss(trial))):
            if not front or self._loss(trial) < self._loss(front[-1]):
                front.append(trial)
        return front

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready; the front of each measure by the names of its trials."""
        return {
            "settings": self.settings,
            "original": self.original.figures(),
            "trials": [trial.figures() for trial in self.trials],
            "best": self.best.name if self._feasible() else None,
            "pareto": {cost: [trial.name for trial in self.pareto(cost)] for cost in self.measures},
        }

    def table(self) -> Table:
        """One row a trial, the best metric first; over budget and failed ones at the end."""
        front, best = self.pareto(), self.best if self._feasible() else None
        parts = list(self.original.ranks)
        title = f"Search over ranks: {len(self.trials)} trials, measured by {self.measured_by}"
        table = Table("", *parts, "method", "epochs", self.metric, *self.measures, "seconds", "note", title=title)
        for trial in [self.original, *sorted(self.trials, key=self._order)]:
            mark = "*" if trial is best else "·" if trial in front else ""
            cells = [trial.ranks[part] for part in parts] + [trial.method, trial.epochs]
            metric = "–" if trial.metric is None else f"{trial.metric:.4g}"
            measures = [f"{trial.measures[name]:,}" if trial.measures else "–" for name in self.measures]
            table.add_row(mark, *map(str, cells), metric, *measures, f"{trial.seconds:.1f}", self._note(trial))
        table.caption = "* best, · on the front of " + self.measures[0]
        return table

    def figure(self, cost: str | None = None) -> Figure:
        """The metric of every trained trial against a cost, with the front and the budget."""
        cost = self._check_cost(cost)
        front = self.pareto(cost)
        points = [
            {"metric": t.metric, "cost": t.measures[cost], "feasible": t.feasible, "front": t in front}
            for t in self.trials
            if t.metric is not None
        ]
        original = {"metric": self.original.metric, "cost": self.original.measures[cost]}
        names = (cost.replace("_", " "), self.metric.replace("_", " "))
        return plots.pareto_front(points, original, *names, self.settings["budgets"].get(cost))

    def write(self) -> Path:
        """Writes search.json, the table and the figure into the search's folder, all or none.

        Without matplotlib there is no figure.

        Raises:
            OSError: the folder cannot be written.
        """
        contents = {"search.json": json_bytes(self.figures()), "search.txt": str(self).encode()}
        if plots.can_draw():
            figure = self.figure()
            contents |= {"pareto.svg": plots.draw(figure), "pareto.png": plots.draw(figure, "png")}
        return write_folder(self.folder, contents)

    def __str__(self) -> str:
        return text_of(self.table())

    def _feasible(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.feasible]

    def _loss(self, trial: Trial) -> float:
        return trial.metric if self.settings["direction"] == "min" else -trial.metric

    def _order(self, trial: Trial) -> tuple[bool, float, float]:
        return trial.error is not None, trial.excess, self._loss(trial) if trial.metric is not None else 0.0

    def _note(self, trial: Trial) -> str:
        if trial is self.original:
            return "the model itself"
        if trial.error is not None:
            return trial.error
        return "" if trial.feasible else f"over by {trial.excess:.0%}"

    def _check_cost(self, cost: str | None) -> str:
        cost = cost or self.measures[0]
        if cost not in self.measures:
            raise ValueError(f"cost is {cost!r}; measured were {', '.join(self.measures)}.")
        return cost


def _in_words(values: dict[str, float]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
