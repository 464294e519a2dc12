"""One bank of modes for all channels against a bank for each: what do shared states cost a device less?

A DSS layer holds N modes for each of its H channels and mixes nothing; the gate behind it does. A `DiagonalSSM` (the
layer of S5 and LRU) holds one bank of modes, which matrices write to and read from, so that it mixes by itself.
Networks of both kinds with two blocks and equal width, which differ in their modes and in what follows (a matrix that
mixes channels, with or without a gate; behind shared modes also nothing), are trained by the same recipe on the same
batches. Tasks: Fashion-MNIST by row (10,000 pictures), and the smartwatch
recordings behind a convolution of stride 4, where a seed is one of the five folds.

For every DSS network stands beside it the cheapest network with shared states whose accuracy on validation data is as
good, by the mean over seeds. Test accuracies are those of the integers, instructions those of the C on a Cortex-M4,
counted on an emulated one. Nothing is chosen on test data.

The committed record has two seeds a task (`--tasks fashion-rows:2,smartwatch:2`): differences below two or three points
are within what seeds and people differ by.

A run over takes about half an hour of one core on the JAX backend, which this script chooses; an interrupted one
continues.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.files import write_bytes
from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json, seeds_by_task
from keras_s4.testing.processes import run_apart

WIDTH, BLOCKS, DROPOUT = 24, 2, 0.1
STEPS = {"fashion-rows": 1_500, "smartwatch": 1_000}
FRONTS = {"fashion-rows": None, "smartwatch": (8, 4)}
RATE = 1e-2
CALIBRATION = 200
CORE = "m4"
OWN, SHARED = "DSS", "DiagonalSSM"
COLOURS = {OWN: "tab:blue", SHARED: "tab:red"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is compared.

    Args:
        layer: `OWN`, or `SHARED`.
        states: modes, of each channel or of all of them.
        gate: of the block behind the layer, "dense" or None.
        mix: of the block, "dense" or None.
    """

    layer: str
    states: int
    gate: str | None = None
    mix: str | None = "dense"

    def __str__(self) -> str:
        behind = ", gate" if self.gate else ", mix" if self.layer == SHARED and self.mix else ""
        return f"{self.layer}({self.states}){behind}"


NETWORKS = (
    *(Network(OWN, states, "dense") for states in (2, 4, 8)),
    *(Network(OWN, states) for states in (4, 8)),
    *(Network(SHARED, states, mix=None) for states in (4, 8, 16, 32)),
    *(Network(SHARED, states) for states in (4, 8, 16, 32)),
    *(Network(SHARED, states, "dense") for states in (8, 16)),
)


def build(name: str, network: Network, task, seed: int):
    """An untrained network for the task of a name."""
    import keras

    from keras_s4 import models
    from keras_s4.testing.trainings import normalizes

    keras.utils.set_random_seed(seed)
    return models.classifier(
        task.input_shape,
        len(task.classes),
        channels=WIDTH,
        states=network.states,
        blocks=BLOCKS,
        dropout=DROPOUT,
        shared_modes=network.layer == SHARED,
        dss={"feedthrough": "diagonal"} if network.layer == SHARED else None,
        block={"gate": network.gate, "mix": network.mix},
        front=FRONTS[name],
        normalization=normalizes(task),
    )


def run_network(name: str, network: Network, seeds: int, cache: Path) -> dict[str, Any]:
    """What a network reaches with each seed, and what it costs."""
    from keras_s4.testing.trainings import Trainer, accuracy, adapt, task_of

    runs, trainer, cost = [], None, None
    for seed in range(seeds):
        path = cache / name / f"{network}-{seed}.json"
        task = task_of(name, seed, cache)

        def measure(seed=seed, task=task) -> dict[str, Any]:
            nonlocal trainer
            model = build(name, network, task, seed)
            adapt(model, task)
            trainer = trainer or Trainer(build(name, network, task, seed), task, STEPS[name], learning_rate=RATE)
            trained = trainer.train(task, seed, model.get_weights())
            found = {split: accuracy(trained, task, split) for split in ("validation", "test")}
            return found | measure_in_integers(trained, task, seed)

        runs.append(cache_json(path, measure))
        cost = cost or runs[0]["cost"]
    return {"network": str(network), "layer": network.layer, "runs": runs, "cost": cost}


def measure_in_integers(model, task, seed: int) -> dict[str, Any]:
    """The accuracy of the integers on test data; of the first seed what a step costs as well."""
    from keras_s4 import tflite
    from keras_s4.costs.counted import measure_on_cortex_m

    x, _ = task.windows("train")
    chosen = np.random.default_rng(seed).permutation(len(x))[:CALIBRATION]
    firmware = tflite.convert(model, x[np.sort(chosen)])
    x, y = task.windows("test")
    found = {"device": float(np.mean(np.asarray(firmware.predict(x, engine="c")).argmax(axis=-1) == y))}
    if seed:
        return found
    cost = measure_on_cortex_m(firmware.program, CORE)
    figures = {key: getattr(cost, key) for key in ("instructions", "flash_bytes", "ram_bytes", "compiler")}
    return found | {"cost": figures | {"parameters": model.count_params()}}


