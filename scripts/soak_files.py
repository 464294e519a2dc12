"""Can a damaged or malicious file upset this computer? 20,000 mutations of sound ones, their checksums mended.

Files of all kinds: states as inputs and as variables, blocks of steps, 16-bit activations, embeddings, recurrent,
convolution and normalisation layers, custom operators. Mutated are bits, bytes, words, lengths; the end is cut off;
parts come from elsewhere (`file_mutations.py`). Others are sound flatbuffers with changed structure: shapes, types,
scales, constants, options, operators, ends. Each is checked and, if it passes, run on TensorFlow Lite Micro, in a
process of its own. It must be refused with a `ValueError` or be computed: no other exception, no signal, no hanging.

Without `--rerun` the committed results are shown. A run over takes some minutes on two cores.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import queue
import resource
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from file_mutations import mutation
from measuring import RESULTS, Figure, conclude, read_result, record_of
from rich.progress import Progress

RESULT = RESULTS / "soak_files.json"
PACKAGES = ("keras-s4", "keras", "tensorflow", "numpy", "flatbuffers", "tflite-micro")
STEPS = 3
# Seconds, and bytes of memory beyond what is used already, that a file may take; sound ones take milliseconds.
PATIENCE, MEMORY = 20, 4 * 2**30
REFUSED, COMPUTED = "refused", "computed"


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
    converted = convert(small, x)
    made = {
        "states as inputs": converted,
        "states as variables": convert(small, x, states="variables"),
        "blocks of steps": convert(small, x, steps=2),
        "16-bit activations": convert(small, x, activations="int16"),
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
        "custom operators": to_tflite(converted.program, "inputs", "custom")
    }


def try_file(data: bytes) -> str:
    """What becomes of a file here: `REFUSED`, `COMPUTED`, or another exception."""
    from keras_s4.tflite.runtimes import TflmRunner

    try:
        runner = TflmRunner(data)
        summary = runner.summary
        inputs = [summary.tensors[index] for index in summary.inputs[: len(summary.inputs) - len(summary.states)]]
        random = np.random.default_rng(0)
        for step in range(STEPS):
            arrays = []
            for tensor in inputs:
                size = [length for length in tensor.shape]
                while len(size) > 1 and size[0] == 1:
                    size = size[1:]
                high = 2 if tensor.type == "int32" else np.iinfo(tensor.type).max
                low = 0 if tensor.type == "int32" else np.iinfo(tensor.type).min
                arrays.append(random.integers(low, high, size, endpoint=True).astype(tensor.type))
            runner.step(*arrays)
            if step == 1:
                runner.reset()
    except ValueError:
        return REFUSED
    except BaseException as error:  # every other outcome is a finding
        return f"{type(error).__name__}: {error}"
    return COMPUTED


def outcome(data: bytes, patience: float = PATIENCE) -> str:
    """The same in a process of its own: also the signal that ends it, or "hangs"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        faulthandler.disable()
        limit = used_memory() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(max(1, round(patience)))
        try:
            os.write(writing, try_file(data).encode()[:2000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "hangs" if number == signal.SIGALRM else signal.Signals(number).name
    return said or f"ended with status {os.WEXITSTATUS(status)}"


def used_memory() -> int:
    """Bytes of the address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def mutated(sound: dict[str, bytes], seed: int) -> tuple[str, str, bytes]:
    """The file that a number stands for: what it was made of, how, and its bytes."""
    random = np.random.default_rng(seed)
    name = list(sound)[seed % len(sound)]
    return name, *mutation(sound[name], list(sound.values()), random)


def soak(sound: dict[str, bytes], seeds: list[int], say=None) -> list[tuple[int, str, str, str]]:
    """For each number the file's name, the kind of mutation, and what became of it."""
    from keras_s4.tflite import runtimes  # once, not in each process

    runtimes.load_tflm()

    found = []
    for seed in seeds:
        name, kind, data = mutated(sound, seed)
        found.append((seed, name, kind, outcome(data)))
        if say:
            say()
    return found


def _worker(sound: dict[str, bytes], seeds: list[int], results) -> None:
    for start in range(0, len(seeds), 100):
        results.put(soak(sound, seeds[start : start + 100]))


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


def run_all(count: int, seed: int) -> list[tuple[int, str, str, str]]:
    """All mutations, on all cores."""
    # TensorFlow is left to a process that ends: those that fork stay small.
    spawn, fork = (multiprocessing.get_context(kind) for kind in ("spawn", "fork"))
    with spawn.Pool(1) as pool:
        sound = pool.apply(files)
    cores = os.cpu_count() or 1
    results = fork.Queue()
    seeds = list(range(seed, seed + count))
    workers = [
        fork.Process(target=_worker, args=(sound, seeds[first::cores], results), daemon=True) for first in range(cores)
    ]
    for worker in workers:
        worker.start()
    found: list[tuple[int, str, str, str]] = []
    with Progress() as progress:
        task = progress.add_task(f"{count} files", total=count)
        while len(found) < count:
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


def main(
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute the results anew instead of reading them.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short.")] = False,
    count: Annotated[int, typer.Option(help="Mutated files.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
):
    """Damaged and malicious files."""
    if rerun:
        start = time.monotonic()
        found = run_all(count, seed)
        print(f"{time.monotonic() - start:.0f} s")
        record = record_of(figures_of(found), PACKAGES, settings={"files": count, "seed": seed})
        json_file = json_file or RESULT
    else:
        record = read_result(RESULT)
    conclude("Damaged and malicious files", record, json_file, check)


if __name__ == "__main__":
    typer.run(main)
