"""Our step on both backends beside public code, the start of a training, and a compiled loop of steps.

Each library runs in a process of its own on one core and tells processor time, so that whatever else the machine does
hardly counts; the processes take turns in rounds. Public code is read from checkouts of the user's and with an
interpreter that has PyTorch, einops and Flax; what is not there is reported as not measured.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from keras_s4.testing.experiment import Figure, Measurement

LENGTH, LONG, STATES = 784, 16384, (16, 32)
LENGTH_OF_MEMORY = 4096
BACKENDS = {"TensorFlow": "tensorflow", "JAX": "jax"}
TORCH, FLAX = "PyTorch S4D", "annotated-s4"
CALLS = 5


@dataclasses.dataclass(frozen=True)
class Peers:
    """Where public code is.

    Args:
        s4: checkout of github.com/state-spaces/s4, or None.
        annotated: checkout of github.com/srush/annotated-s4, or None.
        python: interpreter of an environment with torch, einops and flax.
    """

    s4: Path | None
    annotated: Path | None
    python: str

    def folder_of(self, library: str) -> Path | None:
        """The checkout that a library is read from."""
        return {TORCH: self.s4, FLAX: self.annotated}.get(library)

    def missing(self, library: str) -> str:
        """Why a library is not measured, or an empty string."""
        flag = {TORCH: "--s4-checkout", FLAX: "--annotated-s4-checkout"}.get(library)
        return f"not measured: {flag} names no checkout" if flag and self.folder_of(library) is None else ""


class Process:
    """One library that runs one task.

    Raises:
        ChildProcessError: it ended before its first call was done; with the last line that it wrote.
    """

    def __init__(self, peers: Peers, library: str, task: str, **arguments: int):
        folders = [Path(__file__).parent, *filter(None, [peers.folder_of(library)])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "KERAS_BACKEND": BACKENDS.get(library, ""),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_PLATFORMS": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        python = sys.executable if library in BACKENDS else peers.python
        code = "import backends_steps; backends_steps.main()"
        self._process = subprocess.Popen(
            [python, "-c", code, library, task, json.dumps(arguments)],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        line = self._process.stdout.readline()
        if not line:
            errors = self._process.communicate()[1].strip().splitlines() or ["no message"]
            raise ChildProcessError(f"{library} could not run {task}: {errors[-1]}")
        self.first = json.loads(line)

    def time(self, calls: int) -> float:
        """Processor seconds of a call."""
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def measure_peers(peers: Peers, rounds: int) -> Measurement:
    """Steps of all libraries, what a training needs to begin, and streams."""
    libraries = [library for library in (*BACKENDS, TORCH, FLAX) if not peers.missing(library)]
    seconds, firsts, figures = {}, {}, []
    for states in STATES:
        timed = time_steps(peers, libraries, rounds, states)
        seconds |= {f"{library}, {states} states": each for library, each in timed.items()}
        figures += step_figures(states, timed)
    growing = {library: time_growth(peers, library, rounds) for library in BACKENDS}
    figures += [
        Figure(f"{library}: processor time at {LONG:,}, of that at {LENGTH}", value, at_most=24.0)
        for library, value in growing.items()
    ]
    firsts = {library: first_fit(peers, library) for library in libraries if library != FLAX}
    figures += first_figures(firsts)
    rates = {library: stream_rate(peers, library, rounds) for library in BACKENDS}
    figures += [
        Figure(f"{library}: one stream by compiled_steps", rate, at_least=5000, unit=" steps/s")
        for library, rate in rates.items()
    ]
    details = {
        "milliseconds": {name: [1e3 * value for value in values] for name, values in seconds.items()},
        "first_fit_seconds": firsts,
        "missing": {library: reason for library in (TORCH, FLAX) if (reason := peers.missing(library))},
    }
    return Measurement(figures, details)


def measure_memory(peers: Peers) -> Measurement:
    """Arrays of our step on JAX, beside those with the plain kernel."""
    mebibytes = {}
    for name, plain in (("ours", False), ("plain kernel", True)):
        process = Process(peers, "JAX", "memory", length=LENGTH_OF_MEMORY, states=STATES[-1], plain=plain)
        process.close()
        mebibytes[name] = process.first["value"]
    name = f"JAX: arrays of a step at {LENGTH_OF_MEMORY:,}, of the plain kernel's"
    figure = Figure(name, mebibytes["ours"] / mebibytes["plain kernel"], at_most=0.7)
    return Measurement([figure], {"memory_mib": mebibytes})


def describe_peers(peers: Peers) -> dict[str, str]:
    """Commits of the checkouts and versions of what they run on, as far as they can be found."""
    commands = {
        library: ["git", "-C", str(folder), "rev-parse", "HEAD"]
        for library in (TORCH, FLAX)
        if (folder := peers.folder_of(library))
    }
    tell = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    commands |= {package: [peers.python, "-c", tell, package] for package in ("torch", "flax", "jax") if commands}
    found = {name: subprocess.run(command, capture_output=True, text=True) for name, command in commands.items()}
    return {name: result.stdout.strip() for name, result in found.items() if result.returncode == 0}


def time_steps(peers: Peers, libraries: list[str], rounds: int, states: int) -> dict[str, list[float]]:
    """Seconds of a step of each library, an entry a round."""
    processes = {}
    try:
        for library in libraries:
            processes[library] = Process(peers, library, "step", length=LENGTH, states=states)
        turns = [{library: process.time(CALLS) for library, process in processes.items()} for _ in range(rounds)]
    finally:
        for process in processes.values():
            process.close()
    return {library: [turn[library] for turn in turns] for library in libraries}


def time_growth(peers: Peers, library: str, rounds: int) -> float:
    """What a step of long sequences costs, of one of short ones."""
    processes = []
    try:
        for length in (LENGTH, LONG):
            processes.append(Process(peers, library, "step", length=length, states=STATES[-1]))
        short, long = processes
        return statistics.median(1.0 / short.time(CALLS) * long.time(1) for _ in range(rounds))
    finally:
        for process in processes:
            process.close()


def first_fit(peers: Peers, library: str) -> dict[str, float]:
    """Processor seconds of importing, making a classifier and its first training step."""
    process = Process(peers, library, "first fit", length=LENGTH, states=STATES[-1])
    process.close()
    return process.first


def stream_rate(peers: Peers, library: str, rounds: int) -> float:
    """Steps of one stream in a second of processor time."""
    process = Process(peers, library, "stream")
    try:
        return 1000 / statistics.median(process.time(CALLS) for _ in range(rounds))
    finally:
        process.close()


def step_figures(states: int, seconds: dict[str, list[float]]) -> Iterator[Figure]:
    """Ratios of the rounds' steps."""

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    yield Figure(f"JAX step at {LENGTH}, {states} states, of TensorFlow's", ratio("JAX", "TensorFlow"), at_most=1.0)
    for library in BACKENDS:
        if FLAX in seconds:
            target = 0.5 if library == "JAX" else None
            name = f"{library} step at {LENGTH}, {states} states, of annotated-s4's"
            yield Figure(name, ratio(library, FLAX), at_most=target)
        if TORCH in seconds:
            yield Figure(f"{library} step at {LENGTH}, {states} states, of PyTorch S4D's", ratio(library, TORCH))


