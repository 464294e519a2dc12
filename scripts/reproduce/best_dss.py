"""The best DSS models so far: people unseen, digits by pixel, keywords; on the device, with what they cost.

- Smartwatch: the ten people in five folds, each tested by models that the other eight have trained. A model is the
  average of three trainings (`keras_s4.average_models`): three networks behind a stride of 4 cost less than one at the
  full rate.
- MNIST by pixel: 10,000 digits in a split of our own; trained with 32 modes a channel, truncated to 4 and trained on.
- Synthetic keywords: unseen voices.

The smartwatch's network was chosen on validation people, 3,000 steps at the rate and with the time steps that
`levers.py` favours: one behind a stride of 2 had 89.3% with two blocks and 89.1% with three (five folds); behind a
stride of 4 single trainings of the first three folds had 87.4%, averages of three 88.6% (behind 2: 87.4%, one
training). Digits and keywords were set by hand after a few single trainings, whose test accuracies were seen as well:
keywords with 24 channels and 8 modes had 96.6% on validation voices, 16 channels 96.4%; half of the modes, the rate of
`levers.py` and more steps were taken untried. No script repeats these choices.

Accuracies are those of the integers (the C99, which the emulator and TensorFlow Lite Micro equal) on test data; weights
and activations have 8 bits. Instructions are counted on an emulated Cortex-M4. A run over takes about an hour of two
cores on the JAX backend, which this script chooses; an interrupted one continues.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

CALIBRATION = 256
# Between the members of a model.
SEEDS_APART = 1_000


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the models of a task are made.

    Args:
        sizes: of the architecture.
        steps: gradient steps of the training.
        states: that the model is truncated to, and trained on with, for `again` steps; None for no truncation.
        again: see `states`.
        rate: the largest learning rate.
        seeds: how many models; on the smartwatch of each fold in turn.
        members: trainings that a model averages.
    """

    sizes: Mapping[str, Any]
    steps: int
    states: int | None = None
    again: int = 0
    rate: float = 1e-2
    seeds: int = 3
    members: int = 1


PLANS = {
    "smartwatch": Plan(
        {"width": 32, "blocks": 2, "states": 8, "front": (8, 4), "time_steps": (1e-2, 1.0)},
        3_000,
        rate=3e-2,
        seeds=15,
        members=3,
    ),
    "mnist-pixels": Plan({"width": 32, "blocks": 2, "states": 32, "front": (8, 4)}, 2_500, states=4, again=3_000),
    "keywords": Plan({"width": 24, "blocks": 2, "states": 4, "front": (4, 2)}, 4_000, rate=3e-2),
}
# What a trained model must reach, and what it may cost, in instructions a second of signal.
TARGETS = {"smartwatch": 92.0, "mnist-pixels": 96.0, "keywords": 98.0}
MOST_INSTRUCTIONS = {"smartwatch": 50 * 23_300.0, "keywords": 0.5e6}
LARGEST_LOSS = 0.1


def task_for(name: str, seed: int, cache: Path):
    """The task; on the smartwatch the validation people train as well, as nothing is chosen by them any more."""
    from keras_s4.datasets import Splits
    from keras_s4.recordings import Recordings
    from keras_s4.testing.trainings import task_of

    task = task_of(name, seed, cache)
    if name != "smartwatch":
        return task
    train, validation, test = task.splits
    both = Recordings(
        [*train.signals, *validation.signals],
        np.concatenate([train.labels, validation.labels]),
        np.concatenate([train.subjects, validation.subjects]),
    )
    return dataclasses.replace(task, group=None, read=lambda: Splits(both, test, test))


def train_model(name: str, seed: int, cache: Path):
    """A trained model and its task."""
    from keras_s4 import average_models
    from keras_s4.surgery.cloning import clone

    plan, task = PLANS[name], task_for(name, seed, cache)
    trainers: dict = {}
    members = []
    for number in range(plan.members):
        member = train_member(plan, task, seed + SEEDS_APART * number, trainers)
        members.append(member if plan.members == 1 else clone(member, {}))
    return (members[0] if plan.members == 1 else average_models(members)), task


