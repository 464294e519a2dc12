"""The stages of the job: each reads the results of those before it and writes its own."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable

import keras
import numpy as np

from keras_s4 import models, training
from keras_s4.compression import parts_of, ranks, reduce, spectrum
from keras_s4.datasets import Task
from keras_s4.job.fit import fit
from keras_s4.job.job import Job
from keras_s4.scoring.scores import against_reference, against_targets
from keras_s4.tflite import Converted, convert, verify
from keras_s4.tflite.emulator import Emulator

# The size of a `.tflite` does not depend on how many windows set its scales.
SIZE_WINDOWS = 8
STREAMED_WINDOWS = 3
MODELS = ("trained", "reduced", "retrained")
VERIFY_STEPS = ("streamed", "tflm", "tensorflow")


def train(job: Job) -> None:
    """The full model: trained.keras."""
    task, settings = job.task, job.settings
    build = models.classifier if task.classes else models.regressor
    model = build(
        task.input_shape,
        len(task.outputs),
        settings.channels,
        settings.states,
        settings.blocks,
        dropout=training.DROPOUT,
    )
    fit(job, model, "trained.keras", settings.epochs, training.LEARNING_RATE)


def reduce_states(job: Job) -> None:
    """The spectra and the model with fewer states: spectrum.json, reduced.keras."""
    job.report(0, 1, "")
    model = job.folder.load_model("trained.keras")
    parts = spectrum(model)
    chosen = ranks.uniform(model, fraction=job.settings.fraction)
    figures, curves = parts.figures(), parts.curves(chosen)
    job.folder.write_json("spectrum.json", {name: figures[name] | curves[name] for name in curves})
    job.folder.save_model("reduced.keras", reduce(model, chosen))


def retrain(job: Job) -> None:
    """The reduced model, trained on: retrained.keras."""
    model = job.folder.load_model("reduced.keras")
    fit(job, model, "retrained.keras", job.settings.retrain_epochs, training.RETRAIN_LEARNING_RATE)


def convert_models(job: Job) -> None:
    """What each model takes on a device, and the files for it: firmware/, sizes.json."""
    sizes = {}
    for index, name in enumerate(MODELS):
        job.report(index, len(MODELS) + 1, f"the {name} model")
        model = job.folder.load_model(f"{name}.keras")
        converted = job.firmware if name == "retrained" else convert(model, job.calibration)
        parts = parts_of(model).values()
        sizes[name] = {
            "parameters": model.count_params(),
            "states": sum(part.system.channels * part.system.state_size for part in parts),
            "manifest": converted.manifest,
        }
    job.report(len(MODELS), len(MODELS) + 1, "firmware files")
    saved = job.folder.work / "firmware"
    shutil.rmtree(saved, ignore_errors=True)
    job.firmware.save(saved)
    job.folder.take_folder(saved, "firmware")
    job.folder.write_json("sizes.json", sizes)


def verify_firmware(job: Job) -> None:
    """The comparison on the whole test set, and one recording: stream.npz, verification.json."""
    job.report(0, 1, "")
    _check_firmware(job)
    head, metric = job.task.head, job.task.metric
    x, y = job.task.windows("test")
    model = job.folder.load_model("retrained.keras")
    wanted = outputs_of(model, x)
    keras_figures = {}
    for name in MODELS:
        outputs = wanted if name == "retrained" else outputs_of(job.folder.load_model(f"{name}.keras"), x)
        figures = against_targets(head, outputs, y) | against_reference(head, outputs, wanted)
        keras_figures[name] = {key: figures[key] for key in (metric.score, metric.likeness)}
    found = verify(job.firmware, model, x, y, progress=_steps_of(job), task=head)
    job.folder.write("stream.npz", stream_of_recording(job.firmware, job.task))
    job.folder.write_json(
        "verification.json",
        {
            "windows": len(y),
            "keras": keras_figures,
            "comparison": found.figures(),
            "confusion": _confusion(job.task, y, found.labels),
        },
    )


def measure_sizes(job: Job) -> None:
    """The metric on the validation data against size, over ranks without training: tradeoff.json."""
    x, y = job.task.windows("validation")
    sizes = job.folder.read_json("sizes.json")
    trained = job.folder.load_model("trained.keras")
    candidates = [2**exponent for exponent in range(10) if 2**exponent < job.settings.states]
    points = []
    for index, rank in enumerate(candidates):
        job.report(index, len(candidates) + 1, f"{rank} modes a channel")
        model = reduce(trained, rank)
        size = len(convert(model, job.calibration[:SIZE_WINDOWS]).tflite)
        points.append({"rank": rank, **_score(job.task, model, x, y), "tflite_bytes": size})
    result = {"windows": len(y), "truncated": points}
    for name in ("trained", "retrained"):
        model = trained if name == "trained" else job.folder.load_model("retrained.keras")
        result[name] = {
            **_score(job.task, model, x, y),
            "tflite_bytes": sizes[name]["manifest"]["tflite_bytes"],
        }
    job.folder.write_json("tradeoff.json", result)


def outputs_of(model: keras.Model, x: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """What a model gives for each sequence, `[B, C]`; for few sequences quicker than `predict`."""
    batches = [model(x[start : start + batch_size], training=False) for start in range(0, len(x), batch_size)]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches])


def stream_of_recording(firmware: Converted, task: Task) -> bytes:
    """The first test recording of several windows, run through the emulator with a reset after each window.

    Returns:
        An `.npz`: `signal` `[L, features]`, the `outputs` `[L, C]` after each step, the `label` of the recording, and
        the steps of a `window`.
    """
    recordings = task.splits.test
    windows = [len(signal) // task.length for signal in recordings.signals]
    index = next((i for i, count in enumerate(windows) if count >= STREAMED_WINDOWS), int(np.argmax(windows)))
    count = min(windows[index], STREAMED_WINDOWS)
    signal = recordings.signals[index][: count * task.length]
    integers = firmware.quantize(signal.reshape(count, task.length, -1))
    outputs = firmware.dequantize(Emulator(firmware.program).run(integers))
    content = io.BytesIO()
    np.savez_compressed(
        content,
        signal=signal,
        outputs=outputs.reshape(count * task.length, -1),
        label=recordings.labels[index],
        window=task.length,
    )
    return content.getvalue()


def _score(task: Task, model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    figures = against_targets(task.head, outputs_of(model, x), y)
    return {task.metric.score: figures[task.metric.score]}


def _confusion(task: Task, y: np.ndarray, labels: np.ndarray | None) -> list[list[int]] | None:
    """How often each class was taken for each other, `[C, C]`; None for quantities."""
    if labels is None:
        return None
    counts = np.zeros((len(task.classes),) * 2, int)
    np.add.at(counts, (y, labels), 1)
    return counts.tolist()


def _check_firmware(job: Job) -> None:
    """The verdict must be about the file that is delivered."""
    path = job.folder.path / "firmware" / "model.tflite"
    if not path.is_file() or path.read_bytes() != job.firmware.tflite:
        raise ValueError(
            f"{path} is not what retrained.keras converts to (it was changed, or other versions of the packages wrote "
            f"it). Delete {job.folder.path / 'sizes.json'} and start again: it is then written anew."
        )


def _steps_of(job: Job) -> Callable[[str, int, int], None]:
    """The progress of `verify` over all of its parts, most of the time going to the second."""

    def progress(step: str, done: int, total: int) -> None:
        place = VERIFY_STEPS.index(step) if step in VERIFY_STEPS else 0
        job.report(int(1000 * (place + done / max(total, 1))), 1000 * len(VERIFY_STEPS), step)

    return progress
