"""What came after balanced truncation, on the same tasks and originals, at equal real order.

- H2-optimal reduction to 1/32 of the states (Sakamoto and Sato, arXiv 2507.10078): one mode of 32 a channel, before and
  after a second training.
- Hankel regularisation while training, truncated to a tenth without a second training (Schwerdtner, Berman and
  Peherstorfer, arXiv 2510.22951): 3 modes of 32. Its weight is that of `levers.py`, not searched for here.
- Truncation while training (CompreSSM, arXiv 2510.02823): after a quarter of the steps to 4 modes of 32, then the other
  three quarters. Against it: all steps with 32 modes and then the cut; all steps with 4 modes from Skew-HiPPO.
- LAST (arXiv 2411.02824): modes of all layers ranked together, a third of them kept, the others left out as they are
  (modal truncation), without a second training.
- Ranks by layer (arXiv 2510.14542): 60% fewer parameters of the states, ranks of the least sum of what each layer's
  bound does to the outputs, balanced truncation, without a second training.

Beside each stands ours: by layer the method with the least measured error (`method="auto"`, 200 training pictures), and
where ranks differ by layer those of least measured error (`ranks.least_error`). A mode is a pair of states wherever
it stands, so equal modes are equal real order. Originals are those of `ezoe_sato.py`. The published tasks (Long Range
Arena) are out of reach of two cores; the published numbers are quoted by their abstracts only, and what is compared
here is the method.

A run over takes about half an hour of one core on the JAX backend; an interrupted one continues. The `seeds` of the
settings say how many the committed record has of each task.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, seeds_by_task
from keras_s4.testing.processes import run_apart

STATES = 32
HANKEL = 1e-2
PICTURES = 200
# Claim, its arms in the order of the table; the first is the original as it is, the last one ours.
CLAIMS = {
    "H2 at 1/32": ("original", "balanced_1", "h2_1", "auto_1"),
    "H2 at 1/32, trained again": ("original", "balanced_1_again", "h2_1_again", "auto_1_again"),
    "Hankel regularisation at 1/10": ("original", "balanced_3", "hankel_3", "auto_3"),
    "truncation while training at 1/8": ("original", "balanced_4", "early_4", "hippo_4", "auto_4"),
    "LAST at 1/3": ("original", "uniform_third", "last_third", "ours_third"),
    "ranks by layer, 60% fewer": ("original", "uniform_forty", "layers_forty", "ours_forty"),
}
PUBLISHED = {
    "H2 at 1/32": "h2_1",
    "H2 at 1/32, trained again": "h2_1_again",
    "Hankel regularisation at 1/10": "hankel_3",
    "truncation while training at 1/8": "early_4",
    "LAST at 1/3": "last_third",
    "ranks by layer, 60% fewer": "layers_forty",
}


class Successors:
    """The runs of one task, by its `PictureModels`."""

    def __init__(self, models):
        self.models = models

    def run(self, seed: int) -> dict[str, Any]:
        """Test accuracies of one seed by arm, as fractions."""
        models = self.models
        found = {"original": models.accuracy(f"original-{seed}-{models.steps}", lambda: models.original(seed))}
        makers = {**self._cuts(seed), **self._trainings(seed), **self._by_layer(seed)}
        return found | {arm: models.accuracy(f"{arm}-{seed}", make) for arm, make in makers.items()} | {"seed": seed}

    def pictures(self) -> np.ndarray:
        """Of the training, on which errors are measured."""
        return self.models.task.windows("train")[0][:PICTURES]

    def _cut(self, seed: int, rank: int, method: str):
        from keras_s4 import reduce

        return reduce(
            self.models.original(seed), rank, method=method, data=self.pictures() if method == "auto" else None
        )

    def _cuts(self, seed: int) -> dict[str, Any]:
        makers = {}
        for rank, methods in {1: ("balanced", "h2", "auto"), 3: ("balanced", "auto"), 4: ("balanced", "auto")}.items():
            for method in methods:
                makers[f"{method}_{rank}"] = lambda rank=rank, method=method: self._cut(seed, rank, method)
        for method in ("balanced", "h2", "auto"):
            makers[f"{method}_1_again"] = lambda method=method: self.models.retrain(1, seed, self._cut(seed, 1, method))
        return makers

    def _trainings(self, seed: int) -> dict[str, Any]:
        from keras_s4 import reduce

        return {
            "hankel_3": lambda: reduce(self._with_hankel(seed), 3),
            "early_4": lambda: self._truncated_early(seed),
            "hippo_4": lambda: self.models.train_fresh(4, self.models.steps, seed),
        }

    def _with_hankel(self, seed: int):
        from keras_s4.regularizers import HankelNorm

        penalty = HankelNorm(HANKEL, normalized=True)
        return self.models.train_fresh(STATES, self.models.steps, seed, state_regularizer=penalty)

    def _truncated_early(self, seed: int):
        from keras_s4 import reduce

        models, early = self.models, self.models.steps // 4
        start = models.train_fresh(STATES, early, seed)
        return models.train(4, models.steps - early, models.rate, seed + 1000, reduce(start, 4))

    def _by_layer(self, seed: int) -> dict[str, Any]:
        from keras_s4 import ranks, reduce

        def uniform(share: float):
            model = self.models.original(seed)
            return reduce(model, ranks.uniform(model, fraction=share))

        def last():
            model = self.models.original(seed)
            return reduce(model, ranks.scores(model, 1 / 3), method="modal")

        def layers():
            model = self.models.original(seed)
            return reduce(model, ranks.least_error(model, self.pictures(), ram=_bytes(model, 0.4), of="bound"))

        def ours(share: float):
            model, data = self.models.original(seed), self.pictures()
            chosen = ranks.least_error(model, data, ram=_bytes(model, share), method="auto")
            return reduce(model, chosen, method="auto", data=data)

        return {
            "uniform_third": lambda: uniform(1 / 3),
            "last_third": last,
            "ours_third": lambda: ours(1 / 3),
            "uniform_forty": lambda: uniform(0.4),
            "layers_forty": layers,
            "ours_forty": lambda: ours(0.4),
        }


def _bytes(model, share: float) -> int:
    """RAM of the states that `uniform` leaves at a share of their ranks: equal real order."""
    from keras_s4 import ranks
    from keras_s4.compression import parts_of

    parts = parts_of(model)
    return sum(parts[name].cost(rank).ram for name, rank in ranks.uniform(model, fraction=share, parts=parts).items())


def run_task(name: str, seeds: int, cache: Path, backend: str) -> dict[str, Any]:
    """All runs of a task."""
    os.environ["KERAS_BACKEND"] = backend
    from keras_s4.testing.picture_models import PictureModels

    models = PictureModels(name, cache, STATES)
    runs = Successors(models)
    return {"title": models.title, "runs": [runs.run(seed) for seed in range(seeds)]}


def summarise(tasks: dict[str, Any]) -> list[Figure]:
    """What the published method loses against the original, and ours against it, in points of test accuracy."""
    figures = []
    for task in tasks.values():
        for claim, arms in CLAIMS.items():
            original, theirs, ours = (
                100 * np.array([run[arm] for run in task["runs"]]) for arm in ("original", PUBLISHED[claim], arms[-1])
            )
            title = f"{task['title']}, {claim}"
            figures.append(Figure(f"{title}: lost", float(np.mean(original - theirs)), unit=" points"))
            figures.append(Figure(f"{title}: ours ahead of it", float(np.mean(ours - theirs)), unit=" points"))
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """A table a task: every claim with its arms."""
    found = []
    for task in record["tasks"].values():
        table = Table("claim", "arm", "test, %", "seeds", title=task["title"])
        for claim, arms in CLAIMS.items():
            for arm in arms:
                values = 100 * np.array([run[arm] for run in task["runs"]])
                mark = {PUBLISHED[claim]: " (published)", arms[-1]: " (ours)"}.get(arm, "")
                cells = f"{values.mean():.1f}", f"{values.min():.1f} to {values.max():.1f}"
                table.add_row(claim, arm.replace("_", " ") + mark, *cells)
        found.append(table)
    return found


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Tasks and their seeds.")] = "fashion-rows:3,mnist-pixels:3",
    backend: Annotated[str, typer.Option(help="Of Keras: jax or tensorflow.")] = "jax",
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Successors of balanced truncation and ours, on the same originals."""
    seeds, cache = seeds_by_task(tasks), cache.resolve()
    work = {name: (name, count, cache, backend) for name, count in seeds.items()}
    results = run_apart(run_task, work, jobs)
    settings = {"states": STATES, "seeds": seeds, "backend": backend}
    return Measurement(summarise(results), {"settings": settings, "tasks": results})


EXPERIMENT = Experiment(
    title="Successors of balanced truncation",
    result=Path(__file__).parents[1] / "results" / "successors.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "numpy", "scipy"),
    cache=Path("runs/reproduce_successors"),
    tables=tables,
    needs={"jax": "jax"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
