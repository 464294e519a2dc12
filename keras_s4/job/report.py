"""The page that a run ends with: its table and figures, in one file that opens anywhere."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from keras_s4 import plots
from keras_s4.datasets import SMARTWATCH_RATE


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _whole(value: int) -> str:
    return f"{value:,}"


# Key of a row, heading, and how a value is shown.
COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("row", "", str),
    ("accuracy", "accuracy", _percent),
    ("agreement", "equal labels", _percent),
    ("parameters", "parameters", _whole),
    ("states", "DSS states", _whole),
    ("tflite_bytes", "bytes", _whole),
    ("arena_bytes", "arena", _whole),
    ("operators", "operators", _whole),
    ("multiply_accumulates", "MACs per step", _whole),
)

EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}


def table_cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as text; what does not apply is a dash."""
    rows = [["–" if row[key] is None else show(row[key]) for key, _, show in COLUMNS] for row in summary["table"]]
    return [heading for _, heading, _ in COLUMNS], rows


def verdict(summary: dict[str, Any]) -> str:
    """Whether the engines agree, and how far TensorFlow's interpreter is off, in two sentences; what was not run."""
    found = summary["comparison"]
    missing = found.get("missing", {})
    ran = [title for stage, title in (("tflm", "TFLM"), ("c", "C")) if stage not in missing]
    names = ", ".join(["Emulator", *ran][:-1]) + f" and {ran[-1]}" if ran else ""
    if not found["bit_exact"]:
        sentences = [f"{names.upper()} DIFFER: {found['first_difference']}."]
    elif ran:
        sentences = [f"{names} are equal, bit for bit, in every output and state of all {found['steps']:,} steps."]
    else:
        sentences = ["The emulator was compared with no other engine."]
    if "tensorflow" not in missing:
        sentences.append(
            f"TensorFlow's reference interpreter, on the first {found['tensorflow_sequences']} windows: equal labels "
            f"{found['agreement']['tensorflow']:.1%}, outputs within {found['tensorflow_difference']} of the others'."
        )
    return " ".join([*sentences, *(f"Not run: {stage} ({reason})" for stage, reason in missing.items())])


def render(summary: dict[str, Any], spectra: dict[str, Any], stream: Path) -> str:
    """The page as HTML that needs no other file and no script.

    Args:
        summary: what `pipeline.summarize` returns.
        spectra: what `spectrum.json` holds.
        stream: `stream.npz`.

    Raises:
        ValueError: `stream` is damaged; the message names it.
    """
    recording = _read_stream(stream)
    headings, rows = table_cells(summary)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        summary=summary,
        headings=headings,
        rows=rows,
        verdict=verdict(summary),
        exercises=EXERCISES,
        figures={
            "spectra": _image(plots.spectra(spectra)),
            "size": _image(plots.accuracy_against_size(summary["tradeoff"])),
            "confusion": _image(plots.confusion_matrix(summary["confusion"], summary["classes"])),
            "stream": _image(
                plots.streamed_recording(
                    recording["signal"],
                    recording["probabilities"],
                    int(recording["label"]),
                    summary["classes"],
                    SMARTWATCH_RATE,
                    int(recording["window"]),
                )
            ),
        },
    )


def _read_stream(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as content:
            return {name: content[name] for name in ("signal", "probabilities", "label", "window")}
    except Exception as error:  # zipfile and numpy each have errors of their own
        raise ValueError(
            f"{path} is damaged ({error}). Delete it and start again: what is missing is computed anew."
        ) from error


def _image(figure: Figure) -> str:
    """A figure as a data URL; as an image of its own, so that names inside it cannot clash."""
    return "data:image/svg+xml;base64," + base64.b64encode(plots.drawn(figure)).decode()
