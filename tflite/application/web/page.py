"""The page: the compiled application, what it is checked with, what it replays, and all that shows it."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2

from keras_s4.decisions import CLASS, LABELS, WAKE_WORD, Decision
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.application.firmware import render_firmware, windows_of
from keras_s4.tflite.application.projects.export import Export
from keras_s4.tflite.application.web.bundle import bundle
from keras_s4.tflite.application.web.compiling import compile_wasm
from keras_s4.tflite.application.web.golden import golden_of_page
from keras_s4.tflite.application.web.recordings import pack_replays, replays_of
from keras_s4.tflite.application.web.words import Feature, Words, features_of, output_names
from keras_s4.tflite.c99 import c_source
from keras_s4.tflite.c99.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
# What the C is called inside of a page, where no other model is.
C_NAME = "model"
# Of the application what belongs to other boards.
OTHERS = ("main.c", "board_host.c", "golden.h", "Makefile")
# Nothing but what stands in the page runs, and nothing is loaded or sent. Microphones hand their samples over in a
# script of the page's own, which they want as an address.
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval' data:; style-src '{style}'; "
    "connect-src 'none'; img-src data:; form-action 'none'; base-uri 'none'"
)
SPANS = {True: (1, 2, 5, 10, 30, 60), False: (50, 100, 200, 500, 1000, 5000)}


def render_page(export: Export, words: Words | None = None, recordings: Any = None) -> str:
    """One HTML page that runs a model as the device does, and needs no other file and no server.

    Args:
        export: the model, its golden vectors, and how the application decides.
        words: what is shown besides numbers.
        recordings: see `replays_of`.

    Raises:
        ModuleNotFoundError: ziglang is missing.
        TypeError, ValueError: names of other numbers than the model has; recordings that it cannot take.
        NotImplementedError: the program has an operation in a form that C leaves out.
    """
    words = words or Words()
    facts = facts_of_page(export, words, recordings)
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = bundle(TEMPLATES, "page")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=words.title or export.title,
        name=export.title,
        policy=POLICY.format(script=_hash(f"\n{script}\n"), style=_hash(f"\n{style}\n")),
        style=style,
        script=script,
        # Nothing in it may look like the end of the script that it stands in.
        data=json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c"),
        rate=facts["rate"],
        spans=facts["spans"],
        says=bool(facts["classes"]),
        facts=[*_shown_facts(export, facts), *words.facts],
    )


def facts_of_page(export: Export, words: Words, recordings: Any = None) -> dict[str, Any]:
    """All that the script of a page reads, JSON-ready."""
    inputs, outputs, states = ends_of(export.program)
    decision, steps = export.decision, export.program.steps
    settings = decision.decider.decision if decision else None
    rate = words.rate or (settings.rate if settings else None)
    named = features_of(words, inputs, steps, export.sensors)
    decides = decision.place if decision else 0
    shown = _outputs(outputs, words, decides, settings.classes if settings else (), named)
    says = decision is not None or shown[decides]["bars"]
    classes = shown[decides]["names"] if says and not words.horizon else []
    exclusive = settings.kind != LABELS if settings else shown[decides]["activation"] == "softmax"
    replays = replays_of(recordings, export.program, export.golden)
    sizes = {
        "features": sum(end.size for end in inputs) // steps,
        "results": sum(end.size for end in outputs),
        "decided": _decided_size(export),
        "inputs": sum(end.size for end in inputs),
        "states": sum(end.size for end in states),
        "scores": decision.decider.integers.count if decision else 0,
    }
    return {
        "rate": rate,
        "features": _features(export, inputs, named),
        "outputs": shown,
        "decides": decides,
        "classes": classes,
        "decision": _decision(settings) if settings else None,
        "window": windows_of(export.program, export.manifest["window_length"]),
        "stepsAtOnce": steps,
        "ahead": words.horizon,
        "spans": list(SPANS[rate is not None]),
        "recordings": pack_replays(replays, export.program, classes, exclusive),
        "sizes": sizes,
        "golden": golden_of_page(export),
        "wasm": base64.b64encode(compile_wasm(sources_of_page(export))).decode(),
    }


def sources_of_page(export: Export) -> dict[str, str]:
    """The C of a page, by name: the model, its kernels, the application, and the board that the page is."""
    inputs, outputs, states = ends_of(export.program)
    window = windows_of(export.program, export.manifest["window_length"]) or None
    firmware = render_firmware(
        export.program, dict(export.manifest), export.golden, C_NAME, export.decision, export.sensors
    )
    board = render(
        TEMPLATES / "board_web.c.jinja",
        name=export.title,
        c_name=C_NAME,
        inputs=inputs,
        outputs=outputs,
        states=states,
        samples_per_step=export.program.steps,
        sensors=export.sensors,
        decision=export.decision,
        kind=export.decision.decider.integers.kind if export.decision else None,
        has_tokens=any(end.is_token for end in inputs),
        input_size=sum(end.size for end in inputs),
        result_size=sum(end.size for end in outputs),
        state_size=sum(end.size for end in states),
        decided_size=_decided_size(export),
    )
    texts = {name: text for name, text in firmware.items() if name not in OTHERS}
    texts |= c_source(export.program, C_NAME, window)
    return texts | {"board_web.c": board} | {name: (TEMPLATES / name).read_text() for name in ("memory.c", "string.h")}


def _decision(settings: Decision) -> dict[str, Any]:
    """How is decided, and the threshold if all classes have one."""
    thresholds = set(settings.threshold) if isinstance(settings.threshold, tuple) else {settings.threshold}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    return {"kind": settings.kind, "every": settings.every, "threshold": threshold}


def _decided_size(export: Export) -> int:
    """Integers of a decision."""
    if export.decision is None:
        return 0
    integers = export.decision.decider.integers
    return {CLASS: 2, WAKE_WORD: 1, LABELS: 2 * integers.count}[integers.kind]


def _features(export: Export, inputs: list[End], named: list[Feature]) -> list[dict[str, Any]]:
    """Of each feature its names, and how a real number becomes the integer that the application is given."""
    facts = []
    names = iter(named)
    for index, end in enumerate(inputs):
        count = end.size // export.program.steps
        scales = export.sensors[index].scales if export.sensors is not None else ()
        for place in range(count):
            name = next(names)
            shown = {"name": name.name, "group": name.group, "short": name.short, "unitName": name.unit}
            facts.append(shown | _quantization(end, place, scales))
    return facts


def _quantization(end: End, place: int, scales) -> dict[str, Any]:
    if end.is_token:
        return {"kind": "token", "range": list(end.integers)}
    if scales:
        sensor = scales[place].sensor
        return {
            "kind": "sensor",
            "lsb": sensor.lsb,
            "zero": sensor.zero,
            "range": list(sensor.range or (-(2**31), 2**31 - 1)),
        }
    return {
        "kind": "model",
        "unit": float(end.encoding.unit[place]) if end.encoding else 1.0,
        "offset": float(end.encoding.offset[place]) if end.encoding else 0.0,
        "scale": end.scale,
        "zeroPoint": end.tensor.zero_point,
        "range": list(end.integers),
    }


def _outputs(
    outputs: list[End], words: Words, decides: int, classes: tuple[str, ...], named: list[Feature]
) -> list[dict[str, Any]]:
    """Of each output where its integers lie in a result, and what they mean."""
    facts, start = [], 0
    for index, end in enumerate(outputs):
        mine = index == decides
        columns = end.size // end.rows
        names = output_names(words, end, mine, classes)
        if words.horizon and mine:
            after = [_time(step + 1, words.rate) for step in range(words.horizon)]
            names = [f"{name.name} in {time}" for time in after for name in named]
            if len(names) != columns:
                raise ValueError(
                    f"A page got horizon={words.horizon} of {len(named)} features; the model gives {columns} numbers."
                )
        units = words.units if mine and words.units else []
        low, high = (float(limit) for limit in end.range)
        bars = end.activation == "softmax" or (low >= 0.0 and high <= 1.0)
        facts.append(
            {
                "name": end.field,
                "title": _title_of(end, words, mine, bars),
                "names": names,
                "start": start,
                "rows": end.rows,
                "columns": columns,
                "scale": end.scale,
                "zeroPoint": end.tensor.zero_point,
                "activation": end.activation,
                "bars": bars,
                "horizon": words.horizon if mine else 0,
                **_gains(units, columns),
            }
        )
        start += end.size
    return facts


def _gains(units, columns: int) -> dict[str, Any]:
    """What makes the program's real numbers those of the user; of forecasts the units repeat each step."""
    if not units:
        return {}
    each = [units[index % len(units)] for index in range(columns)]
    return {
        "gains": [float(unit.get("deviation", 1.0)) for unit in each],
        "offsets": [float(unit.get("mean", 0.0)) for unit in each],
        "unitNames": [str(unit.get("unit", "")) for unit in each],
    }


