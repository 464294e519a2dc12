"""Networks of six kinds on seven tasks, within the same budgets: who is the most accurate for what a device has.

Tasks: smartwatch recordings (a seed is one of five folds of people), Fashion-MNIST by row and by pixel and MNIST by
pixel (10,000 pictures each), currents of appliances (raw, 600 Hz), hits of drums and synthetic keywords (spectra).
Kinds: DSS, GRU, LSTM, SimpleRNN whose recurrent matrix may be of low rank, depthwise-separable CNN, TCN; all of them
with strided fronts and lower rates inside to choose from (`keras_s4.architectures.spaces`).

Every kind gets the same: the recipe of `compile_classifier`, augmentation, gradient steps, and number of trials, drawn
at random from its space as `search_architectures` draws them, so that each fills its budget by the cost model; and a
learning rate, 1e-2 or 3e-2, drawn with it. A budget limits instructions a second of signal on a Cortex-M4, flash and
RAM together. Trials are short, 180 to 300 steps. For each budget the trial with the best validation accuracy within it
is trained anew for five times as long, with three seeds; reported is test accuracy of its integers. Instructions, flash
and RAM of the chosen are counted on an emulated core.

What this leaves open: three trials a budget (nine for the largest) search little of any space; the best trainings of
`best_dss.py` are two to three times as long. Three seeds spread by up to 17 points on the smartwatch, where each has
other people, and by 10 on drums: a kind that is within the spread of the first one there has not shown much.

A kind is first, or within the spread of it, if its mean is not below the best one by more than two standard errors of
the difference, paired by seed. A run over takes some hours of two cores, on JAX but for convolutional networks, which
TensorFlow runs faster on a CPU; an interrupted one continues.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from arena_trials import BUDGETS, KINDS, STEPS, compete, propose_all
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.testing.experiment import Experiment, Figure, Measurement
from keras_s4.testing.processes import run_apart

ERRORS = 2.0
LEAST_FIRST, LEAST_AHEAD = 5, 3
BACKENDS = {"cnn": "tensorflow"}


def run_kinds(name: str, backend: str, proposals: dict, cache: Path, seeds: int, length: float) -> dict[str, Any]:
    """What the kinds of a backend reach on a task; in a process of their own."""
    os.environ["KERAS_BACKEND"] = backend
    kept: dict = {}
    return {
        kind: compete(name, proposals[kind], cache / name / kind, seeds, length, kept)
        for kind in KINDS
        if BACKENDS.get(kind, "jax") == backend
    }


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(STEPS),
    trials: Annotated[int, typer.Option(help="Networks of each kind that are tried for each budget.", min=1)] = 3,
    seeds: Annotated[int, typer.Option(help="Trainings of each chosen network.", min=2)] = 3,
    length: Annotated[float, typer.Option(help="Of the trainings, as a multiple of those of the script.")] = 1.0,
    jobs: Annotated[int, typer.Option(help="Processes at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Every kind on every task."""
    cache, names = cache.resolve(), tasks.split(",")
    proposals = run_apart(propose_all, {name: (name, cache, trials) for name in names}, jobs)
    work = {
        f"{name} {backend}": (name, backend, proposals[name], cache, seeds, length)
        for name in names
        for backend in ("jax", "tensorflow")
    }
    found = run_apart(run_kinds, work, jobs)
    results = {}
    for name in names:
        kinds = found[f"{name} jax"] | found[f"{name} tensorflow"]
        results[name] = {kind: kinds[kind] for kind in KINDS}
    settings = {"trials": trials, "seeds": seeds, "steps": {name: round(length * STEPS[name]) for name in results}}
    return Measurement(summarise(results), {"settings": settings, "budgets": BUDGETS, "tasks": results})


def device_accuracies(results: Mapping[str, Any], kind: str, budget: str) -> np.ndarray | None:
    """Of each seed on test data, in percent; None where no network of the kind fits the budget."""
    chosen = results[kind]["chosen"].get(budget)
    return None if chosen is None else 100.0 * np.array([run["device_test"] for run in chosen["runs"]])


def standing(results: Mapping[str, Any], kind: str, budget: str) -> tuple[float, float] | None:
    """Points ahead of the best other kind, and the standard error of the difference, paired by seed."""
    own = device_accuracies(results, kind, budget)
    others = [device_accuracies(results, other, budget) for other in results if other != kind]
    others = [each for each in others if each is not None]
    if own is None or not others:
        return None
    pairs = own - max(others, key=np.mean)
    return float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(len(pairs)))


