"""Which reduction for whom: methods and ranks that are chosen by measured error, beside every fixed choice.

Three tasks with a trained model each (32 modes a channel, the recipe of `ezoe_sato.py`; on the smartwatch
recordings, seed and fold of test people go together). Every model is reduced to a half, a quarter, ... of its states,
without any training behind it:

- by every method, all layers alike, and by `method="auto"`: with 256 training sequences, and without data;
- with equal states in all, by balanced truncation, at the ranks of every chooser: those of `ranks.least_error` by the
  outputs on the same training sequences and by the bound, `budget` (energy), `scores` (LAST) and `uniform`.

What is chosen, the training sequences choose. Validation data tell which fixed method is best for a task; what both
reach is told on test data: accuracy, and the error of the logits relative to those of the whole model. Accuracies of
the smartwatch are those of some 140 windows, 0.7 points each, without a stride between them.

A run over takes some ten minutes on one core; interrupt it whenever you like, it continues where it was.
Fashion-MNIST: see `keras_s4.datasets.fashion_mnist`; the keywords need espeak-ng.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json, seeds_by_task
from keras_s4.testing.processes import run_apart

STATES, RANKS = 32, (16, 8, 4, 2)
LEARNING_RATE = 1e-2
METHODS = ("balanced", "finite_horizon", "input_weighted", "singular_perturbation", "h2", "modal")
AUTO, AUTO_BLIND = "auto", "auto, without data"
CHOOSERS = ("least error", "least bound", "energy", "LAST", "uniform")
# Training sequences that choose, and the most of validation and test that are looked at.
GUIDING, EVALUATED = 256, 2_000
# Points of test accuracy that auto may lose at any rank against what labelled validation data choose there.
POINTS_LOST = 1.5


class Model:
    """One trained model, its parts, and what copies of it reach at any ranks.

    Args:
        name: of the task.
        seed: of the training.
        cache: takes the trained model.
    """

    def __init__(self, name: str, seed: int, cache: Path):
        from keras_s4.compression import parts_of
        from keras_s4.compression.padded import PaddedModel
        from keras_s4.testing.sequence_tasks import TASKS

        self.task, self.seed = TASKS[name], seed
        self.model = self._trained(cache / f"original-{name}-{seed}.keras")
        arrays = self._arrays(cache / f"arrays-{name}-{seed}.npz")
        self.guiding = arrays["guiding"]
        self.parts = parts_of(self.model, data=self.guiding)
        self.blind_parts = parts_of(self.model)
        self._padded = PaddedModel(self.model, self.parts)
        self._data = {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("validation", "test")}
        self._whole = {part: self._outputs(self._padded.at(self.at(STATES)), part) for part in self._data}

    def at(self, rank: int) -> dict[str, int]:
        """The same rank for all layers."""
        return dict.fromkeys(self.parts, rank)

    def evaluate(self, ranks: dict[str, int], methods: dict[str, str] | None = None) -> dict[str, float]:
        """Accuracies, and errors of the outputs relative to those of the whole model."""
        model, found = self._padded.at(ranks, methods), {}
        for part, (_, y) in self._data.items():
            outputs, whole = self._outputs(model, part), self._whole[part]
            found[part] = float(np.mean(outputs.argmax(axis=1) == y))
            found[f"{part} error"] = float(np.linalg.norm(outputs - whole) / np.linalg.norm(whole))
        return found

    def _trained(self, path: Path):
        import keras

        from keras_s4.files import write_model
        from keras_s4.testing.sequence_tasks import Trainer

        if not path.exists():
            trainer = Trainer(self.task, STATES)
            write_model(path, trainer.train(self.seed, self.task.steps, LEARNING_RATE, self.seed))
        return keras.saving.load_model(path, compile=False)

    def _arrays(self, path: Path) -> dict[str, np.ndarray]:
        """What chooses and what is evaluated, from a file where there is one: keywords take a minute to speak."""
        if not path.exists():
            x, _ = self.task.batches(self.seed, -(-GUIDING // self.task.batch_size))
            arrays = {"guiding": x[:GUIDING]}
            for part in ("validation", "test"):
                x, y = self.task.evaluation(part, self.seed)
                arrays |= {f"x_{part}": x[:EVALUATED], f"y_{part}": y[:EVALUATED]}
            np.savez(path, **arrays)
        with np.load(path) as stored:
            return dict(stored)

    def _outputs(self, model, part: str) -> np.ndarray:
        from keras_s4.compression.output_error import before_activation

        x, _ = self._data[part]
        size = 250
        batches = [model.predict_on_batch(x[start : start + size]) for start in range(0, len(x), size)]
        return before_activation(np.concatenate(batches).astype(np.float64), "softmax")


def compare_methods(model: Model) -> dict[str, Any]:
    """What every method reaches at every rank, and the methods chosen by measured error."""
    from keras_s4.compression.method_choice import choose

    found = {}
    for rank in RANKS:
        ranks = model.at(rank)
        started = time.process_time()
        chosen = choose(model.model, model.parts, ranks, model.guiding, {})
        seconds = time.process_time() - started
        blind = choose(model.model, model.blind_parts, ranks, None, {})
        rows = {method: model.evaluate(ranks, dict.fromkeys(ranks, method)) for method in METHODS}
        rows[AUTO] = model.evaluate(ranks, chosen.methods)
        rows[AUTO_BLIND] = model.evaluate(ranks, blind.methods)
        choices = {AUTO: chosen.figures(), AUTO_BLIND: blind.figures()}
        found[str(rank)] = {"methods": rows, "choices": choices, "processor_seconds": seconds}
    return found


def compare_choosers(model: Model) -> dict[str, Any]:
    """What the ranks of every chooser reach with equal states in all."""
    from keras_s4 import ranks
    from keras_s4.compression.sensitivities import BOUND, OUTPUTS, Sensitivities

    measured = {of: Sensitivities(model.model, model.parts, model.guiding, of) for of in (OUTPUTS, BOUND)}
    found = {}
    for rank in RANKS:
        ram = sum(part.cost(rank).ram for part in model.parts.values())
        fixed = {
            "energy": ranks.budget(model.model, ram=ram, parts=model.blind_parts),
            "LAST": ranks.scores(model.model, rank / STATES, parts=model.blind_parts),
            "uniform": model.at(rank),
        }
        chosen = {
            "least error": measured[OUTPUTS].ranks({"ram": ram}, {}, fixed.values()),
            "least bound": measured[BOUND].ranks({"ram": ram}, {}),
        }
        found[str(rank)] = {
            chooser: {"ranks": each, **model.evaluate(each)} for chooser, each in (chosen | fixed).items()
        }
    return found


def run_task(name: str, seeds: int, cache: Path) -> dict[str, Any]:
    """All figures of a task; what was finished before is not computed again."""
    from keras_s4.testing.sequence_tasks import TASKS, use_one_thread

    use_one_thread()
    runs = []
    for seed in range(seeds):
        cached = cache / f"{name}-{seed}.json"

        def compute(seed: int = seed) -> dict[str, Any]:
            model = Model(name, seed, cache)
            original = model.evaluate(model.at(STATES))
            return {
                "seed": seed,
                "original": original,
                "ranks": compare_methods(model),
                "choosers": compare_choosers(model),
            }

        runs.append(cache_json(cached, compute))
    return {"title": TASKS[name].title, "runs": runs}


def mean(result: dict, kind: str, name: str, rank: int, figure: str) -> float:
    """The mean over the runs of a task."""
    rows = [run[kind][str(rank)] for run in result["runs"]]
    rows = [row["methods"] if kind == "ranks" else row for row in rows]
    return float(np.mean([row[name][figure] for row in rows]))


def best_fixed(results: dict[str, dict]) -> str:
    """The one method with the best validation accuracy over all tasks and ranks."""
    return max(
        METHODS,
        key=lambda m: np.mean([mean(r, "ranks", m, rank, "validation") for r in results.values() for rank in RANKS]),
    )


def best_on_validation(result: dict, rank: int) -> str:
    """The method with the best validation accuracy of a task at a rank."""
    return max(METHODS, key=lambda method: mean(result, "ranks", method, rank, "validation"))


def error_ratio(results: dict[str, dict], kind: str, ours: str, others: tuple[str, ...]) -> float:
    """The error of the outputs on test data by the least of others, geometric mean over tasks, runs and ranks."""
    ratios = []
    for result in results.values():
        for run in result["runs"]:
            for rank in RANKS:
                rows = run[kind][str(rank)]
                rows = rows["methods"] if kind == "ranks" else rows
                ratios.append(math.log(rows[ours]["test error"] / min(rows[o]["test error"] for o in others)))
    return float(np.exp(np.mean(ratios)))


def summarise(results: dict[str, dict]) -> list[Figure]:
    """Methods: auto beside the best fixed ones. Ranks: by least error beside the other choosers."""
    figures, fixed = [], best_fixed(results)
    for result in results.values():
        lost = [
            100 * mean(result, "ranks", best_on_validation(result, rank), rank, "test")
            - 100 * mean(result, "ranks", AUTO, rank, "test")
            for rank in RANKS
        ]
        title = f"{result['title']}: auto behind the method that validation data choose at each rank, the worst"
        figures.append(Figure(title, max(lost), at_most=POINTS_LOST, unit=" points"))
        gained = [
            100 * mean(result, "ranks", AUTO, rank, "test") - 100 * mean(result, "ranks", "balanced", rank, "test")
            for rank in RANKS
        ]
        figures.append(
            Figure(f"{result['title']}: auto before balanced, the mean", float(np.mean(gained)), unit=" points")
        )
    ahead = [
        100 * mean(r, "ranks", AUTO, rank, "test") - 100 * mean(r, "ranks", fixed, rank, "test")
        for r in results.values()
        for rank in RANKS
    ]
    title = f"auto before the best fixed method of all ({fixed}), the mean over tasks and ranks"
    figures.append(Figure(title, float(np.mean(ahead)), at_least=0.0, unit=" points"))
    title = "test error of auto, by the least of all fixed methods"
    figures.append(Figure(title, error_ratio(results, "ranks", AUTO, METHODS), at_most=1.1))
    for method in METHODS:
        ratio = error_ratio(results, "ranks", AUTO, (method,))
        figures.append(Figure(f"test error of auto, by that of {method}", ratio, at_most=1.0))
    title = f"test error of auto without data, by that of {fixed}"
    figures.append(Figure(title, error_ratio(results, "ranks", AUTO_BLIND, (fixed,))))
    for chooser in CHOOSERS[1:]:
        ratio = error_ratio(results, "choosers", CHOOSERS[0], (chooser,))
        figures.append(Figure(f"test error at the ranks of least error, by that of {chooser}", ratio, at_most=1.0))
    for chooser in CHOOSERS[1:]:
        points = [
            100 * mean(r, "choosers", CHOOSERS[0], rank, "test") - 100 * mean(r, "choosers", chooser, rank, "test")
            for r in results.values()
            for rank in RANKS
        ]
        figures.append(
            Figure(f"ranks of least error before {chooser}, the mean", float(np.mean(points)), unit=" points")
        )
    seconds = [row["processor_seconds"] for r in results.values() for run in r["runs"] for row in run["ranks"].values()]
    return [*figures, Figure("a choice of methods, the longest", max(seconds), at_most=60.0, unit=" s of a core")]


def tables(record: dict[str, Any]) -> list[Table]:
    """Two tables a task: test accuracy and test error of methods, and of choosers of ranks."""
    found = []
    for result in record["tasks"].values():
        original = 100 * np.mean([run["original"]["test"] for run in result["runs"]])
        head = (
            f"{result['title']}, {len(result['runs'])} models, whole {original:.1f}%: accuracy (error of the outputs)"
        )
        for kind, names, title in (
            ("ranks", (*METHODS, AUTO, AUTO_BLIND), "method"),
            ("choosers", CHOOSERS, "chooser of ranks"),
        ):
            table = Table(title, *(f"1/{STATES // rank}" for rank in RANKS), title=head)
            for name in names:
                cells = [
                    f"{100 * mean(result, kind, name, rank, 'test'):.1f} "
                    f"({mean(result, kind, name, rank, 'test error'):.3f})"
                    for rank in RANKS
                ]
                table.add_row(name, *cells)
            found.append(table)
    return found


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Tasks and seeds, such as rows:2,smartwatch:2.")] = (
        "smartwatch:1,rows:1,keywords:1"
    ),
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 1,
) -> Measurement:
    """Methods and ranks chosen by measured error, beside fixed ones."""
    work = {name: (name, count, cache) for name, count in seeds_by_task(tasks).items()}
    results = run_apart(run_task, work, jobs)
    return Measurement(summarise(results), {"settings": {"states": STATES}, "tasks": results})


EXPERIMENT = Experiment(
    title="Which reduction for whom",
    result=Path(__file__).parents[1] / "results" / "reduction_choice.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "scipy"),
    cache=Path("runs/reduction_choice"),
    tables=tables,
)

if __name__ == "__main__":
    EXPERIMENT.run()
