"""What the generated C costs on Cortex-M cores, and whether it computes what the emulator computes.

- Targets: the smartwatch model of `keras_s4.testing.reference_models` on five cores in Unicorn (compiled by Zig) with
  every step of the test set, and on six machines of QEMU (compiled by GCC, complete firmware images) with the first
  windows: flash, RAM, stack, instructions a step.
- Layers: instructions of each operation on a Cortex-M4 beside those it cannot avoid.
- DSS steps alone, instructions for each multiply-accumulate, on a Cortex-M4 and on a Cortex-M55 with Helium.
- The keyword model beside published figures of other models.
- Random models of `keras_s4.testing.architectures` on the host and on a Cortex-M4.
- Random steps from full-range inputs and corrupted states under AddressSanitizer and UndefinedBehaviorSanitizer.

Instructions are no cycles: emulators count what a core executes, not how long it takes. Unicorn and QEMU count alike
within a percent. A run over takes about half an hour on two cores.
"""

from __future__ import annotations

import concurrent.futures
import math
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from firmware_measuring import (
    export_dss_layer,
    export_program,
    export_random_models,
    layer_rows,
    load,
    measure_dss,
    measure_fuzz,
    measure_hostile,
    measure_targets,
    outputs_cost,
)
from rich.progress import Progress
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement
from keras_s4.testing.processes import run_apart

CLOCK = 80e6
RATE = 50  # steps of the signal a second, of both models
# Published, instructions an inference on TensorFlow Lite Micro with CMSIS-NN: Cortex-M4F, Cortex-M55.
PUBLISHED = {
    "MLPerf Tiny keyword DS-CNN, a clip of one second (53,936 bytes, arena 22.8 KB)": (7.70e6, 1.81e6),
    "MLPerf Tiny streaming wake word (74,520 bytes)": (2.23e6, 0.41e6),
    "TFLM's micro_speech (18,800 bytes)": (1.50e6, 1.01e6),
    "TFLM's int8 LSTM of 28 steps (13,952 bytes)": (0.57e6, 0.26e6),
}
DS_CNN = next(iter(PUBLISHED.values()))[0]


def compute(
    cache: Path,
    windows: Annotated[int, typer.Option(help="Of the smartwatch test set; by default all.")] = 10_000,
    models: Annotated[int, typer.Option(help="Random ones.")] = 100,
    hostile_steps: Annotated[int, typer.Option(help="Under the sanitizers.")] = 10_000_000,
) -> Measurement:
    """What the generated C costs, and that it is right."""
    from keras_s4.testing.targets import measure_cost

    sizes = [(64, 32), (64, 8), (32, 4)]
    with (
        tempfile.TemporaryDirectory() as kept,
        concurrent.futures.ThreadPoolExecutor(1) as beside,
        Progress() as progress,
    ):
        folder = Path(kept)
        for name in ("smartwatch", "keywords"):
            run_apart(export_program, {name: (name, cache, folder)}, jobs=1)
        run_apart(export_dss_layer, {str(size): (*size, folder) for size in sizes}, jobs=1)
        run_apart(export_random_models, {"all": (range(models), folder)}, jobs=1)
        smartwatch, inputs, tflite = load(folder, "smartwatch")
        hostile = beside.submit(measure_hostile, smartwatch, hostile_steps)
        targets = measure_targets(smartwatch, inputs, tflite, windows, progress)
        keywords, words, _ = load(folder, "keywords")
        costs = {
            "smartwatch": measure_cost(smartwatch, inputs, "m4"),
            "keywords": measure_cost(keywords, words, "m4"),
        }
        silent = {
            "smartwatch": outputs_cost(smartwatch, costs["smartwatch"]),
            "keywords": outputs_cost(keywords, costs["keywords"]),
        }
        layers = {
            "smartwatch": layer_rows(smartwatch, costs["smartwatch"]),
            "keywords": layer_rows(keywords, costs["keywords"]),
        }
        dss = measure_dss(folder, sizes)
        fuzz = measure_fuzz(folder, range(models), progress)
        state_bytes = sum(
            math.prod(state.before.shape) * np.dtype(state.before.type).itemsize for state in smartwatch.states
        )
    found = {
        "targets": targets,
        "costs": costs,
        "outputs_instructions": silent,
        "layers": layers,
        "dss": dss,
        "fuzz": fuzz,
        "hostile": hostile.result(),
        "state_bytes": state_bytes,
    }
    return Measurement(figures_of_costs(found, models), found)


