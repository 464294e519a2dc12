"""What makes DSS models better or cheaper: every lever alone, on validation data of three tasks, the failures too.

Smartwatch recordings (behind a convolution of stride 4; a seed is one of the five folds), Fashion-MNIST by row (10,000
pictures) and synthetic keywords. All arms of a task and a seed see the same data; an arm differs from `base` in one
thing: its architecture, its schedule, or what stands between two trainings. Costs are those of the cost model for a
Cortex-M4, without its compiler. Nothing here saw test data.

Differences are paired by seed; the spread is the standard error of the mean of these pairs. A run over takes about half
an hour of one core on the JAX backend, which this script chooses; an interrupted one continues.
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

WIDTH, BLOCKS, STATES, LARGE = 24, 2, 8, 32
RATE = 1e-2
FRONTS = {"smartwatch": (8, 4), "fashion-rows": None, "keywords": None}
HANKEL = 1e-2


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training.

    Args:
        length: its gradient steps, as a multiple of those of a training.
        rate: its largest learning rate.
        states: to which the layers are truncated before; None for no truncation.
        method: of the truncation.
    """

    length: float = 1.0
    rate: float = RATE
    states: int | None = None
    method: str = "balanced"


@dataclasses.dataclass(frozen=True)
class Arm:
    """A lever.

    Args:
        changes: of the architecture.
        stages: trainings one after the other.
        compiling: arguments of `compile_classifier`.
        hankel: weight of the Hankel regularisation in the first training.
        against: the arm that it is compared with.
    """

    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stages: tuple[Stage, ...] = (Stage(),)
    compiling: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hankel: float = 0.0
    against: str = "base"


_HALF = RATE / 2
_LARGE = {"states": LARGE}
ARMS: dict[str, Arm] = {
    "base": Arm(),
    "rate 3e-2": Arm(stages=(Stage(rate=3e-2),)),
    "rate 3e-3": Arm(stages=(Stage(rate=3e-3),)),
    "no label smoothing": Arm(compiling={"label_smoothing": 0.0}),
    "weight decay 0.2": Arm(compiling={"weight_decay": 0.2}),
    "no dropout": Arm({"dropout": 0.0}),
    "dropout 0.2": Arm({"dropout": 0.2}),
    "time steps from 1e-2 to 1": Arm({"time_steps": (1e-2, 1.0)}),
    "time steps from 1e-4 to 1e-2": Arm({"time_steps": (1e-4, 1e-2)}),
    "32 modes": Arm(_LARGE),
    "2 modes": Arm({"states": 2}),
    "a gate a channel": Arm({"gate": "channel"}),
    "no gate": Arm({"gate": None}),
    "no gate, 3 blocks": Arm({"gate": None, "blocks": 3}),
    "mixing of rank 6": Arm({"rank": 6}),
    "half as many steps in the second block": Arm({"downsample": 2}),
    "twice the steps": Arm(stages=(Stage(2.0),)),
    "twice the steps, rate 3e-2": Arm(stages=(Stage(2.0, 3e-2),)),
    "trained twice": Arm(stages=(Stage(), Stage(rate=_HALF)), against="twice the steps"),
    "32 modes, twice the steps": Arm(_LARGE, (Stage(2.0),), against="twice the steps"),
    "32 modes, trained twice": Arm(_LARGE, (Stage(), Stage(rate=_HALF)), against="twice the steps"),
    "32 modes, truncated to 8": Arm(_LARGE, (Stage(), Stage(rate=_HALF, states=STATES)), against="twice the steps"),
    "32 modes, truncated to 8 by h2": Arm(
        _LARGE, (Stage(), Stage(rate=_HALF, states=STATES, method="h2")), against="twice the steps"
    ),
    "32 modes, truncated to 8, full rate again": Arm(
        _LARGE, (Stage(), Stage(states=STATES)), against="twice the steps"
    ),
    "32 modes, truncated to 8 early": Arm(_LARGE, (Stage(0.5), Stage(1.5, states=STATES)), against="twice the steps"),
    "32 modes with Hankel norm, truncated to 8": Arm(
        _LARGE, (Stage(), Stage(rate=_HALF, states=STATES)), hankel=HANKEL, against="twice the steps"
    ),
}


def train(arm: Arm, name: str, cache: Path, seeds: int, steps: int, kept: dict) -> list[dict[str, float]]:
    """Validation accuracies of an arm on a task, one a seed, as fractions; `kept` holds what all arms see."""
    import keras

    from keras_s4 import ranks, reduce
    from keras_s4.architectures import Architecture
    from keras_s4.testing.trainings import Trainer, accuracy, adapt, make_model, task_of

    sizes = {"width": WIDTH, "blocks": BLOCKS, "states": STATES, "front": FRONTS[name], **arm.changes}
    architecture = Architecture("dss", **sizes)
    tasks = [task_of(name, seed, cache, varied=False) for seed in range(seeds)]
    starts = []
    for seed, task in enumerate(tasks):
        model = make_model(architecture, task, seed)
        adapt(model, task)
        starts.append(model)
    for number, stage in enumerate(arm.stages):
        if stage.states is not None:
            starts = [reduce(model, ranks.uniform(model, stage.states), method=stage.method) for model in starts]
        shape = keras.models.clone_model(starts[0])
        if number == 0 and arm.hankel:
            shape = with_hankel_norm(shape, arm.hankel)
        shape.set_weights(starts[0].get_weights())
        trainer = Trainer(shape, tasks[0], round(stage.length * steps), learning_rate=stage.rate, **arm.compiling)
        for seed, task in enumerate(tasks):
            order = seed + 100 * number
            trained = trainer.train(task, order, starts[seed].get_weights(), kept.setdefault(order, {}))
            starts[seed].set_weights(trained.get_weights())
    return [{"validation": accuracy(model, task, "validation")} for model, task in zip(starts, tasks, strict=True)]


