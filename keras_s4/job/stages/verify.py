"""Does the device do what Keras does, and how good is it? On the whole test set: stream.npz, verification.json."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_s4.job.aims.aim import Figures, Tested, outputs_of
from keras_s4.job.decision import alarms_in_streams
from keras_s4.job.job import Job
from keras_s4.job.stages import MODELS
from keras_s4.recordings import UNLABELLED
from keras_s4.tflite import verify
from keras_s4.tflite.emulator import Emulator
from keras_s4.tflite.verification.result import DEVICE

STREAMED_WINDOWS = 3
VERIFY_STEPS = ("streamed", "tflm", "tensorflow")


def compute(job: Job) -> None:
    """Compares all engines on the test data, and runs one recording: stream.npz, verification.json."""
    job.report(0, 1, "")
    _check_firmware(job)
    aim = job.aim
    x, y = aim.examples("test")
    outputs = {name: outputs_of(job.exported(name), x) for name in MODELS}
    wanted = outputs[MODELS[-1]]
    known = y if job.task.classes and not (y == UNLABELLED).any() else None
    found = verify(job.firmware, job.exported(MODELS[-1]), x, known, progress=_steps_of(job), task=aim.head)
    device = next(found.values[stage] for stage in reversed(DEVICE) if stage in found.values)
    details = aim.details(Tested(x, y, device, wanted, job.decision))
    if job.task.anomaly and job.task.live is not None:
        details |= {"alarms": alarms_in_streams(job)}
    job.folder.write("stream.npz", stream_of_recording(job))
    job.folder.write_json(
        "verification.json",
        {
            "windows": len(x),
            "keras": {name: _judge(job, values, y, wanted) for name, values in outputs.items()},
            "engines": {stage: _judge(job, values, y, wanted) for stage, values in found.values.items()},
            "comparison": found.figures(),
            "details": details,
        },
    )


def stream_of_recording(job: Job) -> bytes:
    """The first test recording of several windows, run through the emulator with a reset after each window.

    Returns:
        An `.npz`: `signal` `[L, features]`, the `outputs` `[L / T, C]` after every T steps that the program takes at
        once, the `label` of the recording, or of each of its steps, and the steps of a `window`.
    """
    task, firmware = job.task, job.firmware
    recordings = task.splits.test
    windows = [len(signal) // task.length for signal in recordings.signals]
    index = next((i for i, count in enumerate(windows) if count >= STREAMED_WINDOWS), int(np.argmax(windows)))
    if windows[index]:
        count = min(windows[index], STREAMED_WINDOWS)
        signal = recordings.signals[index][: count * task.length]
    else:  # all are shorter than a window
        index, count = int(np.argmax([len(signal) for signal in recordings.signals])), 1
        signal = recordings.signals[index]
    integers = firmware.quantize(signal.reshape(count, -1, signal.shape[-1]), whole=False)
    outputs = firmware.dequantize(Emulator(firmware.program).run(integers))
    label = recordings.labels[index]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        signal=signal,
        outputs=job.aim.in_units(outputs.reshape(len(signal) // firmware.program.steps, -1)),
        label=label[: len(signal)] if recordings.has_step_labels else label,
        window=task.length,
    )
    return content.getvalue()


def _judge(job: Job, outputs: np.ndarray, targets: np.ndarray, reference: np.ndarray) -> Figures:
    """The two figures of a row of the table, and what else there is; an engine may have run the first windows only."""
    count = len(outputs)
    return job.aim.judge(outputs, targets[:count]) | job.aim.compare(outputs, reference[:count])


def _check_firmware(job: Job) -> None:
    """The verdict must be about the file that is delivered."""
    path = job.folder.path / "firmware" / "model.tflite"
    if not path.is_file() or path.read_bytes() != job.firmware.tflite:
        raise ValueError(
            f"{path} is not what {MODELS[-1]}.keras converts to (it was changed, or other versions of the packages "
            f"wrote it). Delete {job.folder.path / 'sizes.json'} and start again: it is then written anew."
        )


def _steps_of(job: Job) -> Callable[[str, int, int], Any]:
    """The progress of `verify` over all of its parts, most of the time going to the second."""

    def progress(step: str, done: int, total: int) -> None:
        place = VERIFY_STEPS.index(step) if step in VERIFY_STEPS else 0
        job.report(int(1000 * (place + done / max(total, 1))), 1000 * len(VERIFY_STEPS), step)

    return progress
