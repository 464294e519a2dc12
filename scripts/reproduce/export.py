"""What the export loses: accuracy in floating point, on the device after calibration, and after aware training.

Four classifiers: Fashion-MNIST by pixel and by row, the smartwatch recordings (people of fold 0), synthetic keywords.
Each is trained, reduced to an eighth of its states and retrained as in `ezoe_sato.py`. Then it is converted
with some hundred training sequences for calibration, with activations of 8 bits and of 16 ("16x8"), and once more with
8 after a short quantisation-aware training. "Device" is the emulator, which computes all test sequences; TensorFlow
Lite Micro computes the first of them, and must agree in every output and state of every step. Nothing is chosen on test
data.

A run over takes about an hour on two cores, half of it training; interrupt it whenever you like, it continues where it
was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

TASK_NAMES = ("pixels", "rows", "smartwatch", "keywords")
# Points of accuracy that each stage may lose, and what it is called.
STAGES = {
    "calibrated": (0.5, "after calibration"),
    "16x8": (0.1, "with 16-bit activations"),
    "aware": (0.2, "after aware training"),
}
AWARE_LEARNING_RATE = 3e-4
# Gradient steps of the quantisation-aware training.
AWARE_STEPS = 200
# Sequences that TensorFlow Lite Micro runs; the emulator runs all.
ON_TFLM = 20
AT_ONCE = 250


def train_aware(name: str, folder: Path):
    """The model after a quantisation-aware training."""
    import keras

    from keras_s4 import quantize_aware
    from keras_s4.files import write_model
    from keras_s4.testing.reference_models import calibration_of, load_or_train
    from keras_s4.testing.sequence_tasks import TASKS

    path = folder / "aware.keras"
    if not path.exists():
        task = TASKS[name]
        model = quantize_aware(load_or_train(name, folder), calibration_of(name))
        x, y = task.batches(2000, AWARE_STEPS)
        falling = keras.optimizers.schedules.CosineDecay(AWARE_LEARNING_RATE, AWARE_STEPS)
        model.compile(keras.optimizers.Adam(falling, clipnorm=1.0), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=task.batch_size, shuffle=False, verbose=0)
        write_model(path, model)
    return keras.saving.load_model(path)


def measure_export(name: str, model, **formats) -> dict:
    """Labels and figures of a model in floating point and on the device."""
    from keras_s4.streaming import StreamingModel
    from keras_s4.testing.reference_models import calibration_of, evaluation_data_of, with_logits
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    x, y = evaluation_data_of(name)
    converted = convert(model, calibration_of(name), **formats)
    floating = with_logits(model).predict(x, batch_size=500, verbose=0).astype(np.float64)
    few = x[:ON_TFLM]
    streamed = StreamingModel(model, converted.length).predict(few, verbose=0)[:, -1]
    emulator = Emulator(converted.program)
    parts = [
        emulator.trace(converted.quantize(x[i : i + AT_ONCE])).outputs[0][:, -1] for i in range(0, len(x), AT_ONCE)
    ]
    output = converted.program.outputs[0]
    device = (np.concatenate(parts).astype(np.float64) - output.zero_point) * output.scale
    names = [state.after.name for state in converted.program.states]
    trace = emulator.trace(converted.quantize(few), record=names)
    outputs, states = TflmRunner(converted.tflite).run(converted.quantize(few), keep_states=True)
    equal = np.array_equal(outputs, trace.outputs[0])
    equal &= all(np.array_equal(state, trace.tensors[n]) for state, n in zip(states, names, strict=True))
    right = floating.argmax(1) == y, device.argmax(1) == y
    # What is common to all logits of a sequence, softmax ignores.
    signal, noise = (values - values.mean(axis=1, keepdims=True) for values in (floating, floating - device))
    return {
        "float": float(np.mean(right[0])),
        "device": float(np.mean(right[1])),
        "only_float_right": int(np.sum(right[0] & ~right[1])),
        "only_device_right": int(np.sum(right[1] & ~right[0])),
        "equal_labels": float(np.mean(floating.argmax(1) == device.argmax(1))),
        "signal_to_noise": float(10 * np.log10(np.sum(signal**2) / np.sum(noise**2))),
        "streamed_deviation": float(np.abs(streamed - model.predict(few, verbose=0)).max()),
        "tflm_equal": bool(equal),
        "sequences": len(x),
        "steps_on_tflm": int(few.shape[0] * few.shape[1]),
        "tflite_bytes": len(converted.tflite),
        "arena_bytes": converted.manifest["arena_bytes"],
        "operators": converted.manifest["operators"],
    }


def run_task(name: str, cache: Path) -> dict:
    """All figures of a task; what was finished before is not computed again."""
    from keras_s4.testing.reference_models import load_or_train
    from keras_s4.testing.sequence_tasks import TASKS, use_one_thread

    use_one_thread()
    folder = cache / name
    exports = {
        "calibrated": lambda: measure_export(name, load_or_train(name, folder)),
        "16x8": lambda: measure_export(name, load_or_train(name, folder), activations="int16"),
        "aware": lambda: measure_export(name, train_aware(name, folder)),
    }
    stages = {stage: cache_json(folder / f"{stage}.json", export) for stage, export in exports.items()}
    return {"title": TASKS[name].title, **stages}


def points_lost(result: dict, stage: str) -> float:
    """Points of accuracy that the device loses against the same model in floating point."""
    return 100.0 * (result[stage]["float"] - result[stage]["device"])


def points_gained(result: dict) -> float:
    """Points of accuracy that the model in floating point has gained by the quantisation-aware training."""
    return 100.0 * (result["aware"]["float"] - result["calibrated"]["float"])


def summarise(results: dict[str, dict]) -> list[Figure]:
    """What each task loses, and whether TensorFlow Lite Micro computes what the emulator does."""
    figures = []
    for result in results.values():
        title = result["title"]
        figures += [
            Figure(f"{title}: lost {words}", points_lost(result, stage), at_most=limit, unit=" points")
            for stage, (limit, words) in STAGES.items()
        ]
        figures.append(
            Figure(f"{title}: gained by aware training, in floating point", points_gained(result), unit=" points")
        )
    unequal = sum(not result[stage]["tflm_equal"] for result in results.values() for stage in STAGES)
    return [*figures, Figure("files that differ from the emulator on TFLM in any output or state", unequal, at_most=0)]


def tables(record: dict[str, Any]) -> list[Table]:
    """Accuracies, sequences that only one of the two gets right, labels and sizes, by task and stage."""
    costs = ("tflite_bytes", "arena_bytes", "operators")
    columns = ("task", "stage", "float", "device", "lost / won", "equal labels", "SNR", "bytes", "arena", "operators")
    shown = Table(*columns, title="Accuracy on test data, in floating point and on the device")
    for result in record["tasks"].values():
        for stage in STAGES:
            found = result[stage]
            shown.add_row(
                result["title"],
                stage,
                *(f"{found[key]:.2%}" for key in ("float", "device")),
                f"{found['only_float_right']} / {found['only_device_right']}",
                f"{found['equal_labels']:.2%}",
                f"{found['signal_to_noise']:.1f} dB",
                *(f"{found[key]:,}" for key in costs),
            )
    return [shown]


def compute(
    cache: Path,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(TASK_NAMES),
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
) -> Measurement:
    """Accuracy of exported models against their originals."""
    from keras_s4.testing.reference_models import CALIBRATION, KEPT, STATES

    results = run_apart(run_task, {name: (name, cache) for name in tasks.split(",")}, jobs)
    settings = {"states": STATES, "kept": KEPT, "aware_steps": AWARE_STEPS, "calibration": CALIBRATION}
    return Measurement(summarise(results), {"settings": settings, "tasks": results})


EXPERIMENT = Experiment(
    title="Export: accuracy of integers",
    result=Path(__file__).parents[1] / "results" / "export.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "tensorflow-model-optimization", "numpy", "tflite-micro"),
    cache=Path("runs/export"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
