"""The main job: train, reduce, retrain, convert, verify, report; interrupted anywhere, it continues."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_s4.datasets import SMARTWATCH_CLASSES
from keras_s4.job import report, stages
from keras_s4.job.run_folder import SECONDS, RunFolder
from keras_s4.job.settings import Settings
from keras_s4.job.stages import MODELS, Job
from keras_s4.tflite.manifest import versions_of

Progress = Callable[[str, int, int, str], None]

# What describes each way of running the retrained model.
APPLIES = {
    "streamed": ("parameters", "states"),
    "emulator": ("states", "multiply_accumulates"),
    "tflm": ("states", "tflite_bytes", "arena_bytes", "operators", "multiply_accumulates"),
    "c": ("states", "multiply_accumulates"),
}
PACKAGES = ("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the job.

    Args:
        title: shown while it runs.
        results: the files that it writes; the last one is written last.
        compute: does it.
    """

    title: str
    results: tuple[str, ...]
    compute: Callable[[Job], None]

    def is_done(self, folder: RunFolder) -> bool:
        """Whether its results are there, all as they were written.

        Raises:
            ValueError: one was damaged or changed since.
        """
        return folder.is_whole(self.results)


def run(
    out: Path, settings: Settings | None = None, progress: Progress | None = None, restart: bool = False
) -> dict[str, Any]:
    """Does the main job on the smartwatch recordings, or what is left of it.

    A stage whose results are in the folder, as it wrote them, is skipped; a stage that is computed makes those after it
    run again.

    Args:
        out: folder for the results.
        settings: what is asked for.
        progress: called as `progress(stage, done, all, note)`; stages are named as in `STAGES`.
        restart: remove what an earlier run wrote into the folder, and begin anew.

    Returns:
        What `summary.json` holds: all figures, the table, settings, versions, and seconds of the stages before the
        report.

    Raises:
        ValueError: the folder holds another run or foreign files, or a result that was damaged or changed since it
            was written; says what to do.
        OSError: the folder cannot be written.
        ImportError: the recordings are not installed.
    """
    settings = settings or Settings()
    names = [name for stage in STAGES.values() for name in stage.results] + [SECONDS]
    folder = RunFolder(Path(out), settings, names, restart)
    with folder.alone():
        _compute_stages(Job(folder, settings), progress or (lambda stage, done, total, note: None))
        folder.tidy()
        return folder.read_json("summary.json")


def _compute_stages(job: Job, tell: Progress) -> None:
    """Computes the stages whose results are not there."""
    for position, (name, stage) in enumerate(STAGES.items()):
        if stage.is_done(job.folder):
            tell(name, 1, 1, "done before")
            continue
        job.folder.discard(stage.results)
        for later in list(STAGES.values())[position + 1 :]:
            job.folder.discard(later.results, unfinished=True)
        job.report = lambda done, total, note, name=name: tell(name, done, total, note)
        _compute(job, name, stage)
        tell(name, 1, 1, "done")


def _compute(job: Job, name: str, stage: Stage) -> None:
    """Runs a stage and notes its seconds, with those of attempts that were interrupted."""
    seconds = _seconds(job.folder)
    start = time.monotonic() - seconds["interrupted"].pop(name, 0.0)
    keras.utils.set_random_seed(job.settings.seed)
    try:
        stage.compute(job)
    except BaseException:
        seconds["interrupted"][name] = round(time.monotonic() - start, 1)
        with contextlib.suppress(OSError):
            job.folder.write_note(SECONDS, seconds)
        raise
    seconds["done"][name] = round(time.monotonic() - start, 1)
    job.folder.write_note(SECONDS, seconds)


def write_report(job: Job) -> None:
    """Everything in one value and on one page: report.html, summary.json."""
    job.report(0, 2, "summary")
    summary = summarize(job)
    job.report(1, 2, "figures")
    page = report.render(summary, job.folder.read_json("spectrum.json"), job.folder.path / "stream.npz")
    job.folder.write("report.html", page.encode())
    job.folder.write_json("summary.json", summary)


def summarize(job: Job) -> dict[str, Any]:
    """The figures of all stages with the table that compares them."""
    folder = job.folder
    verification = folder.read_json("verification.json")
    sizes = folder.read_json("sizes.json")
    spectra = folder.read_json("spectrum.json")
    train, validation, test = job.recordings
    return {
        "settings": job.settings.figures(),
        "classes": list(SMARTWATCH_CLASSES),
        "subjects": {
            name: sorted({int(subject) for subject in part.subjects})
            for name, part in (("train", train), ("validation", validation), ("test", test))
        },
        "test_windows": verification["windows"],
        "ranks": {name: {"full": part["max_rank"], "kept": part["rank"]} for name, part in spectra.items()},
        "table": table(verification, sizes),
        "comparison": verification["comparison"],
        "confusion": verification["confusion"],
        "tradeoff": folder.read_json("tradeoff.json"),
        "manifest": sizes["retrained"]["manifest"],
        "versions": versions(),
        "seconds": _seconds(folder)["done"],
    }


def table(verification: dict[str, Any], sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a model or back-end, with the keys of `report.COLUMNS`; None where a column does not apply."""
    comparison = verification["comparison"]
    rows = []
    for name in MODELS:
        figures = verification["keras"][name]
        rows.append({"row": f"Keras {name}", **figures, **_size_of(sizes[name])})
    for name, title in (("streamed", "Keras streamed"), ("emulator", "emulator"), ("tflm", "TFLM"), ("c", "C99")):
        if name not in comparison["accuracy"]:  # not on this computer
            continue
        figures = {"accuracy": comparison["accuracy"][name], "agreement": comparison["agreement"][name]}
        size = _size_of(sizes["retrained"])
        kept = APPLIES[name]
        rows.append({"row": title, **figures, **{key: value if key in kept else None for key, value in size.items()}})
    return rows


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that the figures depend on."""
    return {"python": platform.python_version(), **versions_of(PACKAGES)}


def _size_of(size: dict[str, Any]) -> dict[str, int]:
    manifest = size["manifest"]
    return {
        "parameters": size["parameters"],
        "states": size["states"],
        "tflite_bytes": manifest["tflite_bytes"],
        "arena_bytes": manifest["arena_bytes"],
        "operators": manifest["operators"],
        "multiply_accumulates": manifest["multiply_accumulates_per_step"],
    }


def _seconds(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Seconds by stage, of finished stages and of interrupted ones; what is damaged of them is forgotten."""
    try:
        noted = folder.read_json(SECONDS) if folder.has(SECONDS) else {}
    except ValueError:
        noted = {}
    return {state: _numbers(noted.get(state)) for state in ("done", "interrupted")}


def _numbers(noted: Any) -> dict[str, float]:
    if not isinstance(noted, dict):
        return {}
    return {name: value for name, value in noted.items() if isinstance(value, (int, float)) and math.isfinite(value)}


STAGES = {
    "train": Stage("Train", ("trained.keras",), stages.train),
    "reduce": Stage("Reduce", ("spectrum.json", "reduced.keras"), stages.reduce_states),
    "retrain": Stage("Train again", ("retrained.keras",), stages.retrain),
    "convert": Stage("Convert", ("firmware/model.tflite", "sizes.json"), stages.convert_models),
    "verify": Stage("Verify", ("stream.npz", "verification.json"), stages.verify_firmware),
    "measure": Stage("Measure sizes", ("tradeoff.json",), stages.measure_sizes),
    "report": Stage("Report", ("report.html", "summary.json"), write_report),
}
