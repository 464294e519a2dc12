"""What the script of a page must know of a model: how it is fed, and what the integers mean that come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_s4.decisions import CLASS, LABELS, WAKE_WORD, Decision
from keras_s4.tflite.application.ends import End, ends_of
from keras_s4.tflite.application.export import Export
from keras_s4.tflite.application.firmware import windows_of
from keras_s4.tflite.application.sensors import RAW, Scale
from keras_s4.tflite.application.web.recordings import pack_replays, replays_of
from keras_s4.tflite.application.web.words import UNNAMED, Words, features_of, output_names

# What may be shown at once, in seconds or, without a rate, in samples.
SPANS = {True: (1, 2, 5, 10, 30, 60), False: (50, 100, 200, 500, 1000, 5000)}


def facts_of_model(export: Export, words: Words, recordings: Any = None) -> dict[str, Any]:
    """Inputs, outputs, decisions and recordings, JSON-ready.

    Raises:
        TypeError, ValueError: see `render_page`.
    """
    inputs, outputs, _ = ends_of(export.program)
    settings = export.decision.decider.decision if export.decision else None
    rate = words.rate or (settings.rate if settings else None)
    decides = export.decision.place if export.decision else 0
    features = _features(export, inputs, words)
    names = [feature["name"] for feature in features]
    known = settings.classes if settings else ()
    shown, start = [], 0
    for index, end in enumerate(outputs):
        named = output_names(words, end, known, names, rate) if index == decides else output_names(Words(), end)
        shown.append(_output(end, start, named, words if index == decides else Words()))
        start += end.size
    says = settings is not None or (shown[decides]["bars"] and not words.horizon)
    classes = shown[decides]["names"] if says else []
    exclusive = settings.kind != LABELS if settings else shown[decides]["activation"] == "softmax"
    replays = replays_of(recordings, export.program, export.golden)
    return {
        "rate": rate,
        "features": features,
        "outputs": shown,
        "decides": decides,
        "classes": classes,
        "decision": _decision(settings) if settings else None,
        "window": windows_of(export.program, export.manifest["window_length"]),
        "stepsAtOnce": export.program.steps,
        "ahead": words.horizon,
        "spans": list(SPANS[rate is not None]),
        "recordings": pack_replays(replays, export.program, classes, exclusive),
        "sizes": sizes_of(export),
    }


def sizes_of(export: Export) -> dict[str, int]:
    """Integers of a sample, result and decision of the application; of the model's inputs and states; of scores."""
    inputs, outputs, states = (sum(end.size for end in ends) for ends in ends_of(export.program))
    decided, scores = 0, 0
    if export.decision is not None:
        integers = export.decision.decider.integers
        decided = {CLASS: 2, WAKE_WORD: 1, LABELS: 2 * integers.count}[integers.kind]
        scores = integers.count
    return {
        "features": inputs // export.program.steps,
        "results": outputs,
        "decided": decided,
        "inputs": inputs,
        "states": states,
        "scores": scores,
    }


def table_of_facts(export: Export, facts: dict[str, Any], wasm: bytes) -> list[tuple[str, str]]:
    """What, and how much: rows that the page shows."""
    manifest = export.manifest
    rows = [("bytes of the .tflite", f"{manifest['tflite_bytes']:,}")] if "tflite_bytes" in manifest else []
    rows.append(("bytes of WebAssembly", f"{len(wasm):,}"))
    if "multiply_accumulates_per_step" in manifest:
        count = round(manifest["multiply_accumulates_per_step"] / export.program.steps)
        rows.append(("multiply-accumulates a sample", f"{count:,}"))
    if facts["rate"]:
        rows.append(("samples a second", f"{facts['rate']:,g}"))
    if facts["stepsAtOnce"] > 1:
        rows.append(("samples at once", f"{facts['stepsAtOnce']:,}"))
    if facts["window"]:
        rows.append(("samples of a window", f"{facts['window']:,}"))
    if facts["decision"]:
        every = facts["decision"]["every"]
        rows.append(("samples from decision to decision", f"{every:,}"))
        if facts["rate"]:
            rows[-1] = ("a decision every", f"{every / facts['rate']:g} s")
    return rows


def _features(export: Export, inputs: Sequence[End], words: Words) -> list[dict[str, Any]]:
    """Of each feature of all inputs its names, and how a real number becomes what the application is given."""
    steps = export.program.steps
    named = iter(features_of(words, inputs, steps, export.sensors))
    facts = []
    for index, end in enumerate(inputs):
        scales = export.sensors[index].scales if export.sensors is not None else ()
        for place in range(end.size // steps):
            name = next(named)
            shown = {"name": name.name, "group": name.group, "short": name.short, "unitName": name.unit}
            facts.append(shown | _quantization(end, place, scales))
    return facts


def _quantization(end: End, place: int, scales: Sequence[Scale]) -> dict[str, Any]:
    """To the integers of a sensor, to those of the model less the zero point, or tokens as they are."""
    if end.is_token:
        return {"kind": "token", "range": list(end.integers)}
    if scales:
        sensor = scales[place].sensor
        return {"kind": "sensor", "lsb": sensor.lsb, "zero": sensor.zero, "range": list(sensor.range or RAW)}
    return {
        "kind": "model",
        "unit": float(end.encoding.unit[place]) if end.encoding else 1.0,
        "offset": float(end.encoding.offset[place]) if end.encoding else 0.0,
        "scale": end.scale,
        "zeroPoint": end.tensor.zero_point,
        "range": list(end.integers),
    }


def _output(end: End, start: int, names: list[str], words: Words) -> dict[str, Any]:
    """Where an output begins in a result, and what its integers mean."""
    low, high = (float(limit) for limit in end.range)
    bars = end.activation == "softmax" or (low >= 0.0 and high <= 1.0)
    columns = end.size // end.rows
    return {
        "name": end.field,
        "title": _title_of(end, bars, words.horizon, names),
        "names": names,
        "start": start,
        "rows": end.rows,
        "columns": columns,
        "scale": end.scale,
        "zeroPoint": end.tensor.zero_point,
        "activation": end.activation,
        "bars": bars,
        "horizon": words.horizon,
        **_gains(words.units or (), columns),
    }


def _gains(units: Sequence[dict[str, Any]], columns: int) -> dict[str, Any]:
    """What makes the program's real numbers those of the user; of forecasts the units repeat each step."""
    if not units:
        return {}
    each = [units[index % len(units)] for index in range(columns)]
    return {
        "gains": [float(unit.get("deviation", 1.0)) for unit in each],
        "offsets": [float(unit.get("mean", 0.0)) for unit in each],
        "unitNames": [str(unit.get("unit", "")) for unit in each],
    }


def _title_of(end: End, bars: bool, horizon: int, names: list[str]) -> str:
    if len(names) == 1 and names != UNNAMED:
        return names[0]
    if horizon:
        return f"Forecasts of the next {horizon} samples"
    if end.activation == "softmax":
        return "How likely each class is"
    return "How likely each label is" if bars else f"Output {end.name}"


def _decision(settings: Decision) -> dict[str, Any]:
    """How is decided, and the threshold if all classes have one."""
    thresholds = set(settings.threshold) if isinstance(settings.threshold, tuple) else {settings.threshold}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    return {"kind": settings.kind, "every": settings.every, "threshold": threshold}
