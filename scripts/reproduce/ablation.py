"""What memory costs on a device: reduced DSS models beside recurrent and convolutional networks of the same accuracy.

Two streaming tasks, synthetic keywords and the smartwatch recordings (people of fold 0). The DSS models are those of
`keras_s4.testing.reference_models`. Against each of them stand GRUs and depthwise-separable convolutional networks of
several sizes, trained with the same data, optimiser, schedule and at least as many gradient steps (both trainings of
the DSS model together). Of each kind the cheapest one whose accuracy on validation data is at least that of the DSS
model is compared, by instructions; if none is, the most accurate one. Accuracies are reported on test data, of the
integer programs. All of them are C of the same generator, compiled for a Cortex-M4 and counted on an emulated one.

A run over takes about an hour on two cores; interrupt it whenever you like, it continues where it was.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json
from keras_s4.testing.processes import run_apart

# Steps of the signal a second.
RATES = {"keywords": 50, "smartwatch": 50}
SIZES = {"GRU": (8, 16, 24), "DS-CNN": (8, 16, 24), "DS-CNN of every 2nd step": (16, 24)}
LEARNING_RATE = 5e-3
KERNEL, LAYERS = 9, 4
AT_ONCE = 250


def network(task, kind: str, size: int):
    """A streaming classifier of a kind."""
    import keras

    x = inputs = keras.Input(task.input_shape)
    if kind == "GRU":
        x = keras.layers.GRU(size, return_sequences=True, name="gru")(x)
    else:
        stride = 2 if kind.endswith("2nd step") else 1
        x = keras.layers.Conv1D(size, KERNEL, stride, padding="causal", use_bias=False, name="stem")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        for index in range(LAYERS):
            y = keras.layers.ZeroPadding1D((KERNEL - 1, 0))(x)
            y = keras.layers.SeparableConv1D(size, KERNEL, use_bias=False, name=f"separable_{index}")(y)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dropout(task.dropout)(x)
    outputs = keras.layers.Dense(task.classes, activation="softmax", name="head")(x)
    return keras.Model(inputs, outputs, name=f"{task.name}_{kind.split(' ')[0].lower().replace('-', '_')}_{size}")


def train_or_load(name: str, kind: str, size: int, path: Path):
    """The network after its training, from the file where it is there."""
    import keras

    from keras_s4.files import write_model
    from keras_s4.testing.sequence_tasks import TASKS

    if not path.exists():
        task = TASKS[name]
        keras.utils.set_random_seed(size)
        model = network(task, kind, size)
        steps = 2 * task.steps
        rate = keras.optimizers.schedules.CosineDecay(
            LEARNING_RATE / 10, steps - steps // 10, warmup_target=LEARNING_RATE, warmup_steps=steps // 10
        )
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=0.0, clipnorm=1.0),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=kind != "GRU",
            steps_per_execution=10,
        )
        x, y = task.batches(size, steps)
        model.fit(x, y, batch_size=task.batch_size, shuffle=False, verbose=0)
        write_model(path, model)
    return keras.saving.load_model(path)


def measure_accuracies(name: str, model, program: Path) -> dict:
    """Accuracy in floating point on validation data, and on the device on test data; keeps the program in a file."""
    from keras_s4.files import write_bytes
    from keras_s4.testing.reference_models import calibration_of, evaluation_data_of
    from keras_s4.testing.sequence_tasks import TASKS, accuracy
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator

    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    converted = convert(model, calibration_of(name))
    x, y = evaluation_data_of(name)
    emulator = Emulator(converted.program)
    parts = [converted.quantize(x[start : start + AT_ONCE]) for start in range(0, len(x), AT_ONCE)]
    logits = np.concatenate([emulator.run(part)[:, -1] for part in parts])
    write_bytes(program, pickle.dumps((converted.program, parts[0][:1])))
    return {
        "parameters": model.count_params(),
        "validation": accuracy(model, TASKS[name].evaluation("validation")),
        "test": accuracy(model, (x, y)),
        "device": float(np.mean(logits.reshape(len(x), -1).argmax(axis=1) == y)),
        "multiply_accumulates": converted.manifest["multiply_accumulates_per_step"],
        "tflite_bytes": len(converted.tflite),
        "arena_bytes": converted.manifest["arena_bytes"],
    }


def measure_task(name: str, cache: Path) -> dict:
    """Every network of a task: its accuracies, and what its C costs on a Cortex-M4."""
    from keras_s4.testing.reference_models import load_or_train
    from keras_s4.testing.sequence_tasks import use_one_thread

    use_one_thread()
    networks = {"DSS": ("DSS", 0)} | {
        f"{kind}, {size}": (kind, size) for kind, sizes in SIZES.items() for size in sizes
    }
    rows = {}
    for label, (kind, size) in networks.items():
        folder = cache / name / label.replace(", ", "_").replace(" ", "_")

        def row(kind=kind, size=size, folder=folder):
            if kind == "DSS":
                model = load_or_train(name, cache / name)
            else:
                model = train_or_load(name, kind, size, folder / "model.keras")
            return measure_accuracies(name, model, folder / "program.pickle")

        rows[label] = {"kind": kind, **cache_json(folder / "accuracies.json", row)}
        rows[label] |= cache_json(
            folder / "costs.json", lambda folder=folder: measure_costs(name, folder / "program.pickle")
        )
    return rows


def measure_costs(name: str, program: Path) -> dict:
    """Instructions for a second of signal, flash and RAM of a program's C on a Cortex-M4."""
    from keras_s4.testing.targets import measure_cost

    integers, inputs = pickle.loads(program.read_bytes())
    cost = measure_cost(integers, inputs, "m4")
    return cost | {"instructions_a_second": cost["instructions_a_step"] * RATES[name] / integers.steps}


