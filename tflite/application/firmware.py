"""The C99 firmware: a main loop around the generated C, and recordings with the results that must come out of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.tflite.application.c_arrays import struct
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.emulator.emulator import Emulator
from keras_s4.tflite.program.program import Program

TEMPLATES = Path(__file__).parent / "templates" / "firmware"
FILES = (
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
# Where each recording starts in the golden samples, and how many steps it has where there are no windows.
FIRSTS, STEPS = (0, 7), 48
# A window that a gap ends counts for nothing, so each recording ends in one. Of windows of more samples than LONG there
# is a single one in a single recording: the emulator takes a millisecond a step.
WINDOWS, LONG = 2, 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """What a board plays to check the main loop.

    Args:
        samples: for each input of the program, integers `[P, ...]`, without the axis of a block.
        firsts: the sample that each recording starts with; after the last sample it goes on with the first.
        length: samples of a recording.
        results: for each output, its integers `[K, ...]` each time that the main loop uses them.
    """

    samples: tuple[np.ndarray, ...]
    firsts: tuple[int, ...]
    length: int
    results: tuple[np.ndarray, ...]


def windows_of(program: Program, length: int | None) -> int:
    """Samples of the windows that a program averages over, 0 if it does not."""
    return length if length and program.sums_over_time else 0


def recordings_of(program: Program, length: int | None, golden: Golden) -> Recordings:
    """Recordings of the first golden stream, and what the emulator says that comes out.

    Args:
        program: the integer program.
        length: steps of a window, None where there are no windows.
        golden: vectors of the program.
    """
    window = windows_of(program, length)
    used = window or STEPS * program.steps
    firsts, windows = (FIRSTS, WINDOWS) if window <= LONG else (FIRSTS[:1], 1)
    starts = [first + window * index for first in firsts for index in range(windows if window else 1)]
    samples = tuple(_without_blocks(array[0], program.steps) for array in golden.inputs)
    places = (np.array(starts)[:, None] + np.arange(used)) % len(samples[0])
    shape = len(starts), used // program.steps
    streams = [array[places].reshape(*shape, *t.shape) for array, t in zip(samples, program.inputs, strict=True)]
    outputs = Emulator(program).trace(streams, record=[]).outputs
    results = [array[:, -1] if window else array.reshape(-1, *array.shape[2:]) for array in outputs]
    return Recordings(samples, firsts, windows * window + window // 2 if window else used, tuple(results))


def _without_blocks(steps: np.ndarray, size: int) -> np.ndarray:
    """`[L, T, ..]` as `[L T, ..]`; as it is if T is 1."""
    return steps if size == 1 else steps.reshape(-1, *steps.shape[2:])


def render_firmware(program: Program, manifest: dict[str, Any], golden: Golden, c_name: str) -> dict[str, str]:
    """The text of every file of `FILES`, by name.

    Args:
        program: the integer program.
        manifest: the facts about it, as `manifest_of` gives them.
        golden: vectors of the program.
        c_name: what its C files and functions are called.
    """
    inputs, outputs, _ = ends_of(program)
    windows = windows_of(program, manifest["window_length"])
    recordings = recordings_of(program, manifest["window_length"], golden)
    context = {
        "name": printable(program.name),
        "c_name": c_name,
        "manifest": manifest,
        "inputs": inputs,
        "outputs": outputs,
        "windows": windows,
        "samples_per_step": program.steps,
        "counts": bool(windows) or program.steps > 1,
        "has_tokens": any(end.is_token for end in inputs),
        "likeliest_types": sorted({end.c_type for end in outputs if end.activation == "softmax"}),
        "recordings": recordings,
        "samples": _samples(inputs, recordings),
        "results": _results(outputs, recordings),
    }
    return {name: render(TEMPLATES / f"{name}.jinja", **context) for name in FILES}


def _samples(inputs: list[End], recordings: Recordings) -> list[str]:
    """Initialisers of `sensor_sample`, in which 0 stands for 0.0."""
    zero_points = [end.tensor.zero_point for end in inputs]
    return [
        struct([array.astype(int) - zero for array, zero in zip(arrays, zero_points, strict=True)])
        for arrays in zip(*recordings.samples, strict=True)
    ]


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
