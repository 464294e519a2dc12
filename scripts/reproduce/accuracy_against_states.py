"""Test accuracy against the number of states, for every method of reduction, with and without retraining.

Originals are those of `ezoe_sato.py` (32 modes a channel, same seeds, same cache), reduced to a half, a
quarter, ... of their states by each method, tested, trained again by one recipe for all, and tested again. The best
method is the one with the best accuracy on validation data, over all fractions and seeds; what it reaches is told on
test data. On the smartwatch recordings, seed and fold of test people go together.

A run over takes about an hour on two cores; interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json, seeds_by_task
from keras_s4.testing.processes import run_apart

STATES, RANKS = 32, (16, 8, 4, 2, 1)
METHODS = ("balanced", "finite_horizon", "input_weighted", "singular_perturbation", "h2", "modal")
LEARNING_RATE, RETRAIN_LEARNING_RATE = 1e-2, 5e-3
# Sequences whose spectrum guides the input-weighted truncation.
GUIDING = 256


class Runs:
    """The runs of one task; what was finished before is not computed again."""

    def __init__(self, name: str, cache: Path, originals: Path):
        from keras_s4.testing.sequence_tasks import TASKS, Trainer, use_one_thread

        use_one_thread()
        self.task = TASKS[name]
        self.cache = cache / name
        self.originals = originals / name
        self.trainers = {rank: Trainer(self.task, rank) for rank in RANKS}

    def run(self, seed: int) -> dict:
        """Validation and test accuracies of one seed."""
        original = self.original(seed)
        found = {"seed": seed, "original": self._accuracies(f"original-{seed}", seed, lambda: original)}
        for rank in RANKS:
            for method in METHODS:
                found[f"{method}-{rank}"] = self._run_reduction(original, method, rank, seed)
        return found

    def original(self, seed: int):
        """The trained model of `ezoe_sato.py`, from its cache or trained now."""
        import keras

        from keras_s4.files import write_model
        from keras_s4.testing.sequence_tasks import Trainer

        path = self.originals / f"original-{seed}-{self.task.steps}.keras"
        if not path.exists():
            write_model(path, Trainer(self.task, STATES).train(seed, self.task.steps, LEARNING_RATE, seed))
        return keras.saving.load_model(path)

    def _run_reduction(self, original, method: str, rank: int, seed: int) -> dict:
        from keras_s4 import reduce

        trainer, name = self.trainers[rank], f"{method}-{rank}-{seed}"
        options = {"horizon": self.task.input_shape[0]} if method == "finite_horizon" else {}
        if method == "input_weighted":
            options["data"] = self.task.batches(seed, -(-GUIDING // self.task.batch_size))[0]

        @functools.cache
        def reduced():
            return reduce(original, rank, method=method, **options)

        def retrained():
            return trainer.train(reduced(), self.task.steps, RETRAIN_LEARNING_RATE, seed + 1000)

        return {
            "reduced": self._accuracies(f"reduced-{name}", seed, lambda: trainer.holding(reduced())),
            "retrained": self._accuracies(f"retrained-{name}", seed, retrained),
        }

    def _accuracies(self, name: str, seed: int, make) -> dict:
        """Accuracies of what `make` returns, from a file where there is one."""
        from keras_s4.testing.sequence_tasks import accuracy

        def compute() -> dict:
            model = make()
            return {part: accuracy(model, self.task.evaluation(part, seed)) for part in ("validation", "test")}

        return cache_json(self.cache / f"{name}.json", compute)


def run_task(name: str, seeds: int, cache: Path, originals: Path) -> dict:
    """All runs of a task."""
    runs = Runs(name, cache, originals)
    return {"title": runs.task.title, "runs": [runs.run(seed) for seed in range(seeds)]}


def mean(result: dict, method: str, rank: int, stage: str, part: str) -> float:
    """Mean accuracy over the seeds, in percent."""
    return 100 * float(np.mean([run[f"{method}-{rank}"][stage][part] for run in result["runs"]]))


def best_method(result: dict) -> str:
    """The method with the best mean validation accuracy after retraining, over all ranks."""
    return max(METHODS, key=lambda m: np.mean([mean(result, m, rank, "retrained", "validation") for rank in RANKS]))


def tables(record: dict[str, Any]) -> list[Table]:
    """Mean test accuracies of a task: a row a method, a column a fraction of the states, without / with retraining."""
    found = []
    for result in record["tasks"].values():
        original = 100 * np.mean([run["original"]["test"] for run in result["runs"]])
        title = (
            f"{result['title']}, {len(result['runs'])} seeds, original {original:.2f}: reduced / retrained, in percent"
        )
        table = Table("method", *(f"1/{STATES // rank}" for rank in RANKS), title=title)
        for method in METHODS:
            cells = [
                " / ".join(f"{mean(result, method, rank, stage, 'test'):.1f}" for stage in ("reduced", "retrained"))
                for rank in RANKS
            ]
            table.add_row(method + (" (best)" if method == best_method(result) else ""), *cells)
        found.append(table)
    return found


def summarise(results: dict) -> list[Figure]:
    """What is lost by the method that validation data chose, on each task and on the one that loses least."""
    figures, smallest = [], {}
    for result in results.values():
        method = best_method(result)
        original = 100 * np.mean([run["original"]["test"] for run in result["runs"]])
        for rank in RANKS:
            lost = float(original - mean(result, method, rank, "retrained", "test"))
            name = f"{result['title']}: lost at 1/{STATES // rank} of the states after retraining ({method})"
            figures.append(Figure(name, lost, unit=" points"))
        smallest[f"{result['title']} by {method}"] = lost
    task = min(smallest, key=smallest.get)
    title = f"least lost at 1/{STATES // RANKS[-1]} of the states after retraining: {task}"
    return [*figures, Figure(title, smallest[task], at_most=0.5, unit=" points")]


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Tasks and seeds, such as rows:3,smartwatch:2.")] = "rows:3",
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
    originals: Annotated[Path, typer.Option(help="Where originals are kept.")] = Path("runs/reproduce_ezoe_sato"),
) -> Measurement:
    """Accuracy against states for every method of reduction."""
    work = {name: (name, count, cache, originals) for name, count in seeds_by_task(tasks).items()}
    results = run_apart(run_task, work, jobs)
    return Measurement(summarise(results), {"settings": {"states": STATES}, "tasks": results})


EXPERIMENT = Experiment(
    title="Accuracy against states",
    result=Path(__file__).parents[1] / "results" / "accuracy_against_states.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "scipy"),
    cache=Path("runs/accuracy_against_states"),
    tables=tables,
)

if __name__ == "__main__":
    EXPERIMENT.run()