def _title_of(end: End, words: Words, mine: bool, bars: bool) -> str:
    if words.horizon and mine:
        return f"Forecasts of the next {words.horizon} samples"
    if end.activation == "softmax":
        return "How likely each class is"
    return "How likely each label is" if bars else f"Output {end.name}"


def _shown_facts(export: Export, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of the table of facts."""
    manifest = export.manifest
    rows = [("bytes of the .tflite", f"{manifest['tflite_bytes']:,}")] if "tflite_bytes" in manifest else []
    rows.append(("bytes of WebAssembly", f"{len(base64.b64decode(facts['wasm'])):,}"))
    if "multiply_accumulates_per_step" in manifest:
        count = round(manifest["multiply_accumulates_per_step"] / export.program.steps)
        rows.append(("multiply-accumulates a sample", f"{count:,}"))
    if facts["rate"]:
        rows.append(("samples a second", f"{facts['rate']:,g}"))
    if facts["stepsAtOnce"] > 1:
        rows.append(("samples at once", f"{facts['stepsAtOnce']:,}"))
    if facts["window"]:
        rows.append(("samples of a window", f"{facts['window']:,}"))
    if export.decision is not None:
        rows.append(("a decision every", _time(facts["decision"]["every"], facts["rate"])))
    return rows


def _time(samples: int, rate: float | None) -> str:
    return f"{samples / rate:g} s" if rate else f"{samples:,} sample{'s' if samples > 1 else ''}"


@functools.cache
def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
