"""The tables of a report besides the first: classes, quantities, alarms, streams and costs, each with what it means."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Section:
    """A table with what it means.

    Args:
        title: above it.
        headings: of its columns.
        rows: cells as text, the first of each naming the row.
        text: below it.
        figures: the names of figures that belong to it.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text: str
    figures: tuple[str, ...] = ()


def sections_of(summary: dict[str, Any]) -> list[Section]:
    """The sections that a run has."""
    return [section for make in (_classes, _quantities, _alarms, _streams, _costs) for section in make(summary)]


def _classes(summary: dict[str, Any]) -> Iterator[Section]:
    rows = summary["details"].get("classes")
    if rows:
        cells = [
            (row["name"], *(_percent(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,}")
            for row in rows
        ]
        yield Section(
            "Class by class",
            ("class", "precision", "recall", "F1", "there"),
            cells,
            "On the device. Precision: of what was called so, how much is. Recall: how much of what is there is found.",
        )


def _quantities(summary: dict[str, Any]) -> Iterator[Section]:
    rows = summary["details"].get("quantities")
    if not rows:
        return
    naive = "persistence_rmse" in rows[0]
    cells = [
        (
            row["name"],
            *(_number(row[key]) for key in ("rmse", "mae", "bias")),
            _percent(row["r2"]),
            *([_number(row["persistence_rmse"])] if naive else []),
        )
        for row in rows
    ]
    yield Section(
        "Quantity by quantity",
        ("quantity", "RMSE", "MAE", "bias", "explained", *(["RMSE of no change"] if naive else [])),
        cells,
        "On the device, in the units of the quantities. Explained: the part of the variance that the model tells.",
    )


def _alarms(summary: dict[str, Any]) -> Iterator[Section]:
    details = summary["details"]
    if "recordings" not in details:
        return
    rows = [
        (name, *(_number(details[name][key], "{:.3f}") for key in ("auc", "partial_auc")))
        for name in ("windows", "recordings")
    ]
    text = (
        "On the device. AUC: how often an anomalous one scores higher than a normal one; partial: where at most a "
        "tenth of the normal ones raise an alarm."
    )
    if alarms := details.get("alarms"):
        text += (
            f" The threshold, {_number(alarms['threshold'])}, {_origin_of_alarms(summary)}: "
            f"{_percent(alarms['detected'])} of the anomalous test {alarms['of']} and "
            f"{_percent(alarms['false_alarms'])} of the normal ones raise an alarm, and {_percent(alarms['equal'])} of "
            f"all test {alarms['of']} are as in Keras."
        )
    yield Section("Anomalies", ("of", "AUC", "partial AUC"), rows, text)


# By key of the figures of streams.
_WAYS = {"keras": "Keras", "device": "device"}
_ENGINES = {"tflm": "TFLM", "c": "C"}


def _streams(summary: dict[str, Any]) -> Iterator[Section]:
    found = summary["streams"]
    if not found:
        return
    title = "At any time, without a reset"
    if "decided" not in found:
        keys = [key for key in found["device"] if key != "decisions"]
        rows = [(way, *(_number(found[name][key]) for key in keys)) for name, way in _WAYS.items()]
        yield Section(title, ("way", *keys), rows, _of_streams(found), ("streams",))
        return
    ways = [(way, found[name]) for name, way in _WAYS.items()]
    ways += [(f"{way}, by the decision layer", found["decided"][name]) for name, way in _WAYS.items()]
    ways.append(("device, reset after every window", found["resets"]))
    yield Section(
        title,
        ("way", "right", "right when settled", "delay (s)", "false alarms an hour", "missed"),
        [(way, *_cells_of_stream(figures)) for way, figures in ways],
        f"{_of_streams(found)} Settled: not within {found['tolerance']:g} s of a change, when nobody could know. The "
        f"threshold, {_threshold(found)}, {_origin(summary)}. {_percent(found['equal_classes'])} of the classes on the "
        "device are those of Keras.",
        ("streams", "threshold") if found["curve"] else ("streams",),
    )


def _costs(summary: dict[str, Any]) -> Iterator[Section]:
    costs = summary["costs"]
    shown: list[tuple[str, str, Callable[[Any], str]]] = [
        ("multiply_accumulates_a_step", "multiply-accumulates a step", "{:,}".format),
        ("instructions_a_step", "instructions a step", "{:,.0f}".format),
        ("microseconds_a_step", "microseconds a step, estimated", "{:,.0f}".format),
        ("flash_bytes", "bytes of flash", "{:,}".format),
        ("ram_bytes", "bytes of RAM", "{:,}".format),
        ("stack_bytes", "bytes of stack", "{:,}".format),
    ]
    rows = [(title, show(costs[key])) for key, title, show in shown if key in costs]
    if "missing" in costs:
        text = f"Instructions were not counted: {costs['missing']}"
    else:
        text = (
            f"The C99 source, compiled by {costs['compiler']}, run on an emulated Cortex-{costs['core'].upper()}. The "
            f"time at {costs['clock_mhz']:g} MHz is estimated from Arm's published timings"
            + (" ({:,.0f} to {:,.0f})".format(*costs["microseconds_range"]) if "microseconds_range" in costs else "")
            + "; slow memory makes it longer. `keras-s4 convert --board` says what other cores and boards take."
        )
    yield Section("What it costs", ("what", "how much"), rows, text)


def _of_streams(found: dict[str, Any]) -> str:
    return (
        f"{found['streams']} continuous test streams, a decision every {found['every']:g} s. "
        f"{_of_engines(found['engines'])}"
    )


def _of_engines(engines: dict[str, Any]) -> str:
    """What was compared with what, and how far; the emulator is too slow for all of it."""
    names = [_ENGINES[name] for name in engines["engines"] if name != "emulator"]
    if not names:
        return "The emulator was compared with no other engine."
    if not engines["equal"]:
        return f"{', '.join(names)} and the emulator DIFFER."
    whole = f"are equal in all {engines['steps']:,} steps without a reset"
    first = f"in the first {engines['first']:,} steps of each stream, {engines['emulated']:,} in all"
    if engines["emulated"] == engines["steps"]:
        return f"{', '.join(names)} and the emulator {whole}."
    if len(names) == 1:
        return f"{names[0]} and the emulator are equal without a reset {first}."
    return f"{' and '.join(names)} {whole}, and the emulator equals them {first}."


def _origin(summary: dict[str, Any]) -> str:
    """Where the threshold of decisions in streams comes from."""
    if "threshold" in summary["task"]["decision"]:
        return "is what the task says"
    if not summary["streams"]["curve"]:
        return "was not chosen, since the validation streams have no event"
    return "was chosen on validation streams"


def _origin_of_alarms(summary: dict[str, Any]) -> str:
    """Where the threshold of alarms comes from."""
    if "threshold" in summary["task"]["decision"]:
        return "is what the task says"
    places = {"windows": "normal validation windows", "decisions": "decisions in normal validation streams"}
    part, of = summary["settings"]["normal_part"], summary["details"]["alarms"]["of"]
    return f"lies above the scores of {part:.0%} of the {places[of]}"


def _cells_of_stream(figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        _percent(figures["accuracy"]),
        _percent(figures["settled_accuracy"]),
        _number(figures["delay"]["median"], "{:.1f}"),
        _number(figures["false_alarms_per_hour"], "{:.0f}"),
        _percent(figures["missed_share"]),
    )


def _threshold(found: dict[str, Any]) -> str:
    threshold = found["decision"]["threshold"]
    return ", ".join(map(_number, threshold)) if isinstance(threshold, list) else _number(threshold)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None, form: str = "{:.4g}") -> str:
    return "–" if value is None else form.format(value)