def first_figures(firsts: dict[str, dict[str, float]]) -> Iterator[Figure]:
    """What we take to begin, of what PyTorch takes."""
    for library in BACKENDS:
        if TORCH in firsts:
            ours, theirs = firsts[library], firsts[TORCH]
            yield Figure(f"{library}: import, of PyTorch's", ours["import"] / theirs["import"], at_most=1.0)
            whole = sum(ours.values()) / sum(theirs.values())
            yield Figure(f"{library}: from nothing to the first fit step, of PyTorch's", whole, at_most=1.0)


def tables(record: dict[str, Any]) -> Iterator[Table]:
    """The steps of all, and how long each takes to begin."""
    title = f"Training step at {LENGTH} samples beside public code, processor time on one core"
    steps = Table("layer", "ms", "least", title=title)
    for name, milliseconds in record["milliseconds"].items():
        steps.add_row(name, f"{statistics.median(milliseconds):,.1f}", f"{min(milliseconds):,.1f}")
    steps.caption = "\n".join(f"{library}: {reason}" for library, reason in record["missing"].items())
    yield steps
    title = "From nothing to a first fit step, seconds of processor time"
    firsts = Table("library", "import", "make the model", "first step", title=title)
    for library, first in record["first_fit_seconds"].items():
        firsts.add_row(library, *(f"{first[key]:.1f}" for key in ("import", "make", "first call")))
    yield firsts
