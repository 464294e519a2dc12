"""Our export beside TensorFlow's own converter: bytes, arena, speed and accuracy of one step of the same network.

A run over takes some ten minutes on one core, beside the training of the smartwatch model of
`keras_s4.testing.reference_models`, where no `--model` is given and the cache has none.

What is compared: one step of the trained classifier, without its softmax, which is the host's business. Of our files
that take a block of steps at once, time and operators are those of an invoke divided by its steps. The last of ours
stands for networks that drop steps: the same one behind the average of 4 samples, so that 3 of 4 steps cost next to
nothing. It was not trained for that, so its logits are compared with its own in streamed Keras alone. TensorFlow's
converter gets the streamed float step (`StreamingModel.step`, real arithmetic only) with states as inputs and outputs,
and for calibration single steps of the sequences that calibrate ours, with the states that really come before them. It
gives the two ends of a state different scales, so whoever calls such a file has to requantise every state between two
steps; that time is not counted. What comes of feeding the integers back as they are is shown, too.

TensorFlow Lite Micro has no GELU. Rows that name another formula run the same weights with that formula in its place.
All accuracies are of the same sequences; equal labels and signal-to-noise ratios are against streamed Keras, the latter
of the logits at the ends of the sequences.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from export_converter import TYPES, StreamedStep, convertible_models
from rich.progress import Progress
from rich.table import Column, Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement
from keras_s4.testing.processes import describe_processor, run_apart
from keras_s4.testing.step_files import StepFile, time_steps

# What `convert` is asked for, by row; the first row is what the others are compared with.
OURS: dict[str, dict[str, Any]] = {
    "keras-s4 int8": {},
    "keras-s4 int8, states as variables": {"states": "variables"},
    "keras-s4 16x8": {"activations": "int16"},
}
# Steps an invoke, for those that divide the sequences.
BLOCKS = (4, 10, 20)
AVERAGED = 4
CALIBRATION_SEQUENCES = 200
DEMO = {"channels": 32, "states": 16, "blocks": 2}
DEMO_RANK, DEMO_WINDOWS = 4, (300, 500, 6)


@dataclasses.dataclass(frozen=True)
class Task:
    """A trained network without softmax, and its data.

    Args:
        model: gives logits.
        calibration: `[B, L, features]`.
        x: sequences to test on, `[B, L, features]`.
        y: their labels, `[B]`.
    """

    model: Any
    calibration: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def streamed(self) -> np.ndarray:
        """The logits of streamed Keras at the ends of the sequences, `[B, C]`."""
        from keras_s4.streaming import StreamingModel

        return StreamingModel(self.model).predict(self.x, batch_size=64, verbose=0)[:, -1].astype(np.float64)


def evenly(count: int, wanted: int) -> np.ndarray:
    """The indices of some of many, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(int))


def given_task(model_file: Path, data: Path, sequences: int) -> Task:
    """A classifier from a file; what is not tested calibrates."""
    from keras_s4.cli.actions.models import load_model
    from keras_s4.cli.files import load_arrays
    from keras_s4.testing.reference_models import with_logits

    arrays = load_arrays(data, "x", "y")
    tested = evenly(len(arrays["x"]), sequences)
    others = np.delete(arrays["x"], tested, axis=0)
    if not len(others):
        raise typer.BadParameter(
            f"{data} has {len(arrays['x'])} sequences, and all of them are tested. Give more, or fewer --sequences: "
            "the others calibrate."
        )
    calibration = others[evenly(len(others), CALIBRATION_SEQUENCES)]
    return Task(with_logits(load_model(model_file)), calibration, arrays["x"][tested], arrays["y"][tested])


def smartwatch_task(cache: Path, sequences: int) -> Task:
    """The smartwatch model of `keras_s4.testing.reference_models`, trained unless the cache has it."""
    from keras_s4.testing.reference_models import calibration_of, evaluation_data_of, load_or_train, with_logits

    calibration, (x, y) = calibration_of("smartwatch")[:CALIBRATION_SEQUENCES], evaluation_data_of("smartwatch")
    tested = evenly(len(x), sequences)
    return Task(with_logits(load_or_train("smartwatch", cache / "smartwatch")), calibration, x[tested], y[tested])


