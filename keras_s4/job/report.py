"""The page that a run ends with: its table and figures, in one file that opens anywhere."""

from __future__ import annotations

import base64
import collections
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from keras_s4 import extras, plots
from keras_s4.files import damaged_file
from keras_s4.job.figures import confusion_matrix, score_against_size, streamed_recording
from keras_s4.job.run_folder import AGAIN
from keras_s4.job.sections import sections_of
from keras_s4.job.stream_figures import stream_of_classes, stream_of_quantities, threshold_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More groups than these are counted, not listed.
LISTED_GROUPS = 20
NOT_DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="40"><text x="8" y="25" font-family="sans-serif">'
    "No figure, for want of matplotlib: {}, then delete report.html and run again.</text></svg>"
)


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _whole(value: int) -> str:
    return f"{value:,}"


Column = tuple[str, str, Callable[[Any], str]]
# By key: heading, and how a value is shown.
SCORES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "accuracy": ("accuracy", _percent),
    "agreement": ("equal labels", _percent),
    "rmse": ("RMSE", "{:.4g}".format),
    "auc": ("AUC", "{:.3f}".format),
    "snr": ("SNR in dB", "{:.1f}".format),
}
SIZES: tuple[Column, ...] = (
    ("parameters", "parameters", _whole),
    ("states", "DSS states", _whole),
    ("tflite_bytes", "bytes", _whole),
    ("arena_bytes", "arena", _whole),
    ("operators", "operators", _whole),
    ("multiply_accumulates", "MACs per step", _whole),
)


def columns(summary: dict[str, Any]) -> tuple[Column, ...]:
    """Of the table: the key of a row, its heading, and how a value is shown."""
    keys = (summary["metric"]["score"], summary["metric"]["likeness"])
    return ("row", "", str), *((key, *SCORES[key]) for key in keys), *SIZES


def table_cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as text; what does not apply is a dash."""
    shown = columns(summary)
    rows = [["–" if row[key] is None else show(row[key]) for key, _, show in shown] for row in summary["table"]]
    return [heading for _, heading, _ in shown], rows


def state_verdict(summary: dict[str, Any]) -> str:
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
        likeness = summary["metric"]["likeness"]
        heading, show = SCORES[likeness]
        value = found[likeness]["tensorflow"]
        sentences.append(
            f"TensorFlow's reference interpreter, on the first {found['tensorflow_sequences']} windows: {heading} "
            f"{'–' if value is None else show(value)}, outputs within {found['tensorflow_difference']} of the others'."
        )
    return " ".join([*sentences, *(f"Not run: {stage} ({reason})" for stage, reason in missing.items())])


def render(
    summary: dict[str, Any], spectra: dict[str, Any], stream: Path, device: str = "", why_no_device: str = ""
) -> str:
    """The page as HTML that needs no other file, and no script but that of the device, which runs in a frame.

    Args:
        summary: what `summarize` returns.
        spectra: what `spectrum.json` holds.
        stream: `stream.npz`.
        device: the page that runs the firmware; "" for none.
        why_no_device: why there is none, "" where nobody asks.

    Raises:
        ValueError: `stream` is damaged; the message names it.
    """
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
        task=summary["task"],
        window=describe_window(summary["task"]),
        groups={split: _listed(members, summary["task"]["group"]) for split, members in summary["groups"].items()},
        score=SCORES[summary["tradeoff"]["score"]][0],
        headings=headings,
        rows=rows,
        verdict=state_verdict(summary),
        figures=_images(summary, spectra, stream),
        sections=sections_of(summary),
        advice=summary["advice"],
        device=device,
        why_no_device=why_no_device,
    )


def describe_window(task: dict[str, Any]) -> str:
    """How long a window is: "10 seconds", or "28 steps" where steps are not in time."""
    if task["rate"] is None:
        return f"{task['length']:,} steps"
    seconds = task["length"] / task["rate"]
    return f"{seconds:g} second{'' if seconds == 1 else 's'}" if seconds >= 1 else f"{1000 * seconds:g} milliseconds"


def _images(summary: dict[str, Any], spectra: dict[str, Any], stream: Path) -> dict[str, str]:
    """The figures as data URLs; without matplotlib each says what is missing."""
    recording = _read_arrays(stream)
    if not plots.can_draw():
        return collections.defaultdict(lambda: _data_url(NOT_DRAWN.format(extras.advice("report")).encode()))
    figures = _figures(summary, spectra, recording)
    if summary["streams"]:
        figures |= _figures_of_streams(summary, _read_arrays(stream.with_name("streams.npz")))
    return {name: _image(figure) for name, figure in figures.items()}


def _figures(summary: dict[str, Any], spectra: dict[str, Any], recording: dict[str, np.ndarray]) -> dict[str, Figure]:
    figures = {
        "spectra": plots.spectra(spectra),
        "size": score_against_size(summary["tradeoff"], summary["tradeoff"]["score"]),
        "stream": streamed_recording(
            recording["signal"],
            recording["outputs"],
            recording["label"],
            summary["task"],
        ),
    }
    if summary["details"].get("confusion"):
        figures["confusion"] = confusion_matrix(summary["details"]["confusion"], summary["task"]["classes"])
    return figures


def _listed(members: list[Any], group: str | None) -> str:
    """Who or what a split holds, in words."""
    if group is None:
        return ""
    if len(members) > LISTED_GROUPS:
        return f"{len(members):,} {group}s"
    return ", ".join(map(str, members))


def _figures_of_streams(summary: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Figure]:
    """What the device says in the first test stream, and what a threshold costs."""
    found, task = summary["streams"], summary["task"]
    place = (arrays["labels"], arrays["steps"], arrays["device"])
    if "decided" not in arrays:
        return {"streams": stream_of_quantities(*place, task | {"targets": task["targets"] or task["classes"]})}
    figures = {"streams": stream_of_classes(*place, arrays["decided"], task)}
    if found["curve"]:
        threshold = float(np.ravel(found["decision"]["threshold"])[0])
        figures["threshold"] = threshold_curve(found["curve"], threshold)
    return figures


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as content:
            return dict(content)
    except Exception as error:  # zipfile and numpy each have errors of their own
        raise damaged_file(path, error, AGAIN) from error


def _image(figure: Figure) -> str:
    """A figure as a data URL; as an image of its own, so that names inside it cannot clash."""
    return _data_url(plots.draw(figure))


def _data_url(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
