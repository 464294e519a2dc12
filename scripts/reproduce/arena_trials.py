"""The trials of one kind of network on one task: drawn, trained, chosen, put into integers and tested."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.files import write_json
from keras_s4.testing.experiment import cache_json

KINDS = ("dss", "gru", "lstm", "rnn", "cnn", "tcn")
# Gradient steps of a training of a chosen network; those that choose it take a fifth of them.
STEPS = {
    "smartwatch": 1_000,
    "fashion-rows": 1_500,
    "fashion-pixels": 900,
    "mnist-pixels": 1_500,
    "appliances": 1_000,
    "drums": 1_000,
    "keywords": 1_500,
}
CHOOSING = 0.2
# Learning rates, one of which a trial draws; kinds differ in what they bear.
RATES = (1e-2, 3e-2)
# Instructions a second of signal on a Cortex-M4, bytes of flash for code and constants, bytes of RAM.
_SLOW = {"small": (1e5, 8e3, 2e3), "medium": (3e5, 16e3, 4e3), "large": (1e6, 32e3, 8e3)}
_FAST = {"small": (1e6, 8e3, 2e3), "medium": (3e6, 16e3, 4e3), "large": (1e7, 32e3, 8e3)}
BUDGETS = {name: _FAST if name in ("fashion-pixels", "mnist-pixels", "appliances") else _SLOW for name in STEPS}
CALIBRATION = 200


def propose_all(name: str, cache: Path, trials: int) -> dict[str, dict[str, list]]:
    """Networks by kind and budget, each with what the cost model says of it."""
    path = cache / name / f"proposals-{trials}.json"

    def compute() -> dict[str, dict[str, list]]:
        return {
            kind: {budget: propose(name, kind, limits, trials, cache) for budget, limits in BUDGETS[name].items()}
            for kind in KINDS
        }

    return cache_json(path, compute)


def compete(
    name: str, proposals: dict[str, list], cache: Path, seeds: int, length: float, kept: dict
) -> dict[str, Any]:
    """The trials of a kind, and for each budget the chosen one with all its seeds; `kept` is shared by kinds."""
    steps = round(length * STEPS[name])
    tried = []
    for proposal in (each for of_budget in proposals.values() for each in of_budget):
        tried.append(proposal | run_seeds(name, proposal, 1, round(CHOOSING * steps), cache, kept)[0])
    chosen = {}
    for budget, limits in BUDGETS[name].items():
        within = [trial for trial in tried if fits(trial["predicted"], limits)]
        if not within:
            continue
        best = max(within, key=lambda trial: trial["validation"])
        runs = run_seeds(name, best, seeds, steps, cache, kept)
        architecture = best["architecture"]
        path = cache / f"{digest(architecture)}-cost.json"
        cost = cache_json(path, lambda figures=architecture: count_cost(name, figures, cache.parents[1]))
        chosen[budget] = {"architecture": architecture, "network": runs[0]["network"], "runs": runs, "cost": cost}
    return {"trials": tried, "chosen": chosen}


def propose(name: str, kind: str, limits: tuple[float, ...], count: int, cache: Path) -> list[dict]:
    """Architectures that fill a budget, at random as `search_architectures` proposes them; always the same ones."""
    from keras_s4.architecture_search.choices import choices_of
    from keras_s4.architecture_search.prices import Prices, cost_model
    from keras_s4.architecture_search.space import Space
    from keras_s4.testing.trainings import CONTESTS, normalizes, task_of

    task, random = task_of(name, 0, cache), np.random.default_rng(KINDS.index(kind))
    measure = cost_model(
        task.input_shape, len(task.outputs), task.head.task, normalizes(task), "m4", CONTESTS[name].rate
    )
    budgets = dict(zip(("instructions_a_second", "flash_bytes", "ram_bytes"), limits, strict=True))
    # Modes that channels share are compared in shared_states.py.
    own = {"shared_modes": (False,)} if kind == "dss" else {}
    choices = choices_of([kind], {kind: {"pooling": ("average",), **own}})[kind]
    prices = Prices(measure)
    space, taken, found = Space(kind, choices, prices, budgets), set(), []
    for _ in range(count):
        point = {field: int(random.integers(len(values))) for field, values in choices.items()}
        rate = RATES[random.integers(len(RATES))]
        try:
            _, network = space.nearest(point, 1.0, taken)
        except LookupError:
            break
        taken.add(str(network.figures()))
        predicted = prices.of(network)
        predicted = [predicted[key] for key in budgets]
        found.append({"architecture": network.figures(), "rate": rate, "predicted": predicted})
    return found


def fits(cost: list[float], limits: tuple[float, ...]) -> bool:
    """Whether nothing is above its limit."""
    return all(value <= limit for value, limit in zip(cost, limits, strict=True))


def digest(architecture: dict) -> str:
    """A short name for an architecture."""
    import hashlib

    return hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()[:12]


def run_seeds(name: str, trial: dict, seeds: int, steps: int, cache: Path, kept: dict) -> list[dict[str, Any]]:
    """What the network of a trial reaches with each seed; what the cache holds is not trained again."""
    stem = f"{digest(trial['architecture'])}-{trial['rate']:g}"
    paths = [cache / f"{stem}-{seed}-{steps}.json" for seed in range(seeds)]
    missing = [seed for seed, path in enumerate(paths) if not path.exists()]
    for seed, found in train_and_test(name, trial, missing, steps, cache.parents[1], kept):
        write_json(paths[seed], found)
    return [json.loads(path.read_text()) for path in paths]


def train_and_test(
    name: str, trial: dict, seeds: list[int], steps: int, data: Path, kept: dict
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Accuracies of a network on validation data, in Keras, and on test data, on the device, as fractions.

    Its training step is compiled once; `kept` holds what trainings with a seed see.
    """
    from keras_s4.architectures import Architecture
    from keras_s4.testing.trainings import Trainer, accuracy, adapt, make_model, task_of

    architecture, trainer = Architecture.of(trial["architecture"]), None
    for seed in seeds:
        task = task_of(name, seed, data)
        fresh = make_model(architecture, task, seed)
        adapt(fresh, task)
        trainer = trainer or Trainer(fresh, task, steps, learning_rate=trial["rate"])
        model = trainer.train(task, seed, fresh.get_weights(), kept.setdefault(seed, {}))
        yield (
            seed,
            {
                "network": str(architecture),
                "architecture": trial["architecture"],
                "rate": trial["rate"],
                "seed": seed,
                "validation": accuracy(model, task, "validation"),
                "test": accuracy(model, task, "test"),
                "device_test": accuracy_on_device(model, task, seed),
            },
        )


