"""The claims of Ezoe and Sato (arXiv 2402.15993) on pictures: is a truncated large model the better start?

For every seed a large model of 32 modes a channel is trained from Skew-HiPPO ("original"), reduced by balanced
truncation to an eighth and a sixteenth of its states ("truncated") and trained again at half the rate ("ours"). Against
it stand

- small models from Skew-HiPPO with as many steps as the retraining ("small_short") and as both trainings together
  ("small_long"): the two ways of counting steps;
- the original itself, and the large model with as many steps as both trainings in one schedule ("large_long");
- the original that is trained on at half the rate without a truncation ("large_on"): what a second training alone
  gives. Ours against it is what the truncation costs or gives.

A seed gives the initial values and the order of the data. Nothing is chosen on test data; both learning rates are those
of the smartwatch demo, without a search. The sizes of the published models are not known to us: these have two blocks
of 16 channels, poles of their own for every channel (so that small and reduced models are equally large), no dropout.
Tasks: MNIST by pixel, Fashion-MNIST by pixel and by row, 10,000 pictures each.

(a) ours against small models, (b) ours against large ones, paired by seed; (c) originals of different accuracy, after
trainings of different length, and what becomes of each at an eighth of the states.

A run over takes an hour and a half of one core on the JAX backend (`--backend tensorflow` some four times that);
interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from scipy import stats

from keras_s4.testing.experiment import Experiment, Figure, Measurement, seeds_by_task
from keras_s4.testing.processes import run_apart

STATES, KEPT = 32, (4, 2)
# Lengths of the trainings of further originals, as parts of the full one and at most an epoch, and their seeds.
FRACTIONS = (1 / 8, 1 / 4, 1 / 3)
FURTHER_SEEDS = (100, 101)
# A correlation of fewer originals is not told.
FEWEST_ORIGINALS = 10
# What the retrained model is compared with: claim, rival, what it is called.
RIVALS = (
    ("a", "small_short", "small from Skew-HiPPO, steps of the retraining"),
    ("a", "small_long", "small from Skew-HiPPO, steps of both trainings"),
    ("b", "original", "large, steps of the first training"),
    ("b", "large_long", "large, steps of both trainings, one schedule"),
    ("b", "large_on", "large, trained again without truncation"),
)
SECOND_TRAINING = "what a second training without truncation gives the original"


class Runs:
    """The runs of one task, by its `PictureModels`."""

    def __init__(self, models):
        self.models = models

    def run(self, seed: int) -> dict[str, Any]:
        """Test accuracies of one seed, as fractions."""
        models, steps = self.models, self.models.steps
        found = {"seed": seed, **self.reduce_and_retrain(seed, steps, KEPT)}
        found["large_long"] = self.from_hippo("large_long", STATES, 2 * steps, seed)
        found["large_on"] = models.accuracy(
            f"large_on-{seed}", lambda: models.retrain(STATES, seed, models.original(seed))
        )
        for kept in KEPT:
            found[f"small_short_{kept}"] = self.from_hippo("small_short", kept, steps, seed)
            found[f"small_long_{kept}"] = self.from_hippo("small_long", kept, 2 * steps, seed)
        return found

    def from_hippo(self, arm: str, states: int, steps: int, seed: int) -> float:
        """Of a model trained from Skew-HiPPO."""
        return self.models.accuracy(f"{arm}-{states}-{seed}", lambda: self.models.train_fresh(states, steps, seed))

    def reduce_and_retrain(self, seed: int, steps: int, kept: tuple[int, ...]) -> dict[str, Any]:
        """Of an original, and by the states that are kept after the truncation and after the retraining."""
        from keras_s4 import reduce

        models = self.models
        original = models.accuracy(f"original-{seed}-{steps}", lambda: models.original(seed, steps))
        found: dict[str, Any] = {"steps": steps, "original": original}
        for rank in kept:

            def truncate(rank=rank):
                return reduce(models.original(seed, steps), rank)

            stem = f"{rank}-{seed}-{steps}"
            found[f"truncated_{rank}"] = models.accuracy(f"truncated-{stem}", truncate)
            found[f"ours_{rank}"] = models.accuracy(
                f"ours-{stem}", lambda rank=rank, cut=truncate: models.retrain(rank, seed, cut())
            )
        return found


def run_task(name: str, seeds: int, cache: Path, backend: str) -> dict[str, Any]:
    """All runs of a task."""
    os.environ["KERAS_BACKEND"] = backend
    from keras_s4.testing.picture_models import PictureModels

    models = PictureModels(name, cache, STATES)
    runs = Runs(models)
    first = [runs.run(seed) for seed in range(seeds)]
    lengths = [round(models.steps * fraction) for fraction in FRACTIONS]
    further = [runs.reduce_and_retrain(seed, steps, KEPT[:1]) for steps in lengths for seed in FURTHER_SEEDS]
    parameters = models.parameters(STATES, *KEPT)
    return {"title": models.title, "runs": first, "originals": [*first, *further], "parameters": parameters}


def values_of(result: dict, arm: str, kept: int) -> np.ndarray:
    """Test accuracies of an arm over seeds, of the one with so many states where there are several."""
    return np.array([run[f"{arm}_{kept}"] if f"{arm}_{kept}" in run else run[arm] for run in result["runs"]])


def compare(ours: np.ndarray, rival: np.ndarray) -> dict[str, float]:
    """A paired comparison of accuracies `[S]`: difference in points, effect size and p-values."""
    difference = 100.0 * (ours - rival)
    deviation = float(difference.std(ddof=1))
    return {
        "points": float(difference.mean()),
        "deviation": deviation,
        "effect": float(difference.mean() / max(deviation, 1e-9)),
        "p": float(stats.ttest_rel(ours, rival, alternative="greater").pvalue),
        "p_wilcoxon": float(stats.wilcoxon(ours, rival, alternative="greater").pvalue) if difference.any() else 1.0,
    }


def comparisons(result: dict) -> dict[str, Any]:
    """The retrained models against each rival by states kept, the second training, and the correlation."""
    found: dict[str, Any] = {
        str(kept): {
            rival: compare(values_of(result, "ours", kept), values_of(result, rival, kept)) for _, rival, _ in RIVALS
        }
        for kept in KEPT
    }
    found["second_training"] = compare(values_of(result, "large_on", 0), values_of(result, "original", 0))
    pairs = np.array([(run["original"], run[f"ours_{KEPT[0]}"]) for run in result["originals"]])
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
    large = ("original", "large_on", "large_long")
    small = ("truncated", "ours", "small_short", "small_long")
    title = "Test accuracy, mean and deviation over seeds, in percent"
    accuracies = Table("task", "states", "parameters", *large, *small, title=title)
    claims = Table("task", "states", "claim", "against", "points", "effect", "p (t)", "p (Wilcoxon)", "verdict")
    claims.title = "Claims"
    for result in record["tasks"].values():
        found = comparisons(result)
        for kept in KEPT:
            cells = [_mean(values_of(result, arm, kept)) for arm in (*large, *small)]
            accuracies.add_row(result["title"], str(kept), f"{_parameters(result, kept):,}", *cells)
            for claim, rival, description in RIVALS:
                it = found[str(kept)][rival]
                claims.add_row(result["title"], str(kept), claim, description, *_numbers(it), verdict(claim, it))
        claims.add_row(result["title"], str(STATES), "", SECOND_TRAINING, *_numbers(found["second_training"]), "")
        count = len(result["originals"])
        if "correlation" not in found:
            claims.add_row(result["title"], "", "c", f"{count} originals: too few", "", "", "", "", "not measured")
            continue
        it = found["correlation"]
        description = f"{count} originals: correlation {it['pearson']:.2f}, of ranks {it['spearman']:.2f}"
        p = f"{it['p']:.3g}"
        claims.add_row(result["title"], str(KEPT[0]), "c", description, "", "", p, "", verdict("c", it))
    return [accuracies, claims]


def _mean(values: np.ndarray) -> str:
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}"


def _parameters(result: dict, kept: int) -> int:
    return {int(states): count for states, count in result["parameters"].items()}[kept]


def _numbers(it: dict[str, float]) -> tuple[str, ...]:
    return f"{it['points']:+.2f}", f"{it['effect']:.2f}", f"{it['p']:.3g}", f"{it['p_wilcoxon']:.3g}"


def summarise(results: dict) -> list[Figure]:
    """The numbers behind the claims."""
    figures = []
    for result in results.values():
        found, title = comparisons(result), result["title"]
        for kept in KEPT:
            for claim, rival, description in RIVALS:
                what = f"{title}, {kept} of {STATES} modes: ({claim}) gained on {description}"
                figures.append(Figure(what, found[str(kept)][rival]["points"], unit=" points"))
        figures.append(Figure(f"{title}: {SECOND_TRAINING}", found["second_training"]["points"], unit=" points"))
        if "correlation" in found:
            figures.append(Figure(f"{title}: (c) correlation of original and final", found["correlation"]["pearson"]))
    return figures


def compute(
    cache: Path,
    tasks: Annotated[
        str, typer.Option(help="Tasks and their seeds.")
    ] = "mnist-pixels:5,fashion-pixels:5,fashion-rows:5",
    backend: Annotated[str, typer.Option(help="Of Keras: jax or tensorflow.")] = "jax",
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Models retrained from balanced truncation against models trained from Skew-HiPPO."""
    seeds, cache = seeds_by_task(tasks), cache.resolve()
    work = {name: (name, count, cache, backend) for name, count in seeds.items()}
    results = run_apart(run_task, work, jobs)
    settings = {"states": STATES, "kept": KEPT, "seeds": seeds, "backend": backend}
    compared = {name: comparisons(result) for name, result in results.items()}
    return Measurement(summarise(results), {"settings": settings, "tasks": results, "comparisons": compared})


EXPERIMENT = Experiment(
    title="Ezoe and Sato: retrained from balanced truncation",
    result=Path(__file__).parents[1] / "results" / "ezoe_sato.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "numpy", "scipy"),
    cache=Path("runs/reproduce_ezoe_sato"),
    tables=tables,
    needs={"jax": "jax"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
