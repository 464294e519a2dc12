"""What the export loses: accuracy in floating point, on the device after calibration, and after aware training.

Four classifiers: Fashion-MNIST by pixel and by row, the smartwatch recordings (people of fold 0), synthetic keywords.
Each is trained, reduced to an eighth of its states and retrained as in `reproduce_ezoe_sato.py`. Then it is converted
with some hundred training sequences for calibration, with activations of 8 bits and of 16 ("16x8"), and once more with
8 after a short quantisation-aware training. "Device" is the emulator, which computes all test sequences; TensorFlow
Lite Micro computes the first of them, and must agree in every output and state of every step. Nothing is chosen on test
data.

Without `--rerun` the committed results are shown. A run over takes about an hour on two cores, half of it training;
interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from measuring import RESULTS, Figure, conclude, kept, read_result, record_of, run_apart
from rich.console import Console
from rich.table import Table

RESULT = RESULTS / "export.json"
PACKAGES = ("keras-s4", "keras", "tensorflow", "tensorflow-model-optimization", "numpy", "tflite-micro")
TASK_NAMES = ("pixels", "rows", "smartwatch", "keywords")
# Points of accuracy that each stage may lose, and what it is called.
STAGES = {
    "calibrated": (0.5, "after calibration"),
    "16x8": (0.1, "with 16-bit activations"),
    "aware": (0.2, "after aware training"),
}
STATES, KEPT = 32, 4
LEARNING_RATE, RETRAIN_LEARNING_RATE, AWARE_LEARNING_RATE = 1e-2, 5e-3, 3e-4
# Gradient steps of the quantisation-aware training, and sequences of the calibration.
AWARE_STEPS, CALIBRATION = 200, 300
# Sequences that TensorFlow Lite Micro runs; the emulator runs all.
ON_TFLM = 20
# Steps from one smartwatch window of the test to the next: without overlap, one window would be 0.7 points.
HOP = 50
AT_ONCE = 250


def trained(name: str, folder: Path):
    """The reduced and retrained model of a task, from the folder where it is there."""
    import keras
    from sequence_tasks import TASKS, Trainer

    from keras_s4 import reduce
    from keras_s4.files import write_model

    path = folder / "model.keras"
    if not path.exists():
        task = TASKS[name]
        large = Trainer(task, STATES).train(0, task.steps, LEARNING_RATE, 0)
        small = reduce(large, KEPT)
        write_model(path, Trainer(task, KEPT).train(small, task.steps, RETRAIN_LEARNING_RATE, 1000))
    return keras.saving.load_model(path)


def aware(name: str, folder: Path):
    """The model after a quantisation-aware training."""
    import keras
    from sequence_tasks import TASKS

    from keras_s4 import quantize_aware
    from keras_s4.files import write_model

    path = folder / "aware.keras"
    if not path.exists():
        task = TASKS[name]
        model = quantize_aware(trained(name, folder), calibration_of(name))
        x, y = task.batches(2000, AWARE_STEPS)
        falling = keras.optimizers.schedules.CosineDecay(AWARE_LEARNING_RATE, AWARE_STEPS)
        model.compile(keras.optimizers.Adam(falling, clipnorm=1.0), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=task.batch_size, shuffle=False, verbose=0)
        write_model(path, model)
    return keras.saving.load_model(path)


def calibration_of(name: str) -> np.ndarray:
    """Training sequences that the scales are chosen from."""
    from sequence_tasks import TASKS

    task = TASKS[name]
    return task.batches(1, -(-CALIBRATION // task.batch_size))[0][:CALIBRATION]


def test_data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Test sequences and their classes."""
    from sequence_tasks import TASKS

    task = TASKS[name]
    return task.recordings(0)[2].windows(hop=HOP) if name == "smartwatch" else task.evaluation("test")


def with_logits(model):
    """A classifier without the softmax of its last layer."""
    from keras_s4.surgery.cloning import clone

    last = model.layers[-1].get_config()
    return clone(model, {last["name"]: {"activation": "linear"}}) if last.get("activation") == "softmax" else model


def export_of(name: str, model, **formats) -> dict:
    """Labels and figures of a model in floating point and on the device."""
    from keras_s4.streaming import StreamingModel
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    x, y = test_data_of(name)
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
    from sequence_tasks import TASKS, use_one_thread

    use_one_thread()
    folder = cache / name
    exports = {
        "calibrated": lambda: export_of(name, trained(name, folder)),
        "16x8": lambda: export_of(name, trained(name, folder), activations="int16"),
        "aware": lambda: export_of(name, aware(name, folder)),
    }
    stages = {stage: kept(folder / f"{stage}.json", export) for stage, export in exports.items()}
    return {"title": TASKS[name].title, **stages}


def lost(result: dict, stage: str) -> float:
    """Points of accuracy that the device loses against the same model in floating point."""
    return 100.0 * (result[stage]["float"] - result[stage]["device"])


def gained(result: dict) -> float:
    """Points of accuracy that the model in floating point has gained by the quantisation-aware training."""
    return 100.0 * (result["aware"]["float"] - result["calibrated"]["float"])


def summarise(results: dict[str, dict]) -> list[Figure]:
    """What each task loses, and whether TensorFlow Lite Micro computes what the emulator does."""
    figures = []
    for result in results.values():
        title = result["title"]
        figures += [
            Figure(f"{title}: lost {words}", lost(result, stage), at_most=limit, unit=" points")
            for stage, (limit, words) in STAGES.items()
        ]
        figures.append(Figure(f"{title}: gained by aware training, in floating point", gained(result), unit=" points"))
    unequal = sum(not result[stage]["tflm_equal"] for result in results.values() for stage in STAGES)
    return [*figures, Figure("files that differ from the emulator on TFLM in any output or state", unequal, at_most=0)]


def table(results: dict[str, dict]) -> Table:
    """Accuracies, sequences that only one of the two gets right, labels and sizes, by task and stage."""
    costs = ("tflite_bytes", "arena_bytes", "operators")
    columns = ("task", "stage", "float", "device", "lost / won", "equal labels", "SNR", "bytes", "arena", "operators")
    shown = Table(*columns, title="Accuracy on test data, in floating point and on the device")
    for result in results.values():
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
    return shown


def main(
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute the results anew instead of reading them.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short.")] = False,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(TASK_NAMES),
    jobs: Annotated[int, typer.Option(help="Tasks at a time, one core each.", min=1)] = 2,
    cache: Annotated[Path, typer.Option(help="Where models and finished runs are kept.")] = Path("runs/export"),
):
    """Accuracy of exported models against their originals."""
    if rerun:
        results = run_apart(run_task, {name: (name, cache) for name in tasks.split(",")}, jobs)
        settings = {"states": STATES, "kept": KEPT, "aware_steps": AWARE_STEPS, "calibration": CALIBRATION}
        record = record_of(summarise(results), PACKAGES, settings=settings, tasks=results)
        json_file = json_file or RESULT
    else:
        record = read_result(RESULT)
    Console().print(table(record["tasks"]))
    conclude("Export", record, json_file, check)


if __name__ == "__main__":
    typer.run(main)