def accuracy_on_device(model, task, seed: int) -> float:
    """Of the integers, on test data."""
    from keras_s4 import tflite

    x, _ = task.windows("train")
    chosen = np.random.default_rng(seed).permutation(len(x))[:CALIBRATION]
    firmware = tflite.convert(model, x[np.sort(chosen)])
    x, y = task.windows("test")
    return float(np.mean(np.asarray(firmware.predict(x, engine="c")).argmax(axis=-1) == y))


def count_cost(name: str, figures: dict, data: Path) -> dict[str, float]:
    """What a network's C costs on a Cortex-M4, counted on an emulated one."""
    from keras_s4 import tflite
    from keras_s4.architectures import Architecture
    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.testing.trainings import CONTESTS, adapt, make_model, task_of

    architecture, task = Architecture.of(figures), task_of(name, 0, data)
    model = make_model(architecture, task, 0)
    adapt(model, task)
    x, _ = task.windows("train")
    cost = measure_on_cortex_m(tflite.convert(model, x[:2]).program, "m4")
    return {
        "instructions_a_second": CONTESTS[name].rate * cost.instructions,
        "flash_bytes": cost.flash_bytes,
        "ram_bytes": cost.ram_bytes,
        **{key: value for key, value in dataclasses.asdict(cost).items() if key in ("compiler", "method")},
    }