def is_first(found: tuple[float, float] | None) -> bool:
    """Whether a kind is first or within the spread of it."""
    return found is not None and found[0] >= -ERRORS * found[1]


def is_ahead(found: tuple[float, float] | None) -> bool:
    """Whether a kind is first by more than the spread."""
    return found is not None and found[0] > ERRORS * found[1]


def summarise(tasks: Mapping[str, Any]) -> list[Figure]:
    """On how many tasks DSS is first, by budget; how far it is ahead of the best other kind."""
    figures = []
    for budget in next(iter(BUDGETS.values())):
        found = {name: standing(results, "dss", budget) for name, results in tasks.items()}
        first, ahead = sum(map(is_first, found.values())), sum(map(is_ahead, found.values()))
        full = len(tasks) == len(STEPS)
        figures.append(
            Figure(
                f"{budget}: tasks where DSS is first or within the spread", first, at_least=LEAST_FIRST * full or None
            )
        )
        figures.append(
            Figure(
                f"{budget}: tasks where DSS is ahead by more than the spread",
                ahead,
                at_least=LEAST_AHEAD * full or None,
            )
        )
        figures += [
            Figure(f"{name}, {budget}: DSS ahead of the best other kind", gap[0], unit=" points")
            for name, gap in found.items()
            if gap is not None
        ]
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """A table a task: the chosen network of each kind and budget."""
    found = []
    for name, results in record["tasks"].items():
        heads = ("network", "validation, %", "device, test, %", "seeds", "instructions a second", "flash", "RAM")
        table = Table("budget", "kind", *heads, title=name)
        for budget, limits in record["budgets"][name].items():
            means = {kind: device_accuracies(results, kind, budget) for kind in results}
            best = max(
                (kind for kind in means if means[kind] is not None), key=lambda kind: means[kind].mean(), default=""
            )
            for kind, rows in results.items():
                chosen = rows["chosen"].get(budget)
                if chosen is None:
                    table.add_row(budget, kind.upper(), "none fits")
                    continue
                values = means[kind]
                validation = 100 * np.mean([run["validation"] for run in chosen["runs"]])
                cost = chosen["cost"]
                accuracy = f"{values.mean():.1f}" + (" (best)" if kind == best else "")
                table.add_row(
                    f"{budget}: {limits[0] / 1e6:g} M",
                    kind.upper(),
                    chosen["network"],
                    f"{validation:.1f}",
                    accuracy,
                    f"{values.min():.1f} to {values.max():.1f}",
                    f"{cost['instructions_a_second']:,.0f}",
                    f"{cost['flash_bytes']:,}",
                    f"{cost['ram_bytes']:,}",
                )
        found.append(table)
    return found


def draw(record: dict[str, Any], path: Path) -> None:
    """Test accuracy on the device against instructions a second: a panel a task, a colour a kind."""
    from keras_s4 import plots

    names = list(record["tasks"])
    rows = -(-len(names) // 3)
    with plots.new_figure(3.2 * rows, 12.0) as figure:
        axes = figure.subplots(rows, 3, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=False):
            for color, (kind, results) in zip(plots.COLORS, record["tasks"][name].items(), strict=False):
                points = sorted(
                    (chosen["cost"]["instructions_a_second"], 100 * np.mean([r["device_test"] for r in chosen["runs"]]))
                    for chosen in results["chosen"].values()
                )
                if points:
                    axis.plot(*zip(*points, strict=True), marker="o", ms=4, color=color, label=kind.upper())
            axis.set(xscale="log", title=name, xlabel="instructions a second, M4", ylabel="device, test, %")
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        axes[0].legend(fontsize=8)
        write_bytes(path, plots.draw(figure, path.suffix.removeprefix(".") or "svg"))


EXPERIMENT = Experiment(
    title="Six kinds of networks within the same budgets",
    result=Path(__file__).parents[1] / "results" / "arena.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "tensorflow", "numpy"),
    cache=Path("runs/reproduce_arena"),
    tables=tables,
    draw=draw,
    needs={"seglearn": "data", "jax": "jax", "ziglang": "bench", "unicorn": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