def train_member(plan: Plan, task, seed: int, trainers: dict):
    """A trained model, until the next one; `trainers` keeps what is compiled."""
    from keras_s4 import ranks, reduce
    from keras_s4.architectures import Architecture
    from keras_s4.testing.trainings import Trainer, adapt, make_model

    model = make_model(Architecture("dss", **plan.sizes), task, seed)
    adapt(model, task)
    weights = model.get_weights()
    if "first" not in trainers:
        trainers["first"] = Trainer(model, task, plan.steps, learning_rate=plan.rate)
    model = trainers["first"].train(task, seed, weights)
    if plan.states is not None:
        model = reduce(model, ranks.uniform(model, plan.states))
        model = Trainer(model, task, plan.again, learning_rate=plan.rate).train(task, seed + 100)
    return model


def run(name: str, seed: int, cache: Path) -> dict[str, Any]:
    """Accuracies on test data as fractions, and what a second of signal costs."""
    from keras_s4 import tflite
    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.testing.trainings import CONTESTS, accuracy

    model, task = train_model(name, seed, cache)
    x, _ = task.windows("train")
    chosen = np.random.default_rng(seed).permutation(len(x))[:CALIBRATION]
    firmware = tflite.convert(model, x[np.sort(chosen)])
    x, y = task.windows("test")
    labels = np.asarray(firmware.predict(x, engine="c")).argmax(axis=-1)
    cost = measure_on_cortex_m(firmware.program, "m4")
    return {
        "task": name,
        "seed": seed,
        "windows": len(y),
        "keras": accuracy(model, task, "test"),
        "device": float(np.mean(labels == y)),
        "instructions_a_second": CONTESTS[name].rate * cost.instructions,
        "flash_bytes": cost.flash_bytes,
        "ram_bytes": cost.ram_bytes,
    }


def run_once(name: str, seed: int, cache: Path) -> dict[str, Any]:
    """The same, from the cache where it is there."""
    os.environ["KERAS_BACKEND"] = "jax"
    return cache_json(cache / f"{name}-{seed}.json", lambda: run(name, seed, cache))


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(PLANS),
    jobs: Annotated[int, typer.Option(help="Trainings at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Every task with every seed."""
    cache = cache.resolve()
    work = {f"{name} {seed}": (name, seed, cache) for name in tasks.split(",") for seed in range(PLANS[name].seeds)}
    runs = list(run_apart(run_once, work, jobs).values())
    plans = {name: dataclasses.asdict(plan) for name, plan in PLANS.items()}
    return Measurement(summarise(runs), {"plans": plans, "runs": runs})


def of_task(runs: list[dict], name: str) -> list[dict]:
    """The runs of a task."""
    return [run for run in runs if run["task"] == name]


def summarise(runs: list[dict]) -> list[Figure]:
    """Accuracy on the device, what the integers lose, and instructions."""
    figures = []
    for name in dict.fromkeys(run["task"] for run in runs):
        rows = of_task(runs, name)
        device, keras = (100 * np.mean([run[key] for run in rows]) for key in ("device", "keras"))
        cost = np.mean([run["instructions_a_second"] for run in rows])
        figures.append(Figure(f"{name}: on the device", device, at_least=TARGETS[name], unit="%"))
        loss = LARGEST_LOSS if name == "mnist-pixels" else None
        figures.append(Figure(f"{name}: lost by the integers", keras - device, at_most=loss, unit=" points"))
        figures.append(
            Figure(f"{name}: instructions a second of signal, Cortex-M4", cost, at_most=MOST_INSTRUCTIONS.get(name))
        )
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """Every task: means and spread over seeds, and costs."""
    heads = ("Keras, %", "device, %", "lowest and highest", "instructions a second", "flash", "RAM")
    table = Table("task", "trainings", "test windows", *heads, title="Test data")
    runs = record["runs"]
    for name in dict.fromkeys(run["task"] for run in runs):
        rows = of_task(runs, name)
        device = [100 * run["device"] for run in rows]
        table.add_row(
            name,
            str(len(rows)),
            f"{sum(run['windows'] for run in rows):,}",
            f"{100 * np.mean([run['keras'] for run in rows]):.1f}",
            f"{np.mean(device):.1f}",
            f"{min(device):.1f} to {max(device):.1f}",
            *(
                f"{np.mean([run[key] for run in rows]):,.0f}"
                for key in ("instructions_a_second", "flash_bytes", "ram_bytes")
            ),
        )
    return [table]


EXPERIMENT = Experiment(
    title="The best DSS models so far",
    result=Path(__file__).parents[1] / "results" / "best_dss.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "numpy", "unicorn"),
    cache=Path("runs/reproduce_best_dss"),
    tables=tables,
    needs={"seglearn": "data", "jax": "jax", "ziglang": "bench", "unicorn": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