def choose(rows: dict[str, dict]) -> dict[str, str]:
    """For each kind, the label of the network that is compared."""
    target = rows["DSS"]["validation"]
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows.values()):
        same = {label: row for label, row in rows.items() if row["kind"] == kind}
        enough = {label: row for label, row in same.items() if row["validation"] >= target}
        if enough:
            found[kind] = min(enough, key=lambda label: enough[label]["instructions_a_second"])
        else:
            found[kind] = max(same, key=lambda label: same[label]["validation"])
    return found


def tables(record: dict[str, Any]) -> list[Table]:
    """A table a task; the networks that are compared in bold."""
    found = []
    for name, rows in record["tasks"].items():
        headings = ("parameters", "validation", "test", "device", "instructions a second", "flash", "RAM", "of DSS")
        table = Table("network", *headings, title=name)
        for column in table.columns[1:]:
            column.justify = "right"
        best = set(choose(rows).values())
        for label, row in rows.items():
            ratio = row["instructions_a_second"] / rows["DSS"]["instructions_a_second"]
            percent = [f"{row[part]:.1%}" for part in ("validation", "test", "device")]
            table.add_row(
                label,
                f"{row['parameters']:,}",
                *percent,
                f"{row['instructions_a_second']:,.0f}",
                f"{row['flash_bytes']:,}",
                f"{row['ram_bytes']:,}",
                f"{ratio:.2f}",
                style="bold" if label in best else None,
            )
        found.append(table)
    return found


def figures_of_tasks(tasks: dict[str, dict[str, dict]]) -> list[Figure]:
    """What each kind costs more than the DSS model of the same accuracy."""
    figures = []
    for name, rows in tasks.items():
        for kind, label in choose(rows).items():
            row, dss = rows[label], rows["DSS"]
            if kind == "DSS":
                continue
            reached = "" if row["validation"] >= dss["validation"] else " (less accurate)"
            for what in ("instructions_a_second", "flash_bytes", "ram_bytes"):
                title = f"{name}, {label}{reached}: {what.replace('_', ' ')}, of the DSS model's"
                figures.append(Figure(title, row[what] / dss[what]))
            figures.append(Figure(f"{name}, {label}: points on test data", 100 * (row["device"] - dss["device"])))
    return figures


def compute(
    cache: Path, jobs: Annotated[int, typer.Option(help="Tasks at a time, each with one thread.", min=1)] = 2
) -> Measurement:
    """Reduced DSS models against networks of the same accuracy."""
    tasks = run_apart(measure_task, {name: (name, cache) for name in RATES}, jobs)
    return Measurement(figures_of_tasks(tasks), {"tasks": tasks, "rates": RATES})


EXPERIMENT = Experiment(
    title="Instructions, flash and RAM of the same accuracy",
    result=Path(__file__).parents[1] / "results" / "ablation.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "ziglang", "unicorn"),
    cache=Path("runs/ablation"),
    tables=tables,
    needs={"seglearn": "data", "ziglang": "bench", "unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
