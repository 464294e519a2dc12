"""The C99 firmware: an application around the generated C, and recordings with the results that must come out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.tflite.application.c_arrays import struct
from keras_s4.tflite.application.decisions import ProgramDecision, golden_decisions, initializers, render_decisions
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.application.sensors import SensorInput
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.program.program import Program

TEMPLATES = Path(__file__).parent / "templates" / "firmware"
FILES = (
    "application.c",
    "application.h",
    "board.h",
    "board_host.c",
    "golden.h",
    "main.c",
    "Makefile",
    "sample_ring.c",
    "sample_ring.h",
    "sensor_scale.c",
    "sensor_scale.h",
)
SENSOR_FILES = ("sensors.c",)  # of firmware that knows its sensors
# Where each recording starts in the golden samples, and how many steps it has where there are no windows.
FIRSTS, STEPS = (0, 7), 48
# A window that a gap ends counts for nothing, so each recording ends in one. Of windows of more samples than LONG there
# is a single one in a single recording: the emulator takes a millisecond a step.
WINDOWS, LONG = 2, 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """What a board plays to check the main loop.

    Args:
        samples: for each input of the program what its sensor gives, integers `[P, ...]`, without the axis of a block.
        firsts: the sample that each recording starts with; after the last sample it goes on with the first.
        length: samples of a recording.
        results: for each output, its integers `[K, ...]` each time that the main loop uses them: equally often in each
            recording.
    """

    samples: tuple[np.ndarray, ...]
    firsts: tuple[int, ...]
    length: int
    results: tuple[np.ndarray, ...]


def windows_of(program: Program, length: int | None) -> int:
    """Samples of the windows that a program averages over, 0 if it does not."""
    return length if length and program.sums_over_time else 0


def recordings_of(
    program: Program,
    length: int | None,
    golden: Golden,
    every: int = 0,
    sensors: Sequence[SensorInput] | None = None,
) -> Recordings:
    """Recordings of the first golden stream, and what the emulator says that comes out.

    Args:
        program: the integer program.
        length: steps of a window, None where there are no windows.
        golden: vectors of the program.
        every: steps from one decision to the next; 0 where none are made.
        sensors: of all inputs; by default they give the program's integers less their zero points.
    """
    window = windows_of(program, length)
    period = window or every
    firsts, count = (FIRSTS, WINDOWS) if period <= LONG else (FIRSTS[:1], 1)
    if period and not window:
        count = max(count, STEPS // period)
    used = period or STEPS * program.steps
    # A window is a stream of its own, decisions follow each other in one.
    streams = [first + window * index for first in firsts for index in range(count if window else 1)]
    steps = used if window else used * count if period else used
    samples = tuple(_without_blocks(array[0], program.steps) for array in golden.inputs)
    if sensors is None:
        given = [array.astype(int) - tensor.zero_point for array, tensor in zip(samples, program.inputs, strict=True)]
    else:
        given = [each.raw(array.reshape(len(array), -1)) for each, array in zip(sensors, samples, strict=True)]
        samples = tuple(each.integers(array) for each, array in zip(sensors, given, strict=True))
    places = (np.array(streams)[:, None] + np.arange(steps)) % len(samples[0])
    shape = len(streams), steps // program.steps
    inputs = [array[places].reshape(*shape, *t.shape) for array, t in zip(samples, program.inputs, strict=True)]
    outputs = Emulator(program).trace(inputs, record=[]).outputs
    invokes = period // program.steps or 1
    results = [array[:, invokes - 1 :: invokes] for array in outputs]
    results = [array.reshape(-1, *array.shape[2:]) for array in results]
    return Recordings(tuple(given), firsts, count * period + period // 2 if period else used, tuple(results))


def _without_blocks(steps: np.ndarray, size: int) -> np.ndarray:
    """`[L, T, ..]` as `[L T, ..]`; as it is if T is 1."""
    return steps if size == 1 else steps.reshape(-1, *steps.shape[2:])


def render_firmware(
    program: Program,
    manifest: dict[str, Any],
    golden: Golden,
    c_name: str,
    decision: ProgramDecision | None = None,
    sensors: Sequence[SensorInput] | None = None,
    kernels: Sequence[str] | None = None,
) -> dict[str, str]:
    """The text of every file of `FILES`, by name; and of `SENSOR_FILES` and decisions, where there are such.

    Args:
        program: the integer program.
        manifest: the facts about it, as `manifest_of` gives them.
        golden: vectors of the program.
        c_name: what its C files and functions are called.
        decision: is made from its results; None for none.
        sensors: of all inputs; None where the board says what they are.
        kernels: C files of the kernels that the Makefile compiles; None for all beside the model.
    """
    inputs, outputs, _ = ends_of(program)
    windows = windows_of(program, manifest["window_length"])
    every = decision.decider.decision.every if decision else 0
    recordings = recordings_of(program, manifest["window_length"], golden, every, sensors)
    context = {
        "name": printable(program.name),
        "c_name": c_name,
        "manifest": manifest,
        "inputs": inputs,
        "outputs": outputs,
        "windows": windows,
        "samples_per_step": program.steps,
        "counts": bool(windows) or program.steps > 1 or every > 1,
        "decision": decision,
        # Whether there are steps whose outputs nobody asks for.
        "skips": not windows and every > program.steps,
        "has_tokens": any(end.is_token for end in inputs),
        "likeliest_types": sorted({end.c_type for end in outputs if end.activation == "softmax"}),
        "recordings": recordings,
        "samples": [struct(list(arrays)) for arrays in zip(*recordings.samples, strict=True)],
        "sensors": sensors,
        "kernels": kernels,
        "results": _results(outputs, recordings),
    }
    names = FILES if sensors is None else FILES + SENSOR_FILES
    if decision is None:
        return {name: render(TEMPLATES / f"{name}.jinja", **context) for name in names}
    context["known_scores"], context["known_decisions"] = golden_decisions(decision)
    context["decided"] = _decided(decision, recordings)
    texts = {name: render(TEMPLATES / f"{name}.jinja", **context) for name in names}
    return texts | render_decisions(program, decision)


def _decided(decision: ProgramDecision, recordings: Recordings) -> list[str]:
    """Initialisers of the decisions that must come with the results."""
    scores = decision.scores_of(recordings.results[decision.place])
    of_each = scores.reshape(len(recordings.firsts), -1, scores.shape[-1])
    return [text for own in of_each for text in initializers(decision.decider.run(own))]


def _results(outputs: list[End], recordings: Recordings) -> list[str]:
    """Initialisers of `model_results`."""
    results = []
    for arrays in zip(*recordings.results, strict=True):
        fields = []
        for end, values in zip(outputs, arrays, strict=True):
            classes = values.reshape(end.rows, -1).argmax(axis=1)
            if end.activation != "softmax":
                fields.append(struct([values]))
            elif end.rows > 1:
                fields.append(struct([values, classes]))
            else:
                fields.append(f"{struct([values])[:-1]}, {classes[0]}}}")
        results.append("{" + ",\n     ".join(fields) + "}")
    return results
