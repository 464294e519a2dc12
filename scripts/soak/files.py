"""Can a damaged or malicious file upset this computer? 20,000 mutations of sound ones, their checksums mended.

Files of all kinds: states as inputs and as variables, blocks of steps, 16-bit activations, modes shared by channels,
embeddings, recurrent, convolution and normalisation layers, custom operators of either kind of modes. Mutated are bits,
bytes, words, lengths; the end is cut off; parts come from elsewhere (`keras_s4.testing.file_mutations`). Others are
sound flatbuffers with changed structure: shapes, types, scales, constants, options, operators, ends. Each is checked
and, if it passes, run on TensorFlow Lite Micro, in a process of its own. It must be refused with a `ValueError` or be
computed: no other exception, no signal, no hanging.

A run over takes some minutes on two cores.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts
from keras_s4.testing.hostile_files import COMPUTED, REFUSED, try_mutations

# Files that are run before they are written down.
CHUNK = 5_000


def files() -> dict[str, bytes]:
    """Sound files of all kinds, by what is in them."""
    import keras
    from keras import layers

    from keras_s4 import layers as ours
    from keras_s4 import models
    from keras_s4.tflite import convert
    from keras_s4.tflite.flatbuffer import to_tflite

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x, tokens = random.normal(size=(4, 24, 3)), random.integers(0, 11, (4, 24))

    def sequential(*stack, tokens: bool = False):
        start = [keras.Input((24,), dtype="int32")] if tokens else [keras.Input((24, 3))]
        return keras.Sequential([*start, *stack])

    small = models.classifier((24, 3), 4, channels=6, states=3, blocks=1)
    shared = models.classifier((24, 3), 4, channels=6, states=4, blocks=1, shared_modes=True)
    converted, bank = convert(small, x), convert(shared, x)
    made = {
        "states as inputs": converted,
        "states as variables": convert(small, x, states="variables"),
        "blocks of steps": convert(small, x, steps=2),
        "16-bit activations": convert(small, x, activations="int16"),
        "shared modes": bank,
        "embedding": convert(
            sequential(layers.Embedding(11, 4), ours.DSS(2), layers.GlobalAveragePooling1D(), tokens=True), tokens
        ),
        "recurrent": convert(sequential(layers.GRU(4, reset_after=False, return_sequences=True), layers.LSTM(3)), x),
        "convolution": convert(
            sequential(
                layers.Conv1D(4, 3, padding="causal", activation="relu"),
                layers.SeparableConv1D(5, 3),
                layers.MaxPooling1D(2),
                layers.Dense(3, activation="tanh"),
            ),
            x,
        ),
        "normalisation": convert(
            sequential(layers.LayerNormalization(), layers.Dense(4, "gelu"), layers.BatchNormalization()), x
        ),
    }
    return {name: one.tflite for name, one in made.items()} | {
        "custom operators": to_tflite(converted.program, "inputs", "custom"),
        "custom operators of shared modes": to_tflite(bank.program, "inputs", "custom"),
    }


def _worker(sound: dict[str, bytes], seeds: list[int], results) -> None:
    for start in range(0, len(seeds), 100):
        results.put(try_mutations(sound, seeds[start : start + 100]))


def figures_of(found: list[tuple[int, str, str, str]]) -> list[Figure]:
    """Figures: what must not happen, and what happened."""
    counts = Counter(result for *_, result in found)
    unexpected = {result: count for result, count in counts.items() if result not in (REFUSED, COMPUTED)}
    title = f"{len(found):,} mutated files"
    kinds, refused = Counter(kind for _, _, kind, _ in found), Counter(k for _, _, k, r in found if r == REFUSED)
    names = Counter(name for _, name, _, _ in found)
    return [
        Figure(f"{title}: neither refused nor computed", sum(unexpected.values()), at_most=0),
        Figure(
            f"{title}: ended by a signal or hanging", sum(c for r, c in unexpected.items() if " " not in r), at_most=0
        ),
        Figure(f"{title}: refused", counts[REFUSED]),
        Figure(f"{title}: computed", counts[COMPUTED]),
        *(Figure(f"mutations of {kind}", kinds[kind]) for kind in sorted(kinds)),
        *(Figure(f"mutations of {kind}: refused", refused[kind]) for kind in sorted(kinds)),
        *(Figure(f"mutations of a file of {name}", names[name]) for name in sorted(names)),
    ]


def run_all(sound: dict[str, bytes], seeds: range) -> list[tuple[int, str, str, str]]:
    """Mutations on all cores."""
    fork = multiprocessing.get_context("fork")
    cores = os.cpu_count() or 1
    results = fork.Queue()
    workers = [
        fork.Process(target=_worker, args=(sound, list(seeds[first::cores]), results), daemon=True)
        for first in range(cores)
    ]
    for worker in workers:
        worker.start()
    found: list[tuple[int, str, str, str]] = []
    with Progress() as progress:
        task = progress.add_task(f"{len(seeds)} files from {seeds[0]}", total=len(seeds))
        while len(found) < len(seeds):
            try:
                part = results.get(timeout=5)
            except queue.Empty:
                if not any(worker.is_alive() for worker in workers):
                    raise RuntimeError("the processes that run the files have ended early") from None
                continue
            found += part
            progress.advance(task, len(part))
            for number, name, kind, result in part:
                if result not in (REFUSED, COMPUTED):
                    progress.console.print(f"{number}, {name}, {kind}: {result}", markup=False)
    for worker in workers:
        worker.join()
    return sorted(found)


def compute(
    cache: Path,
    count: Annotated[int, typer.Option(help="Mutated files.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
) -> Measurement:
    """Makes and runs the files."""
    # TensorFlow is left to a process that ends: those that fork stay small.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sound = pool.apply(files)
    found: list[Any] = []
    with finished_parts(cache, count=count, seed=seed) as part:
        for start in range(seed, seed + count, CHUNK):
            seeds = range(start, min(start + CHUNK, seed + count))
            found += part(f"from {start}", lambda seeds=seeds: run_all(sound, seeds))
    return Measurement(figures_of(found), {"settings": {"files": count, "seed": seed}})


EXPERIMENT = Experiment(
    title="Damaged and malicious files",
    result=Path(__file__).parents[1] / "results" / "soak_files.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "flatbuffers", "tflite-micro"),
    cache=Path("runs/soak_files"),
)

if __name__ == "__main__":
    EXPERIMENT.run()
