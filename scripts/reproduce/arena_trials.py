"""The trials of one kind of network on one task: drawn, trained, chosen, put into integers and tested."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.testing.experiment import cache_json

KINDS = ("dss", "gru", "lstm", "rnn", "cnn", "tcn")
# Gradient steps of a training.
STEPS = {
    "smartwatch": 400,
    "fashion-rows": 600,
    "fashion-pixels": 600,
    "mnist-pixels": 600,
    "appliances": 400,
    "drums": 400,
    "keywords": 600,
}
# Instructions a second of signal on a Cortex-M4, bytes of flash for code and constants, bytes of RAM.
_SLOW = {"small": (1e5, 8e3, 2e3), "medium": (3e5, 16e3, 4e3), "large": (1e6, 32e3, 8e3)}
_FAST = {"small": (1e6, 8e3, 2e3), "medium": (3e6, 16e3, 4e3), "large": (1e7, 32e3, 8e3)}
BUDGETS = {name: _FAST if name in ("fashion-pixels", "mnist-pixels", "appliances") else _SLOW for name in STEPS}
LEAST_FILLED = 0.4
DRAWS = 3_000
CALIBRATION = 200


def compete(name: str, kind: str, cache: Path, trials: int, seeds: int, length: float) -> dict[str, Any]:
    """The trials of a kind, and for each budget the chosen one with all its seeds."""
    steps = round(length * STEPS[name])
    tried = []
    for budget, limits in BUDGETS[name].items():
        proposals = cache_json(
            cache / f"{budget}-{trials}.json", lambda limits=limits: propose(name, kind, limits, trials)
        )
        tried += [run_seed(name, proposal, 0, steps, cache) for proposal in proposals]
    chosen = {}
    for budget, limits in BUDGETS[name].items():
        within = [trial for trial in tried if fits(trial["predicted"], limits)]
        if not within:
            continue
        best = max(within, key=lambda trial: trial["validation"])["architecture"]
        runs = [run_seed(name, best, seed, steps, cache) for seed in range(seeds)]
        cost = cache_json(cache / f"{digest(best)}-cost.json", lambda best=best: count_cost(name, best))
        chosen[budget] = {"architecture": best, "network": runs[0]["network"], "runs": runs, "cost": cost}
    return {"trials": tried, "chosen": chosen}


def propose(name: str, kind: str, limits: tuple[float, ...], count: int) -> list[dict]:
    """Architectures that fill a budget, drawn at random; the same for the same arguments."""
    from keras_s4.testing.trainings import CONTESTS

    found = []
    task = CONTESTS[name].of(0)
    for architecture in draw_architectures(kind, sorted(KINDS).index(kind)):
        if architecture in found:
            continue
        cost = predict_cost(name, task, architecture)
        filled = max(value / limit for value, limit in zip(cost, limits, strict=True)) if cost else 0.0
        if LEAST_FILLED <= filled <= 1.0:
            found.append(architecture)
        if len(found) == count:
            break
    return [architecture.figures() for architecture in found]


def draw_architectures(kind: str, seed: int) -> Iterator[Any]:
    """Random points of a kind's space."""
    from keras_s4.architectures import Architecture, spaces

    random = np.random.default_rng(seed)
    space = spaces(kind)
    for _ in range(DRAWS):
        values = {field: choices[random.integers(len(choices))] for field, choices in space.items()}
        if (values.get("rank") or 0) <= values["width"]:
            yield Architecture(kind, **values)


def predict_cost(name: str, task, architecture) -> tuple[float, ...] | None:
    """Instructions a second, flash and RAM by the cost model; None where the task is too short for the architecture."""
    from keras_s4.costs import architecture_cost
    from keras_s4.testing.trainings import CONTESTS, normalizes

    try:
        cost = architecture_cost(architecture, task.input_shape, len(task.outputs), normalization=normalizes(task))
    except (ValueError, NotImplementedError):
        return None
    return CONTESTS[name].rate * cost.instructions, cost.flash_bytes, cost.ram_bytes


def fits(cost: list[float], limits: tuple[float, ...]) -> bool:
    """Whether nothing is above its limit."""
    return all(value <= limit for value, limit in zip(cost, limits, strict=True))


def digest(architecture: dict) -> str:
    """A short name for an architecture."""
    import hashlib

    return hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()[:12]


def run_seed(name: str, architecture: dict, seed: int, steps: int, cache: Path) -> dict[str, Any]:
    """What a network reaches with a seed, from the cache where it is there."""
    path = cache / f"{digest(architecture)}-{seed}-{steps}.json"
    return cache_json(path, lambda: train_and_test(name, architecture, seed, steps))


def train_and_test(name: str, figures: dict, seed: int, steps: int) -> dict[str, Any]:
    """Accuracies of a network on validation data, in Keras, and on test data, on the device, as fractions."""
    from keras_s4 import tflite
    from keras_s4.architectures import Architecture
    from keras_s4.testing.trainings import CONTESTS, Trainer, accuracy, adapt, make_model

    architecture, task = Architecture.of(figures), CONTESTS[name].of(seed)
    model = make_model(architecture, task, seed)
    adapt(model, task)
    Trainer(model, task, steps).train(task, seed)
    found = {"validation": accuracy(model, task, "validation"), "test": accuracy(model, task, "test")}
    x, _ = task.windows("train")
    chosen = np.random.default_rng(seed).permutation(len(x))[:CALIBRATION]
    firmware = tflite.convert(model, x[np.sort(chosen)])
    x, y = task.windows("test")
    device = np.asarray(firmware.predict(x, engine="c")).argmax(axis=-1)
    return {
        "network": str(architecture),
        "architecture": figures,
        "seed": seed,
        "predicted": predict_cost(name, task, architecture),
        **found,
        "device_test": float(np.mean(device == y)),
    }


def count_cost(name: str, figures: dict) -> dict[str, float]:
    """What a network's C costs on a Cortex-M4, counted on an emulated one."""
    from keras_s4 import tflite
    from keras_s4.architectures import Architecture
    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.testing.trainings import CONTESTS, adapt, make_model

    architecture, task = Architecture.of(figures), CONTESTS[name].of(0)
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