def behind_average(task: Task) -> Task:
    """The network behind the average of some samples; the labels mean nothing for it."""
    import keras

    from keras_s4.surgery.cloning import clone

    _, length, features = task.x.shape
    network = clone(task.model, {}, inputs=keras.Input((length // AVERAGED, features)))
    layers = [keras.Input((length, features)), keras.layers.AveragePooling1D(AVERAGED), network]
    return dataclasses.replace(task, model=keras.Sequential(layers))


def our_files(task: Task) -> dict[str, bytes]:
    """Every format of ours."""
    from keras_s4.tflite import convert

    length = task.x.shape[1]
    formats = OURS | {
        f"keras-s4 int8, {steps} steps at once": {"steps": steps} for steps in BLOCKS if not length % steps
    }
    return {name: convert(task.model, task.calibration, **keywords).tflite for name, keywords in formats.items()}


def their_files(task: Task, advance: Callable) -> dict[str, bytes]:
    """Every type of TensorFlow's converter, of every form of the network."""
    steps = {suffix: StreamedStep(model, task.calibration) for suffix, model in convertible_models(task.model).items()}
    files = {}
    for type, (suffix, step) in itertools.product(TYPES, steps.items()):
        files[f"TensorFlow {type}{suffix}"] = step.convert(type)
        advance()
    return files


def quality(logits: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy and equal labels as fractions, and the signal-to-noise ratio in dB."""
    noise = np.mean((logits - expected) ** 2)
    return {
        "accuracy": float(np.mean(logits.argmax(axis=1) == labels)),
        "equal_labels": float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1))),
        "signal_to_noise": float(10 * np.log10(np.mean(expected**2) / noise)) if noise else float("inf"),
    }


def row_of(file: StepFile, task: Task, expected: np.ndarray) -> dict[str, Any]:
    """What can be said of one file on its own, JSON-ready."""
    steps = file.steps(task.x.shape[-1])
    row = {
        "steps": steps,
        "refused_by_tflm": file.refusal,
        "bytes": len(file.tflite),
        "arena_bytes": None if file.refusal else file.arena(),
        "operators": len(file.operators) / steps,
        "operator_counts": file.operator_counts,
        "states_with_unequal_ends": file.unequal_states,
        **quality(file.run(task.x), expected, task.y),
    }
    if file.unequal_states:
        row["raw_feedback"] = quality(file.run(task.x, requantize=False), expected, task.y)
    return row


def measure_conversion() -> dict[str, float]:
    """Seconds and peak memory of the conversion of a model of the demo's size, in a process that did nothing before."""
    import keras

    from keras_s4 import models, reduce
    from keras_s4.tflite import convert

    keras.utils.set_random_seed(0)
    windows = np.random.default_rng(0).normal(size=DEMO_WINDOWS).astype(np.float32)
    model = reduce(models.classifier(DEMO_WINDOWS[1:], classes=7, **DEMO), DEMO_RANK)
    start, start_processor = time.perf_counter(), time.process_time()
    convert(model, windows)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - start_processor,
        "peak_gigabytes": peak * 1024 / 1e9,
    }


def measure_rows(task: Task, rounds: int) -> tuple[dict[str, dict[str, Any]], list[Figure]]:
    """All rows of the table by name, and the checks of our own files."""
    from keras_s4.tflite import convert

    with Progress(transient=True) as progress:
        converted = progress.add_task("conversion", total=1 + len(TYPES) * len(convertible_models(task.model)))
        ours = {name: StepFile(content) for name, content in our_files(task).items()}
        progress.advance(converted)
        theirs = their_files(task, lambda: progress.advance(converted))
        files = ours | {name: StepFile(content) for name, content in theirs.items()}
        expected = task.streamed()
        rows = {}
        for name in progress.track(files, description="files"):
            rows[name] = row_of(files[name], task, expected)
    if task.x.shape[1] % AVERAGED == 0:
        averaged, name = behind_average(task), f"keras-s4 int8, behind the average of {AVERAGED} samples"
        files[name] = ours[name] = StepFile(convert(averaged.model, averaged.calibration).tflite)
        rows[name] = row_of(ours[name], averaged, averaged.streamed())
        del rows[name]["accuracy"]
    add_times(rows, {name: file for name, file in files.items() if not file.refusal}, task.x[0], rounds)
    rows["streamed Keras"] = quality(expected, expected, task.y)
    return rows, [figure for name, file in ours.items() for figure in checks(name, file)]


def add_times(rows: dict[str, dict[str, Any]], files: dict[str, StepFile], sequence: np.ndarray, rounds: int) -> None:
    """The time that a sample takes, in microseconds and as part of what it takes in the first file."""
    timings = {
        name: [invoke / rows[name]["steps"] for invoke in invokes]
        for name, invokes in time_steps(files, sequence, rounds).items()
    }
    base = timings[next(iter(OURS))]
    for name, microseconds in timings.items():
        rows[name]["microseconds"] = statistics.median(microseconds)
        rows[name]["of_ours"] = statistics.median(m / first for m, first in zip(microseconds, base, strict=True))


def checks(name: str, file: StepFile) -> list[Figure]:
    """What must not be in a file of ours."""
    return [
        Figure(f"{name}: float tensors", file.float_tensors, at_most=0),
        Figure(f"{name}: states between QUANTIZE and DEQUANTIZE", file.wrapped_states, at_most=0),
        Figure(f"{name}: states with unequal ends", file.unequal_states, at_most=0),
        Figure(f"{name}: operators outside the table", file.foreign_operators, at_most=0),
        Figure(f"{name}: refused by TensorFlow Lite Micro", bool(file.refusal), at_most=0),
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """All files; raw feedback below the row of its file."""
    rows = record["rows"]
    headings = ("runs on", "bytes", "arena", "operators", "us", "of ours", "accuracy", "equal labels", "SNR dB")
    table = Table("file", *(Column(heading, justify="right") for heading in headings), title="One sample on the host")
    for name, row in rows.items():
        runs_on = "Keras" if "bytes" not in row else "TensorFlow" if row["refused_by_tflm"] else "TFLM"
        numbers = [row.get("bytes"), row.get("arena_bytes"), row.get("operators")]
        costs = ["" if number is None else f"{number:,.4g}" if number % 1 else f"{number:,.0f}" for number in numbers]
        times = [f"{row[key]:.3g}" if key in row else "" for key in ("microseconds", "of_ours")]
        table.add_row(name, runs_on, *costs, *times, *_quality_cells(row))
        if "raw_feedback" in row:
            table.add_row("    states fed back raw", *[""] * 6, *_quality_cells(row["raw_feedback"]))
    reasons = (f"{name}: {row['refused_by_tflm']}" for name, row in rows.items() if row.get("refused_by_tflm"))
    table.caption = "\n".join(reasons)
    return [table]


def _quality_cells(row: dict[str, float]) -> tuple[str, str, str]:
    accuracy = f"{row['accuracy']:.1%}" if "accuracy" in row else ""
    return accuracy, f"{row['equal_labels']:.1%}", f"{row['signal_to_noise']:.1f}"


def figures_of_rows(rows: dict[str, dict[str, Any]]) -> list[Figure]:
    """The speed of the others, and whether the harness runs a file as it should: float gives what Keras gives."""
    speed = [
        Figure(f"sample on TFLM, {name}, of ours", row["of_ours"]) for name, row in rows.items() if "of_ours" in row
    ]
    faithful = rows["TensorFlow float32"]["signal_to_noise"]
    return [*speed[1:], Figure("TensorFlow float32: signal-to-noise ratio", faithful, at_least=60, unit=" dB")]


def compute(
    cache: Path,
    model: Annotated[Path | None, typer.Option(help="A .keras classifier, instead of the smartwatch model.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --model: an .npz file with sequences x and labels y; some are tested.")
    ] = None,
    sequences: Annotated[int, typer.Option(help="Sequences to test on.", min=1)] = 200,
    rounds: Annotated[int, typer.Option(help="Timings of each file.", min=1)] = 15,
) -> Measurement:
    """Our export beside TensorFlow's own converter, on TensorFlow Lite Micro on the host."""
    if (model is None) != (data is None):
        raise typer.BadParameter("--model and --data go together.")
    conversion = run_apart(measure_conversion, {"conversion": ()}, jobs=1)["conversion"]
    task = given_task(model, data, sequences) if model else smartwatch_task(cache, sequences)
    rows, checked = measure_rows(task, rounds)
    figures = [
        Figure("conversion of the demo's model", conversion["seconds"], at_most=20, unit=" s"),
        Figure("its peak memory, TensorFlow included", conversion["peak_gigabytes"], at_most=2, unit=" GB"),
        *checked,
        *figures_of_rows(rows),
    ]
    settings = {
        "input_shape": list(task.x.shape[1:]),
        "parameters": task.model.count_params(),
        "sequences": len(task.x),
        "calibration_sequences": len(task.calibration),
        "rounds": rounds,
    }
    details = {"settings": settings, "rows": rows, "conversion": conversion, "processor": describe_processor()}
    return Measurement(figures, details)


EXPERIMENT = Experiment(
    title="Our export beside TensorFlow's own converter",
    result=Path(__file__).parents[1] / "results" / "bench_export.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro"),
    cache=Path("runs/export"),
    tables=tables,
    needs={"seglearn": "data"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
