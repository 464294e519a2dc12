"""A converted model as one HTML page, to try what a device will say before anything is flashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_s4.decisions import Decision
from keras_s4.tflite.application.decisions import decision_of
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.projects import Export
from keras_s4.tflite.application.sensors import sensor_inputs
from keras_s4.tflite.application.web import Replay, Words, render_page
from keras_s4.tflite.application.web.compiling import check_compiler
from keras_s4.tflite.firmware import Converted

__all__ = ["Replay", "web_page"]


def web_page(
    converted: Converted,
    recordings: Any = None,
    *,
    decision: Decision | None = None,
    sensors: Any = None,
    title: str | None = None,
    rate: float | None = None,
    features: Sequence[Any] | None = None,
    outputs: Sequence[str] | None = None,
    units: Sequence[dict[str, Any]] | None = None,
    horizon: int = 0,
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """One HTML page that runs a model as the device does, in integers: its firmware's C, compiled to WebAssembly.

    The page needs no other file, no server and no network, which it forbids itself. It replays recordings, takes a
    dropped CSV or WAV, a phone's motion sensors or a microphone, shows inputs and decisions as they come, and compares
    itself with golden vectors when it opens.

    Args:
        converted: what `convert` returned.
        recordings: what it replays: `Replay`s, which have names and labels; or windows `[B, L, features]` (of a model
            with several inputs a list or a dict of them), of which the first twelve are taken. By default golden
            vectors, which are noise.
        decision: how to decide, as for `Converted.save`; without one the likeliest class is what is said.
        sensors: what the integers of the sensors are, as for `Converted.save`; the page then makes these integers of
            what it is given, and the C those of the model.
        title: the headline; by default the model's name.
        rate: samples a second; by default that of the decision. Without one there are no times and no live sensors.
        features: names of the features, or `task.sensors`; by default those of `sensors`.
        outputs: names of what the model gives; by default the classes of the decision.
        units: of each quantity a dict of "mean" and "deviation", where the model gives multiples of a deviation from a
            mean, and of its "unit".
        horizon: steps of all features that the model forecasts.
        facts: more rows of the table of the model, such as `[("flash on a Cortex-M4", "21,000 bytes")]`.

    Returns:
        HTML, to be saved as a file.

    Raises:
        ModuleNotFoundError: ziglang is missing; the message names the extra.
        TypeError, ValueError: see `Converted.save`; names of other numbers than the model has; recordings that it
            cannot take, or too many of them.
        NotImplementedError: the program has an operation in a form that C leaves out.
    """
    check_compiler()
    program = converted.program
    export = Export(
        program=program,
        manifest=converted.manifest,
        golden=golden_vectors(program),
        name=program.name,
        decision=None if decision is None else decision_of(program, converted.length, decision, converted.phase),
        sensors=None if sensors is None else sensor_inputs(program, sensors),
    )
    words = Words(
        title=title, rate=rate, features=features, outputs=outputs, units=units, horizon=horizon, facts=tuple(facts)
    )
    return render_page(export, words, recordings)