def figures_of_costs(found: dict[str, Any], models: int) -> list[Figure]:
    """What is asked for."""
    smartwatch, keywords = found["costs"]["smartwatch"], found["costs"]["keywords"]
    a_second = smartwatch["instructions_a_step"] * RATE
    words = (keywords["instructions_a_step"] - found["outputs_instructions"]["keywords"]) * RATE
    words += found["outputs_instructions"]["keywords"]
    hostile = found["hostile"]
    return [
        *(
            Figure(f"{row['target']}: integers that differ in {row['steps']:,} steps", row["differ"], at_most=0)
            for row in found["targets"]
        ),
        Figure("smartwatch: flash for code, Cortex-M4", smartwatch["code_bytes"], at_most=6 * 1024, unit=" B"),
        Figure(
            "smartwatch: RAM besides the states",
            smartwatch["ram_bytes"] - found["state_bytes"],
            at_most=1024,
            unit=" B",
        ),
        Figure(
            "smartwatch: stack, the most of all cores",
            max(row.get("stack_bytes", 0) for row in found["targets"]),
            at_most=512,
            unit=" B",
        ),
        Figure("smartwatch: instructions a second of signal, Cortex-M4", a_second),
        Figure("smartwatch: real-time factor at 80 MHz", CLOCK / a_second),
        *(
            Figure(
                f"DSS step, {row['channels']} x {row['modes']} modes: instructions a multiply-accumulate, {what}",
                row[key],
                at_most=limit,
            )
            for row in found["dss"]
            for key, what, limit in (
                ("m4", "Cortex-M4", 3.0),
                ("m55_step", "Cortex-M55, the whole step", 1.5),
            )
        ),
        *(
            Figure(
                f"DSS step, {row['channels']} x {row['modes']} modes, {row['fed_back']} of them fed back: instructions "
                "a multiply-accumulate, Cortex-M4",
                row["m4_fed_back"],
            )
            for row in found["dss"]
        ),
        *(
            Figure(
                f"DSS step, {row['channels']} x {row['modes']}: integers that differ on {name}",
                row[f"{name}_differ"],
                at_most=0,
            )
            for row in found["dss"]
            for name in ("m4", "m55")
        ),
        Figure("keywords: instructions a second of signal, outputs once a second, Cortex-M4", words),
        Figure("keywords: the same, of the MLPerf Tiny DS-CNN's", words / DS_CNN, at_most=0.1),
        Figure("keywords: outputs after every step, of the DS-CNN's", keywords["instructions_a_step"] * RATE / DS_CNN),
        *(
            Figure(f"{models} random models: differ on the {where}", count, at_most=0)
            for where, count in found["fuzz"].items()
        ),
        Figure(f"{hostile['steps']:,} hostile steps under sanitizers: findings", hostile["wrong"], at_most=0),
    ]


def tables(record: dict[str, Any]) -> list[Table]:
    """Targets, layers, and the published figures."""
    columns = ("target", "code", "constants", "RAM", "stack", "instructions a step", "steps", "differ")
    table = Table(*columns, title="Smartwatch model on its targets: bytes, instructions, integers that differ")
    found = [table]
    for row in record["targets"]:
        numbers = [row.get(key) for key in ("code_bytes", "constant_bytes", "ram_bytes", "stack_bytes")]
        cells = ["" if number is None else f"{number:,}" for number in numbers]
        instructions = f"{row['instructions_a_step']:,.0f}" if "instructions_a_step" in row else ""
        table.add_row(row["target"], *cells, instructions, f"{row['steps']:,}", f"{row['differ']}")
    for name, rows in record["layers"].items():
        table = Table("operation", "instructions", "least", "of it", title=f"{name}: a step on a Cortex-M4")
        for row in rows:
            ratio = row["instructions"] / row["least"]
            table.add_row(row["operation"], f"{row['instructions']:,.0f}", f"{row['least']:,.0f}", f"{ratio:.2f}")
        found.append(table)
    table = Table("model", "Cortex-M4F", "Cortex-M55", title="Instructions, in millions")
    for name, (m4, m55) in PUBLISHED.items():
        table.add_row(name, f"{m4 / 1e6:.2f}", f"{m55 / 1e6:.2f}")
    for name, cost in record["costs"].items():
        table.add_row(f"ours: {name}, a second of signal", f"{cost['instructions_a_step'] * RATE / 1e6:.2f}", "")
    return [*found, table]


EXPERIMENT = Experiment(
    title="Generated C on cores",
    result=Path(__file__).parents[1] / "results" / "bench_firmware.json",
    compute=compute,
    packages=("keras-s4", "keras", "numpy", "ziglang", "unicorn", "tflite-micro"),
    cache=Path("runs/export"),
    tables=tables,
    needs={"seglearn": "data", "ziglang": "bench", "unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
