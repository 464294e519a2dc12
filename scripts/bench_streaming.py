"""How far step mode and convolution mode are apart: the demo's model at 500 steps, and six blocks at 4,096."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from measuring import Figure, conclude, record_of

LIMIT = 1e-4


def deviation(blocks: int, length: int, pooled: bool, seed: int) -> float:
    """Largest difference of the two modes, relative to the largest output, of a model with random data behind it."""
    import keras

    from keras_s4 import layers, models, streaming

    keras.utils.set_random_seed(seed)
    if pooled:
        model = models.classifier((length, 6), classes=7, channels=32, states=32, blocks=blocks)
    else:
        inputs = keras.Input((length, 6))
        hidden = keras.layers.Dense(32)(inputs)
        for _ in range(blocks):
            hidden = layers.S4Block(32)(hidden)
        model = keras.Model(inputs, hidden)
    x = np.random.default_rng(seed).normal(size=(4, length, 6)).astype("float32")
    model.compile("adam", "mse")
    model.fit(x, model.predict(x, verbose=0), epochs=2, verbose=0)  # moves the normalisations off their start
    whole = model.predict(x, verbose=0)
    streamed = streaming.StreamingModel(model).predict(x, verbose=0)
    return float(np.abs((streamed[:, -1] if pooled else streamed) - whole).max() / np.abs(whole).max())


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short of its target.")] = False,
    seeds: Annotated[int, typer.Option(help="Random models of each kind.", min=1)] = 3,
):
    """Measure the difference between step mode and convolution mode."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cases = {"classifier, 2 blocks, 500 steps": (2, 500, True), "6 blocks, 4,096 steps": (6, 4096, False)}
    figures = [
        Figure(f"{name}, worst of {seeds} seeds", max(deviation(*case, seed) for seed in range(seeds)), at_most=LIMIT)
        for name, case in cases.items()
    ]
    record = record_of(figures, ("keras-s4", "keras", "tensorflow", "numpy"), seeds=list(range(seeds)))
    conclude("Step mode against convolution mode, of the largest output", record, json_file, check)


if __name__ == "__main__":
    typer.run(main)
