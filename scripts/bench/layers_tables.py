"""Tables of what `layers.py` has measured."""

from __future__ import annotations

from typing import Any

from rich.table import Column, Table


def in_milliseconds(seconds: float) -> str:
    """As whole milliseconds, or with one more digit where there are few."""
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def tables(record: dict[str, Any]) -> list[Table]:
    """All layers at each length, and step mode."""
    found = [table_of_length(int(length), layers) for length, layers in record["lengths"].items()]
    streams = Table("compiled by", "streams", "steps a second", "first s", title="Step mode in Python, demo's model")
    for way, rows in record["streams"].items():
        for count, row in rows.items():
            numbers = f"{row['steps_per_second']:,.0f}", f"{row['first_call_seconds']:.1f}"
            streams.add_row(way, count.removesuffix(" streams"), *numbers)
    return [*found, streams] if record["streams"] else found


def table_of_length(length: int, layers: dict[str, dict[str, Any]]) -> Table:
    """All layers at one length."""
    table = Table(Column("layer", no_wrap=True), "by", "ms", "least", "rounds", "first s", "MiB", "compiled")
    table.title = f"Training step at {length:,} samples"
    reasons = []
    for layer, ways in layers.items():
        for way, measured in ways.items():
            if "not run" in measured:
                table.add_row(layer, way, "not run")
                reasons.append(f"{layer}, {way}: {measured['not run']}")
                continue
            step = measured["milliseconds"]["step"]
            milliseconds = [in_milliseconds(1e-3 * step[key]) for key in ("median", "least")]
            memory = (f"{measured[key]:,.0f}" for key in ("peak_memory_mib", "peak_memory_once_compiled_mib"))
            costs = f"{measured['first_call_seconds']:.1f}", *memory
            table.add_row(layer, way, *milliseconds, str(step["rounds"]), *costs)
    table.caption = "\n".join(reasons)
    return table
