"""The claims of Ezoe and Sato (arXiv 2402.15993) on real data: is a truncated large model the better start?

For every seed a large model is trained from Skew-HiPPO ("original"), reduced by balanced truncation to an eighth of its
states ("truncated") and trained again ("ours"). Against it stand models from Skew-HiPPO: of the small size with as many
steps as the retraining ("small_short") and as both trainings together ("small_long"), and of the large size with both
("large_long"). A seed gives the initial values and the order of the data; on the
smartwatch recordings also the fold, that is the people of the test. Nothing is chosen on test data; learning rates are
those of the smartwatch demo, 1e-2 and 5e-3 for the retraining, without a search.

(a) ours against small models, paired by seed; (b) ours against large ones; (c) originals of different accuracy, after
trainings of different length on one split, and what becomes of each.

The committed figures of the smartwatch recordings were measured when, in folds 1 to 4, other people than today's were
kept for validation (`keras_s4.datasets.smartwatch`), and so not trained on; the people of the test are the same.

A run over takes some three hours on two cores; interrupt it whenever you like, it continues where it was.
Fashion-MNIST: see `keras_s4.datasets.fashion_mnist`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from scipy import stats

from keras_s4.files import write_model
from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json, seeds_by_task
from keras_s4.testing.processes import run_apart

STATES, KEPT = 32, 4
LEARNING_RATE, RETRAIN_LEARNING_RATE = 1e-2, 5e-3
# Of the trainings of further originals, as parts of the full one; with seeds that share the split of seed 0.
FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
# A correlation of fewer originals is not told.
FEWEST_ORIGINALS = 8
FURTHER_SEEDS = (100, 105)
# What the retrained model is compared with: claim, rival, what it is called.
RIVALS = (
    ("a", "small_short", "small from Skew-HiPPO, steps of the retraining"),
    ("a", "small_long", "small from Skew-HiPPO, steps of both trainings"),
    ("b", "original", "large, steps of the first training"),
    ("b", "large_long", "large, steps of both trainings"),
)


class Runs:
    """The runs of one task; what was finished before is not computed again."""

    def __init__(self, name: str, cache: Path):
        from keras_s4.testing.sequence_tasks import TASKS, Trainer, use_one_thread

        use_one_thread()
        self.task = TASKS[name]
        self.cache = cache / name
        self.large = Trainer(self.task, STATES)
        self.small = Trainer(self.task, KEPT)

    def run(self, seed: int) -> dict:
        """Test accuracies of one seed."""
        steps = self.task.steps
        test = {"seed": seed, **self.reduce_and_retrain(seed, steps)}
        rivals = {
            "small_short": (self.small, steps),
            "small_long": (self.small, 2 * steps),
            "large_long": (self.large, 2 * steps),
        }
        for rival, (trainer, length) in rivals.items():
            test[rival] = self._accuracy(
                f"{rival}-{seed}", seed, lambda t=trainer, n=length: t.train(seed, n, LEARNING_RATE, seed)
            )
        return test

    def reduce_and_retrain(self, seed: int, steps: int) -> dict:
        """Test accuracies of an original, after the truncation, and after the retraining."""
        from keras_s4 import reduce

        name = f"{seed}-{steps}"
        original = self._accuracy(
            f"original-{name}", seed, lambda: self.large.train(seed, steps, LEARNING_RATE, seed), keep=True
        )
        truncated = None

        def truncate():
            nonlocal truncated
            import keras

            truncated = reduce(keras.saving.load_model(self.cache / f"original-{name}.keras"), KEPT)
            return truncated

        def retrain():
            start = truncate() if truncated is None else truncated
            return self.small.train(start, self.task.steps, RETRAIN_LEARNING_RATE, seed + 1000)

        return {
            "steps": steps,
            "original": original,
            "truncated": self._accuracy(f"truncated-{name}", seed, truncate),
            "ours": self._accuracy(f"ours-{name}", seed, retrain, keep=True),
        }

    def _accuracy(self, name: str, seed: int, make, keep: bool = False) -> float:
        """The test accuracy of what `make` returns, from a file where there is one; `keep` saves the model too."""
        from keras_s4.testing.sequence_tasks import accuracy

        def compute() -> float:
            model = make()
            if keep:
                write_model(self.cache / f"{name}.keras", model)
            return accuracy(model, self.task.evaluation("test", seed))

        return cache_json(self.cache / f"{name}.json", compute)


def run_task(name: str, seeds: int, correlated: list[str], cache: Path) -> dict:
    """All runs of a task; further originals if it is one of those for the correlation."""
    runs = Runs(name, cache)
    first = [runs.run(seed) for seed in range(seeds)]
    lengths = [max(10, round(runs.task.steps * fraction, -1)) for fraction in FRACTIONS]
    further = []
    if name in correlated:
        further = [runs.reduce_and_retrain(seed, int(steps)) for steps in lengths for seed in FURTHER_SEEDS]
    same_split = [run for run in first if runs.task.fold(run["seed"]) == runs.task.fold(0)]
    parameters = {trainer.states: trainer.model.count_params() for trainer in (runs.large, runs.small)}
    return {"title": runs.task.title, "runs": first, "originals": [*same_split, *further], "parameters": parameters}


def compare(ours: np.ndarray, rival: np.ndarray) -> dict:
    """A paired comparison of accuracies `[S]`: difference in points, effect size, p-values, and whether it holds."""
    difference = 100.0 * (ours - rival)
    p = float(stats.ttest_rel(ours, rival, alternative="greater").pvalue)
    return {
        "points": float(difference.mean()),
        "deviation": float(difference.std(ddof=1)),
        "effect": float(difference.mean() / max(difference.std(ddof=1), 1e-9)),
        "p": p,
        "p_wilcoxon": float(stats.wilcoxon(ours, rival, alternative="greater").pvalue),
    }


def comparisons(result: dict) -> dict:
    """The retrained model against each rival, and the correlation, for one task."""
    ours = np.array([run["ours"] for run in result["runs"]])
    found = {rival: compare(ours, np.array([run[rival] for run in result["runs"]])) for _, rival, _ in RIVALS}
    pairs = np.array([(run["original"], run["ours"]) for run in result["originals"]])
    if len(pairs) < FEWEST_ORIGINALS:
        return found
    pearson, spearman = stats.pearsonr(*pairs.T), stats.spearmanr(*pairs.T)
    return found | {
        "correlation": {
            "pearson": float(pearson.statistic),
            "p": float(pearson.pvalue),
            "spearman": float(spearman.statistic),
            "p_spearman": float(spearman.pvalue),
        }
    }


def verdict(claim: str, compared: dict) -> str:
    """Whether a claim holds, in words. (b) is that ours is as good or better."""
    if claim == "c":
        return "holds" if compared["pearson"] > 0 and compared["p"] < 0.05 else "does not hold (p >= 0.05)"
    if compared["points"] > 0:
        return "holds" if compared["p"] < 0.05 else "better, but p >= 0.05"
    return "does not hold"


def tables(record: dict[str, Any]) -> list[Table]:
    """Accuracies, and the claims with their verdicts."""
    stages = ("original", "truncated", "ours", "small_short", "small_long", "large_long")
    accuracies = Table(
        "task", "parameters, large and small", *stages, title="Test accuracy, mean and deviation over seeds, in percent"
    )
    claims = Table("task", "claim", "against", "points", "effect", "p (t)", "p (Wilcoxon)", "verdict", title="Claims")
    for result in record["tasks"].values():
        values = {stage: 100 * np.array([run[stage] for run in result["runs"]]) for stage in stages}
        parameters = " and ".join(f"{count:,}" for count in result["parameters"].values())
        means = (f"{each.mean():.2f} ± {each.std(ddof=1):.2f}" for each in values.values())
        accuracies.add_row(result["title"], parameters, *means)
        found = comparisons(result)
        for claim, rival, description in RIVALS:
            it = found[rival]
            numbers = (f"{it['points']:+.2f}", f"{it['effect']:.2f}", f"{it['p']:.3g}", f"{it['p_wilcoxon']:.3g}")
            claims.add_row(result["title"], claim, description, *numbers, verdict(claim, it))
        count = len(result["originals"])
        if "correlation" not in found:
            claims.add_row(result["title"], "c", f"{count} originals: too few", "", "", "", "", "not measured")
            continue
        it = found["correlation"]
        description = f"{count} originals: correlation {it['pearson']:.2f}, of ranks {it['spearman']:.2f}"
        claims.add_row(result["title"], "c", description, "", "", f"{it['p']:.3g}", "", verdict("c", it))
    return [accuracies, claims]


def summarise(results: dict) -> list[Figure]:
    """The numbers behind the claims."""
    figures = []
    for result in results.values():
        found, title = comparisons(result), result["title"]
        for claim, rival, description in RIVALS:
            figures.append(
                Figure(f"{title}: ({claim}) gained on {description}", found[rival]["points"], unit=" points")
            )
        if "correlation" in found:
            figures.append(Figure(f"{title}: (c) correlation of original and final", found["correlation"]["pearson"]))
    return figures


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Tasks and their seeds.")] = "pixels:5,rows:5,smartwatch:5",
    correlated: Annotated[str, typer.Option(help="Tasks with further originals, for (c).")] = "pixels,rows,smartwatch",
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Models retrained from balanced truncation against models trained from Skew-HiPPO."""
    seeds = seeds_by_task(tasks)
    work = {name: (name, count, correlated.split(","), cache) for name, count in seeds.items()}
    results = run_apart(run_task, work, jobs)
    settings = {"states": STATES, "kept": KEPT, "seeds": seeds}
    compared = {name: comparisons(result) for name, result in results.items()}
    return Measurement(summarise(results), {"settings": settings, "tasks": results, "comparisons": compared})


EXPERIMENT = Experiment(
    title="Ezoe and Sato: retrained from balanced truncation",
    result=Path(__file__).parents[1] / "results" / "ezoe_sato.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "scipy"),
    cache=Path("runs/reproduce_ezoe_sato"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