def run_task(name: str, seeds: int, cache: Path) -> list[dict[str, Any]]:
    """All networks on a task, in a process of its own."""
    os.environ["KERAS_BACKEND"] = "jax"
    return [run_network(name, network, seeds, cache) for network in NETWORKS]


def mean(network: dict, part: str) -> float:
    """Of an accuracy over seeds."""
    return float(np.mean([run[part] for run in network["runs"]]))


def matches(networks: list[dict]) -> list[tuple[dict, dict | None]]:
    """For each DSS network the cheapest one with shared states that is as good on validation data, if there is one."""
    shared = [network for network in networks if network["layer"] == SHARED]
    found = []
    for own in (network for network in networks if network["layer"] == OWN):
        as_good = [network for network in shared if mean(network, "validation") >= mean(own, "validation")]
        found.append((own, min(as_good, key=lambda network: network["cost"]["instructions"], default=None)))
    return found


def saved(own: dict, other: dict, what: str) -> float:
    """How many times less the other network takes of something."""
    return own["cost"][what] / other["cost"][what]


def summarise(tasks: dict[str, list[dict]]) -> list[Figure]:
    """How many times fewer instructions and bytes of RAM, at equal accuracy."""
    figures = []
    for name, networks in tasks.items():
        found = matches(networks)
        for own, other in found:
            if other is not None:
                what = f"{name}: {own['network']}, times fewer instructions with shared states at no less accuracy"
                figures.append(Figure(what, saved(own, other, "instructions")))
        unmatched = sum(other is None for _, other in found)
        figures.append(Figure(f"{name}: DSS networks that none with shared states matches", unmatched))
    return figures


def tables(record: dict[str, Any]) -> list[Table]:
    """All networks, and those that are as good."""
    columns = ("task", "network", "parameters", "validation", "test", "on the device", "instructions", "flash", "RAM")
    every = Table(
        *columns, title="Accuracies, means over seeds and their deviation, and costs of a step on a Cortex-M4"
    )
    title = "DSS networks, and the cheapest ones with shared states that are as good on validation data"
    pairs = Table("task", "network", "beside it", "gained on test", "instructions", "flash", "RAM", title=title)
    for name, networks in record["tasks"].items():
        for network in networks:
            cost = network["cost"]
            shares = (
                f"{100 * mean(network, part):.1f} ± {100 * np.std([run[part] for run in network['runs']]):.1f}"
                for part in ("validation", "test", "device")
            )
            costs = (f"{cost[key]:,.0f}" for key in ("instructions", "flash_bytes", "ram_bytes"))
            every.add_row(name, network["network"], f"{cost['parameters']:,}", *shares, *costs)
        for own, other in matches(networks):
            if other is None:
                pairs.add_row(name, own["network"], "none is as good", "", "", "", "")
                continue
            gained = 100 * (mean(other, "device") - mean(own, "device"))
            times = (f"÷ {saved(own, other, key):.2f}" for key in ("instructions", "flash_bytes", "ram_bytes"))
            pairs.add_row(name, own["network"], other["network"], f"{gained:+.1f} points", *times)
    return [every, pairs]


def draw(record: dict[str, Any], path: Path) -> None:
    """Accuracy on the device against instructions a step: a panel a task."""
    import matplotlib.pyplot as plt

    from keras_s4 import plots

    tasks = record["tasks"]
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.5 * len(tasks), 3.6), squeeze=False)
    for axis, (name, networks) in zip(axes[0], tasks.items(), strict=True):
        for layer, color in COLOURS.items():
            some = [network for network in networks if network["layer"] == layer]
            points = [(network["cost"]["instructions"], 100 * mean(network, "device")) for network in some]
            axis.plot(*zip(*points, strict=True), "o", color=color, label=layer)
            for network, place in zip(some, points, strict=True):
                axis.annotate(network["network"].removeprefix(layer), place, fontsize=6)
        axis.set(xscale="log", title=name, xlabel="instructions a step", ylabel="accuracy on the device, %")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    write_bytes(path, plots.draw(figure, path.suffix.removeprefix(".") or "svg"))


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Tasks and their seeds.")] = "fashion-rows:3,smartwatch:3",
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Networks with states of their own and with shared ones."""
    seeds, cache = seeds_by_task(tasks), cache.resolve()
    found = run_apart(run_task, {name: (name, count, cache) for name, count in seeds.items()}, jobs)
    settings = {"seeds": seeds, "width": WIDTH, "blocks": BLOCKS, "steps": STEPS, "rate": RATE, "core": CORE}
    return Measurement(summarise(found), {"settings": settings, "tasks": found})


EXPERIMENT = Experiment(
    title="States shared by channels",
    result=Path(__file__).parents[1] / "results" / "shared_states.json",
    compute=compute,
    packages=("keras-s4", "keras", "jax", "numpy", "unicorn"),
    cache=Path("runs/shared_states"),
    tables=tables,
    draw=draw,
    needs={"seglearn": "data", "jax": "jax", "unicorn": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
