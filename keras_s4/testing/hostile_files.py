"""What becomes of damaged `.tflite` files, each run in a process of its own, which may die of it. Linux only."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from keras_s4.testing.file_mutations import mutate
from keras_s4.tflite import runtimes

STEPS = 3
# Seconds, and bytes of memory beyond what is used already, that a file may take; sound ones take milliseconds.
PATIENCE, MEMORY = 20, 4 * 2**30
REFUSED, COMPUTED = "refused", "computed"


def try_file(data: bytes) -> str:
    """What becomes of a file here: `REFUSED`, `COMPUTED`, or another exception."""
    try:
        runner = runtimes.TflmRunner(data)
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


def outcome_of(data: bytes, patience: float = PATIENCE) -> str:
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


def mutate_file(sound: dict[str, bytes], seed: int) -> tuple[str, str, bytes]:
    """The file that a number stands for: what it was made of, how, and its bytes."""
    random = np.random.default_rng(seed)
    name = list(sound)[seed % len(sound)]
    return name, *mutate(sound[name], list(sound.values()), random)


def try_mutations(
    sound: dict[str, bytes], seeds: Iterable[int], advance: Callable[[], None] = lambda: None
) -> list[tuple[int, str, str, str]]:
    """What becomes of mutated files: the number, the sound file's name, the kind of mutation, the outcome.

    Args:
        sound: files by name.
        seeds: numbers that stand for mutations.
        advance: function that is called after each.
    """
    runtimes.load_tflm()  # once, not in each process
    found = []
    for seed in seeds:
        name, kind, data = mutate_file(sound, seed)
        found.append((seed, name, kind, outcome_of(data)))
        advance()
    return found
