"""Models of several sorts, saved as ready-made projects."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

from keras_s4.decisions import Decision
from keras_s4.testing import programs
from keras_s4.tflite.firmware import Converted
from keras_s4.tflite.flatbuffer import to_tflite
from keras_s4.tflite.program.operations import Embed
from keras_s4.tflite.program.program import Program
from keras_s4.tflite.program.tensors import Tensor


def gesture() -> Program:
    """A classifier."""
    return dataclasses.replace(programs.model(lowered=True), name="gesture", output_activations=("softmax",))


def station() -> Program:
    """Three inputs of different types, one of tokens, and two outputs."""
    b = programs.Builder(3, lowered=True)
    fast, slow = Tensor("class", (3,), "int16", 2.0**-12), Tensor("slow", (4,), "int8", 0.05, -17)
    words = Tensor("words", (1,), "int32")
    table = b.constant(b.random.integers(-128, 128, (5, 4)), "int8", 0.05)
    row = b.add(Embed(words, table, b.activation(4, "int8", 0.05, -17)))
    outputs = b.diagonal_step(b.fully_connected(fast, 6), 2), b.sum(slow, row)
    activations = "softmax", "linear"
    return Program("station", (fast, slow, words), outputs, tuple(b.states), tuple(b.operations), activations)


def turbine() -> Program:
    """Two banks of modes, each between two products: one with feedback and clamped states, one without."""
    b = programs.Builder(4, lowered=True)
    x = b.activation(3, "int16", 2.0**-12, name="x")
    fed = b.modal_step(b.fully_connected(x, 14), limit=2**30, feedback=3)
    outputs = b.fully_connected(fed, 4), b.fully_connected(b.modal_step(b.fully_connected(x, 8)), 5)
    return dataclasses.replace(b.program(x, *outputs), name="turbine")


DECISIONS = {
    "class": Decision(
        every=4, rate=50.0, confirmations=2, classes=("rest", "left", "right", "up", "down"), background=0
    ),
    "wake word": Decision(kind="wake word", every=4, threshold=0.3, release=0.25),
    "labels": Decision(kind="labels", every=8, threshold=0.3, release=0.2, classes=("a", "b", "c", "d", "e")),
}
SENSORS = {axis: {"lsb": 1 / 4096, "unit": "g", "range": (-32768, 32767), "name": "xyz"[axis]} for axis in range(3)}


def save(case: str, kind: str, folder: Path) -> Path:
    """A case as a project of a kind: "windows", "several", "modes", or a kind of decision from a sensor."""
    if case == "several":
        program, length, more = station(), None, {}
    elif case == "modes":
        program, length, more = turbine(), None, {}
    elif case == "windows":
        program, length, more = gesture(), 60, {}
    else:
        program, length, more = gesture(), None, {"decision": DECISIONS[case], "sensors": SENSORS}
    return Converted(program, to_tflite(program), length).save(folder, project=kind, **more)


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
