"""The job on a task: from its recordings to a report, stage by stage; interrupted anywhere, it continues."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_s4.datasets import Task
from keras_s4.job import several
from keras_s4.job.find_task import check_front, find_task, settings_of
from keras_s4.job.fit import train_on
from keras_s4.job.job import Job
from keras_s4.job.run_folder import RECORDINGS, SECONDS, RunFolder
from keras_s4.job.settings import Settings
from keras_s4.job.stages import aware, convert, measure, reduce, report, retrain, stream, verify
from keras_s4.job.stages import train as train_stage
from keras_s4.job.summary import read_seconds

Progress = Callable[[str, int, int, str], None]


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
    task: Task | str | Path,
    out: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Does the job on a task, or what is left of it.

    A stage whose results are in the folder, as it wrote them, is skipped; a stage that is computed makes those after it
    run again.

    Args:
        task: what is learned from which recordings; or the name of a built-in task, or of a TOML file.
        out: folder for the results.
        settings: what is asked for; by default what the task asks for.
        progress: called as `progress(stage, done, all, note)`; stages are named as in `STAGES`.
        restart: remove what an earlier run wrote into the folder, and begin anew.

    Returns:
        What `summary.json` holds: all figures, the table, settings, versions, and seconds of the stages before the
        report.

    Raises:
        ValueError: the folder holds another run or foreign files, or a result that was damaged or changed since it
            was written; the recordings do not fit the task; says what to do.
        OSError: the folder cannot be written.
        ImportError: the recordings are not installed.
    """
    with _working_in(task, out, settings, restart) as job:
        _compute_stages(job, stages_of(job.task), progress)
        job.folder.tidy()
        return job.folder.read_json("summary.json")


def train(
    task: Task | str | Path,
    out: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Does the first stage of the job alone; `run` with the same arguments does the rest.

    Args:
        task, out, settings, progress, restart: see `run`.

    Returns:
        What training.json holds: how good the trained model is on "train" and "validation" data. It is `trained.keras`.

    Raises:
        ValueError, OSError, ImportError: see `run`.
    """
    with _working_in(task, out, settings, restart) as job:
        _compute_stages(job, ["train"], progress)
        return job.folder.read_json("training.json")


def follow(task: Task | str | Path, settings: Settings | None = None) -> int:
    """Takes part in the trainings of `run` or `train` in process 0, and writes nothing; of all other processes.

    Args:
        task, settings: see `run`, the same as there.

    Returns:
        How many trainings there were.

    Raises:
        ValueError: the recordings or settings are not those of process 0.
    """
    task, settings = _resolve(task, settings)
    several.check_same(task, all_settings(task, settings))
    job = Job(task, None, settings)
    return several.follow(job.epoch_windows, functools.partial(train_on, job))


@contextlib.contextmanager
def _working_in(task: Task | str | Path, out: Path, settings: Settings | None, restart: bool) -> Iterator[Job]:
    """The job in its folder, where no other program is at work."""
    task, settings = _resolve(task, settings)
    known = all_settings(task, settings)
    names = [name for stage in STAGES.values() for name in stage.results] + [SECONDS, RECORDINGS]
    with several.leading(task, known):
        folder = RunFolder(Path(out), known, names, restart)
        with folder.alone():
            yield Job(task, folder, settings)


def _resolve(task: Task | str | Path, settings: Settings | None) -> tuple[Task, Settings]:
    """The task that a name or file stands for, and its settings.

    Raises:
        ValueError: they do not fit each other.
    """
    task = task if isinstance(task, Task) else find_task(task)
    settings = settings or settings_of(task, {})
    check_front(task, settings)
    return task, settings


def all_settings(task: Task, settings: Settings) -> dict[str, Any]:
    """All that results depend on, by name.

    Raises:
        ValueError: one name means two things.
    """
    parts = (task.identity, task.choices, settings.figures())
    names = [name for part in parts for name in part]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Task {task.name!r} has the choices {', '.join(twice)}, which are settings of every job. Rename them."
        )
    return {name: value for part in parts for name, value in part.items()}


def _compute_stages(job: Job, names: Iterable[str], progress: Progress | None) -> None:
    """Computes those of the first stages whose results are not there."""
    tell = progress or (lambda stage, done, total, note: None)
    job.check_recordings()
    for position, name in enumerate(names):
        stage = STAGES[name]
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
    seconds = read_seconds(job.folder)
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


DECISION = ("decision.json", "curve.json")
STAGES = {
    "train": Stage("Train", ("trained.keras", "training.json"), train_stage.compute),
    "reduce": Stage("Reduce", ("spectrum.json", "reduced.keras"), reduce.compute),
    "retrain": Stage("Train again", ("retrained.keras",), retrain.compute),
    "aware": Stage("Train aware", ("aware.keras", "aware.json"), aware.compute),
    "convert": Stage("Convert", (*DECISION, "firmware/model.tflite", "sizes.json"), convert.compute),
    "verify": Stage("Verify", ("stream.npz", "verification.json"), verify.compute),
    "measure": Stage("Measure", ("costs.json", "tradeoff.json"), measure.compute),
    "streams": Stage("Streams", ("streams.npz", "streams.json"), stream.compute),
    "report": Stage("Report", ("device.html", "report.html", "summary.json"), report.compute),
}


def stages_of(task: Task) -> dict[str, Stage]:
    """Those of `STAGES` that a task has, in their order."""
    return {name: stage for name, stage in STAGES.items() if name != "streams" or task.in_streams}