def with_hankel_norm(model, weight: float):
    """A copy whose DSS layers have a penalty on their Hankel singular values."""
    import keras

    from keras_s4.layers import DSS, S4Block
    from keras_s4.regularizers import HankelNorm

    def copy(layer):
        if not isinstance(layer, S4Block):
            return layer.__class__.from_config(layer.get_config())
        config = layer.get_config()
        dss = DSS(**{**layer.dss.get_config(), "state_regularizer": HankelNorm(weight, normalized=True)})
        return S4Block(**{**config, "dss": dss})

    return keras.models.clone_model(model, clone_function=copy)


def train_task(name: str, cache: Path, seeds: int, steps: int) -> dict[str, list]:
    """What every arm reaches on a task, and what it costs a second of signal."""
    from keras_s4.architectures import Architecture
    from keras_s4.costs import architecture_cost
    from keras_s4.testing.trainings import CONTESTS, task_of

    found, kept = {}, {}
    for label, arm in ARMS.items():
        path = cache / name / f"{label.replace(' ', '_')}-{seeds}-{steps}.json"
        found[label] = {"runs": cache_json(path, lambda arm=arm: train(arm, name, cache, seeds, steps, kept))}
        last = [stage.states for stage in arm.stages if stage.states is not None]
        sizes = {"width": WIDTH, "blocks": BLOCKS, "states": STATES, "front": FRONTS[name], **arm.changes}
        sizes |= {"states": last[-1]} if last else {}
        task = task_of(name, 0, cache, varied=False)
        cost = architecture_cost(Architecture("dss", **sizes), task.input_shape, len(task.outputs))
        found[label]["instructions_a_second"] = CONTESTS[name].rate * cost.instructions
    return found


def compute(
    cache: Path,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm on each task.", min=2)] = 3,
    steps: Annotated[int, typer.Option(help="Gradient steps of a training.", min=1)] = 400,
    jobs: Annotated[int, typer.Option(help="Tasks at a time.", min=1)] = 1,
) -> Measurement:
    """Every lever on every task."""
    os.environ["KERAS_BACKEND"] = "jax"
    cache = cache.resolve()
    tasks = run_apart(train_task, {name: (name, cache, seeds, steps) for name in FRONTS}, jobs)
    settings = {"seeds": seeds, "steps": steps, "width": WIDTH, "blocks": BLOCKS, "states": STATES, "large": LARGE}
    return Measurement(summarise(tasks), {"settings": settings, "tasks": tasks})


def accuracies(rows: Mapping[str, Any], label: str) -> np.ndarray:
    """Of each seed, in percent."""
    return 100.0 * np.array([run["validation"] for run in rows[label]["runs"]])


def gain(tasks: Mapping[str, Any], label: str, against: str) -> tuple[float, float]:
    """Points that an arm gains over another, mean and standard error over tasks and seeds."""
    pairs = np.concatenate([accuracies(rows, label) - accuracies(rows, against) for rows in tasks.values()])
    return float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(len(pairs)))


def summarise(tasks: Mapping[str, Any]) -> list[Figure]:
    """What each lever gains."""
    return [
        Figure(f"{label}, against {arm.against}", gain(tasks, label, arm.against)[0], unit=" points")
        for label, arm in ARMS.items()
        if label != "base"
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """Every arm on every task."""
    tasks = record["tasks"]
    heads = (*(f"{name}, %" for name in tasks), "gain, points", "against", "instructions")
    table = Table("arm", *heads, title="Validation data, mean of seeds; gain with standard error, paired")
    base = {name: rows["base"]["instructions_a_second"] for name, rows in tasks.items()}
    for label, arm in ARMS.items():
        means = [f"{accuracies(rows, label).mean():.1f}" for rows in tasks.values()]
        points, error = gain(tasks, label, arm.against)
        cost = np.mean([rows[label]["instructions_a_second"] / base[name] for name, rows in tasks.items()])
        told = ("", "") if label == "base" else (f"{points:+.1f} +- {error:.1f}", arm.against)
        table.add_row(label, *means, *told, f"{cost:.2f}")
    return [table]


EXPERIMENT = Experiment(
    title="Levers for better DSS models",
    result=Path(__file__).parents[1] / "results" / "levers.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "numpy"),
    cache=Path("runs/reproduce_levers"),
    tables=tables,
    needs={"seglearn": "data", "jax": "jax"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
