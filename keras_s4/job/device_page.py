"""The page that runs a task's firmware in a browser, with test recordings to replay."""

from __future__ import annotations

import html
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_s4.datasets import Task
from keras_s4.job.job import Job
from keras_s4.job.streams import Streams
from keras_s4.recordings import Recordings
from keras_s4.tflite import Replay, web_page

# A report is sent by mail: so many recordings, and numbers of all of them.
MOST_RECORDINGS, MOST_NUMBERS = 6, 90_000
NOT_MADE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>No page of the device</title>
<p>This page would run the device's program. It was not made: {}</p></html>
"""
AGAIN = "Then delete device.html and run again."


def device_page(job: Job) -> tuple[str, str]:
    """The page and ""; where it cannot be made, one that says so, and why."""
    sensors = job.task.sensors
    try:
        page = web_page(
            job.firmware,
            replays_of(job.task, job.settings.seed),
            decision=job.decision,
            sensors=sensors if all(sensor.lsb is not None for sensor in sensors) else None,
            **words_of(job),
        )
    except (ImportError, NotImplementedError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        why_not = f"{str(error).rstrip('.')}. {AGAIN}"
        return NOT_MADE.format(html.escape(why_not)), why_not
    return page, ""


def words_of(job: Job) -> dict[str, Any]:
    """What the page calls things, as arguments of `web_page`."""
    task = job.task
    words: dict[str, Any] = {"title": task.title, "rate": task.rate, "features": task.sensors}
    words["facts"] = _costs(job.folder.read_json("costs.json"))
    if task.anomaly:
        return words | {"outputs": ("anomaly",)}
    units = job.aim.units()
    if task.horizon:
        of_features = [sensor.unit for sensor in task.sensors for _ in sensor.axes]
        units = [unit | {"unit": own} for unit, own in zip(units, of_features, strict=True)]
        return words | {"horizon": task.horizon, "units": units}
    return words | {"outputs": task.outputs, "units": units if task.targets else None}


def _costs(costs: dict[str, Any]) -> list[tuple[str, str]]:
    """What a device needs, where it was counted."""
    if "core" not in costs:
        return []
    core = f"on a Cortex-{costs['core'].upper()}"
    return [
        (f"bytes of flash {core}", f"{costs['flash_bytes']:,}"),
        (f"instructions a sample {core}", f"{costs['instructions_a_step']:,.0f}"),
    ]


def replays_of(task: Task, seed: int) -> list[Replay]:
    """Test recordings with their labels: of classes one each, of streams the first ones."""
    recordings = Streams.of(task, "test", seed).recordings if task.in_streams else task.splits.test
    chosen = _choose(task, recordings)
    room = MOST_NUMBERS // (len(chosen) * task.input_shape[1])
    replays = []
    for index in chosen:
        steps = _whole_windows(min(len(recordings.signals[index]), max(room, task.length)), task)
        replays.append(Replay(recordings.signals[index][:steps], *_described(task, recordings, index, steps)))
    return replays


def _choose(task: Task, recordings: Recordings) -> Sequence[int]:
    """The numbers of recordings that are shown."""
    lengths = [len(signal) for signal in recordings.signals]
    long = [index for index, length in enumerate(lengths) if length >= task.length] or [int(np.argmax(lengths))]
    if recordings.has_step_labels or task.multi_label or task.targets or (task.horizon and not task.anomaly):
        return long[: MOST_RECORDINGS // 2]
    first_of_each = {int(recordings.labels[index]): index for index in reversed(long)}
    return [index for _, index in sorted(first_of_each.items())][:MOST_RECORDINGS]


def _whole_windows(steps: int, task: Task) -> int:
    """Steps without those of a window that has no end."""
    return steps if steps < task.length or task.in_streams else steps - steps % task.length


def _described(task: Task, recordings: Recordings, index: int, steps: int) -> tuple[str, Any]:
    """The name of a recording, and what it is."""
    of = f" of {task.group} {recordings.subjects[index]}" if task.group else ""
    if task.horizon and not task.anomaly:
        return f"recording {index + 1}{of}", None
    labels = recordings.labels[index]
    if recordings.has_step_labels:
        return f"recording {index + 1}{of}", labels[:steps] == 1 if task.anomaly else labels[:steps]
    if task.anomaly:
        return f"{'anomalous' if labels == 1 else 'normal'}{of}", np.atleast_1d(labels == 1)
    if task.classes and not task.multi_label:
        return f"{task.classes[int(labels)] if labels >= 0 else 'unknown'}{of}", labels
    return f"recording {index + 1}{of}", labels
