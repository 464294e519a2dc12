"""What the networks of `rank_tuning.py` that export cost on a device, whole and factored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from rank_tuning_networks import SETUPS, data_of, train_or_load

from keras_s4.testing.experiment import cache_json

CORE = "m4"
# Training examples that scales are chosen from, test examples that the integers are scored on.
CALIBRATION, TESTED = 200, 1_000


def measure_on_device(name: str, networks: dict[str, tuple[str, str | None]], cache: Path) -> dict[str, Any]:
    """Figures of some networks of seed 0, whole and factored, in a process of its own.

    Args:
        name: of the task.
        networks: by title, of each network the adaptation, and the file of the factored one, None for the whole.
        cache: with the networks.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    return {
        title: cache_json(
            cache / f"device-{name}-{title}-{Path(file or 'whole').stem}.json",
            lambda adaptation=adaptation, file=file: _measure(name, adaptation, file, cache),
        )
        for title, (adaptation, file) in networks.items()
    }


def _measure(name: str, adaptation: str, file: str | None, cache: Path) -> dict[str, Any]:
    import keras

    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.tflite import convert

    model = keras.saving.load_model(cache / file) if file else train_or_load(name, adaptation, 0, cache)
    train, _, test = data_of(name, 0)
    random = np.random.default_rng(0)
    converted = convert(model, train[0][random.permutation(len(train[0]))[:CALIBRATION]])
    chosen = random.permutation(len(test[0]))[:TESTED]
    x, y = (part[chosen] for part in test)
    floating = model.predict(x, batch_size=250, verbose=0).argmax(axis=-1)
    integers = np.asarray(converted.predict(x, engine="c")).argmax(axis=-1)
    cost = measure_on_cortex_m(converted.program, CORE)
    return {
        "network": SETUPS[name].title,
        "float": float(np.mean(floating == y)),
        "device": float(np.mean(integers == y)),
        "equal_labels": float(np.mean(integers == floating)),
        "tested": len(x),
        "tflite_bytes": len(converted.tflite),
        "instructions": round(cost.instructions),
        "likely_cycles": round(cost.likely_cycles),
        "code_bytes": cost.code_bytes,
        "constant_bytes": cost.constant_bytes,
        "flash_bytes": cost.flash_bytes,
        "ram_bytes": cost.ram_bytes,
        "compiler": cost.compiler,
    }
