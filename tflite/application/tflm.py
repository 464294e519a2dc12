"""The C++ application for TensorFlow Lite Micro, its Makefile and its README, rendered from templates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.tflite.application.c_arrays import lines_of, struct
from keras_s4.tflite.application.decisions import ProgramDecision, golden_decisions, macros_of, render_decisions
from keras_s4.tflite.application.ends import ends_of
from keras_s4.tflite.application.golden import Golden
from keras_s4.tflite.c99.names import printable
from keras_s4.tflite.c99.rendering import render
from keras_s4.tflite.program.program import Program

TEMPLATES = Path(__file__).parent / "templates"
FILES = (
    "model_data.h",
    "model_data.cc",
    "keras_s4_model.h",
    "keras_s4_model.cc",
    "main.cc",
    "golden.h",
    "Makefile",
    "README.md",
)
# The golden vectors of the application are flashed with it, so they are few.
STREAMS, STEPS = 3, 32
BYTES_A_LINE = 12


def render_tflm(
    program: Program,
    manifest: dict[str, Any],
    tflite: bytes,
    golden: Golden,
    c_name: str,
    kernels: Sequence[str] = (),
    also_custom: bool = False,
    decision: ProgramDecision | None = None,
    class_name: str = "Model",
) -> dict[str, str]:
    """The text of every file of `FILES`, by name; with a decision `decisions.h` and `decisions.cc` as well.

    Args:
        program: the integer program.
        manifest: the facts about it, as `manifest_of` gives them.
        tflite: the bytes of its `.tflite`.
        golden: vectors of at least `STREAMS` streams and `STEPS` steps.
        c_name: what the C files and functions are called.
        kernels: names of the C files that the custom operator of the `.tflite` calls; none if it has none.
        also_custom: whether the folder has such an application as well.
        decision: is made from its outputs; None for none.
        class_name: what its class is called.
    """
    inputs, outputs, states = ends_of(program)
    context = {
        "name": printable(program.name),
        "c_name": c_name,
        "class_name": class_name,
        "manifest": manifest,
        "inputs": inputs,
        "outputs": outputs,
        # Templates know the states that the application keeps; variables are the interpreter's.
        "states": [] if manifest["states_kept_as"] == "variables" else states,
        "variables": len(states) if manifest["states_kept_as"] == "variables" else 0,
        "averages": program.sums_over_time,
        "kernels": kernels,
        "also_custom": also_custom,
        "model_lines": lines_of([f"0x{byte:02x}" for byte in tflite], BYTES_A_LINE),
        "golden": _golden_initializers(golden.first(STREAMS, STEPS)),
        "decision": decision,
    }
    if decision is None:
        return {name: render(TEMPLATES / f"{name}.jinja", **context) for name in FILES}
    context["known_scores"], context["known_decisions"] = golden_decisions(decision)
    classes = decision.decider.decision.classes
    context["decision_names"] = list(zip(map(printable, classes), macros_of(classes), strict=True))
    texts = {name: render(TEMPLATES / f"{name}.jinja", **context) for name in FILES}
    sources = render_decisions(program, decision)
    return texts | {"decisions.h": sources["decisions.h"], "decisions.cc": sources["decisions.c"]}


def _golden_initializers(golden: Golden) -> dict[str, Any]:
    """The initialisers of the structs: `inputs[stream][step]`, `outputs[stream][step]`, `states[stream]` after all."""
    streams, steps = golden.inputs[0].shape[:2]

    def each_step(arrays: tuple[np.ndarray, ...]) -> list[list[str]]:
        return [
            [struct([array[stream, step] for array in arrays]) for step in range(steps)] for stream in range(streams)
        ]

    return {
        "streams": streams,
        "steps": steps,
        "inputs": each_step(golden.inputs),
        "outputs": each_step(golden.outputs),
        "states": [struct([array[stream, -1] for array in golden.states]) for stream in range(streams)],
    }
