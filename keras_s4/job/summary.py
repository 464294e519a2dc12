"""The figures of all stages in one value, with the table that compares them."""

from __future__ import annotations

import math
import platform
from typing import Any

from keras_s4.job.advice import advise
from keras_s4.job.costs import multiply_accumulates
from keras_s4.job.job import Job
from keras_s4.job.run_folder import SECONDS, RunFolder
from keras_s4.job.stages import MODELS
from keras_s4.tflite.manifest import versions_of

# What describes each way of running the last model.
APPLIES = {
    "streamed": ("parameters", "states"),
    "emulator": ("states", "multiply_accumulates"),
    "tflm": ("states", "tflite_bytes", "arena_bytes", "operators", "multiply_accumulates"),
    "c": ("states", "multiply_accumulates"),
}
TITLES = {"streamed": "Keras streamed", "emulator": "emulator", "tflm": "TFLM", "c": "C99"}
PACKAGES = ("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro")


def summarize(job: Job) -> dict[str, Any]:
    """What `summary.json` holds."""
    folder, task = job.folder, job.task
    verification = folder.read_json("verification.json")
    sizes = folder.read_json("sizes.json")
    spectra = folder.read_json("spectrum.json")
    summary = {
        "task": task.figures(),
        "settings": {**task.choices, **job.settings.figures()},
        "metric": {"score": job.aim.metric.score, "likeness": job.aim.metric.likeness},
        "training": folder.read_json("training.json"),
        "aware": folder.read_json("aware.json"),
        "groups": {
            split: sorted(set(recordings.subjects.tolist())) if task.group else []
            for split, recordings in task.splits._asdict().items()
        },
        "test_windows": verification["windows"],
        "ranks": {name: {"full": part["max_rank"], "kept": part["rank"]} for name, part in spectra.items()},
        "table": tabulate(verification, sizes),
        "comparison": verification["comparison"],
        "details": verification["details"],
        "tradeoff": folder.read_json("tradeoff.json"),
        "manifest": sizes[MODELS[-1]]["manifest"],
        "versions": versions(),
        "costs": folder.read_json("costs.json"),
        "units": job.aim.units(),
        "decision": folder.read_json("decision.json") or None,
        "streams": folder.read_json("streams.json") if folder.has("streams.json") else None,
        "seconds": read_seconds(folder)["done"],
    }
    return summary | {"advice": advise(summary)}


def tabulate(verification: dict[str, Any], sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a model or engine, with the keys of `report.columns`; None where a column does not apply."""
    rows = []
    for name in MODELS:
        rows.append({"row": f"Keras {name}", **verification["keras"][name], **_size_of(sizes[name])})
    for name, title in TITLES.items():
        if name not in verification["engines"]:  # not on this computer
            continue
        size = {key: value if key in APPLIES[name] else None for key, value in _size_of(sizes[MODELS[-1]]).items()}
        rows.append({"row": title, **verification["engines"][name], **size})
    return rows


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that the figures depend on."""
    return {"python": platform.python_version(), **versions_of(PACKAGES)}


def read_seconds(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Seconds by stage, of finished stages and of interrupted ones; what is damaged of them is forgotten."""
    try:
        noted = folder.read_json(SECONDS) if folder.has(SECONDS) else {}
    except ValueError:
        noted = {}
    return {state: _finite_numbers(noted.get(state)) for state in ("done", "interrupted")}


def _size_of(size: dict[str, Any]) -> dict[str, int]:
    manifest = size["manifest"]
    return {
        "parameters": size["parameters"],
        "states": size["states"],
        "tflite_bytes": manifest["tflite_bytes"],
        "arena_bytes": manifest["arena_bytes"],
        "operators": manifest["operators"],
        "multiply_accumulates": multiply_accumulates(manifest),
    }


def _finite_numbers(noted: Any) -> dict[str, float]:
    if not isinstance(noted, dict):
        return {}
    return {name: value for name, value in noted.items() if isinstance(value, (int, float)) and math.isfinite(value)}
