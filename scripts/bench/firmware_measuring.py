"""What `firmware.py` measures: programs made in processes of their own, their C on cores and under sanitizers."""

from __future__ import annotations

import dataclasses
import math
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

COMPILERS = {"m0": "zig", "m3": "zig", "m4": "zig", "m7": "zig", "m33": "zig"}
ON_QEMU, ON_TFLM = 8, 20


def export_program(name: str, cache: Path, folder: Path) -> None:
    """Keeps the program of a trained model, and the integers of its test data, in a file; Keras stays in here."""
    from keras_s4.testing.reference_models import calibration_of, evaluation_data_of, load_or_train
    from keras_s4.tflite import convert

    model = load_or_train(name, cache / name)
    converted = convert(model, calibration_of(name))
    inputs = converted.quantize(evaluation_data_of(name)[0])
    (folder / f"{name}.pickle").write_bytes(pickle.dumps((converted.program, inputs, converted.tflite)))


def export_dss_layer(channels: int, modes: int, folder: Path) -> None:
    """The same of a DSS layer alone."""
    import keras

    from keras_s4 import layers
    from keras_s4.tflite import convert

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((200, channels)), layers.DSS(modes, per_channel_poles=True)])
    data = np.random.default_rng(0).normal(size=(4, 200, channels))
    converted = convert(model, data)
    kept = converted.program, converted.quantize(data), converted.tflite
    (folder / f"dss_{channels}_{modes}.pickle").write_bytes(pickle.dumps(kept))


def export_random_models(seeds: range, folder: Path) -> None:
    """The same of random models."""
    import keras

    from keras_s4.testing.architectures import random_model
    from keras_s4.tflite import convert

    for seed in seeds:
        keras.backend.clear_session()
        drawn = random_model(seed)
        data = drawn.data if len(drawn.data) > 1 else drawn.data[0]
        converted = convert(drawn.model, data, **drawn.format)
        few = converted.quantize([x[:2] for x in drawn.data] if len(drawn.data) > 1 else data[:2])
        (folder / f"fuzz_{seed}.pickle").write_bytes(pickle.dumps((converted.program, few, converted.tflite)))


def load(folder: Path, name: str):
    """A kept program, its inputs as a list, and its file."""
    program, inputs, tflite = pickle.loads((folder / f"{name}.pickle").read_bytes())
    return program, inputs if isinstance(inputs, list) else [inputs], tflite


def differences(expected, states, result) -> int:
    """Integers that differ in outputs and in the states at the end."""
    pairs = [*zip(expected, result.outputs, strict=True), *zip(states, result.states, strict=True)]
    return sum(int(np.count_nonzero(ours != theirs)) for ours, theirs in pairs)


def measure_targets(program, inputs: list[np.ndarray], tflite: bytes, windows: int, progress: Progress) -> list[dict]:
    """A row a target: costs, and differences from the emulator over the test set."""
    from keras_s4.testing.targets import CORES, Vectors, build, measure_cost, run
    from keras_s4.testing.targets.qemu import boot
    from keras_s4.tflite.c99 import CRunner
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    inputs = [array[:windows] for array in inputs]
    steps = inputs[0].shape[0] * inputs[0].shape[1]
    task = progress.add_task("targets", total=len(COMPILERS) + len(CORES) + 2)
    traces = [Emulator(program).trace([array[i : i + 100] for array in inputs]) for i in range(0, len(inputs[0]), 100)]
    outputs = [np.concatenate(parts) for parts in zip(*(trace.outputs for trace in traces), strict=True)]
    states = [np.concatenate(parts) for parts in zip(*(trace.final_states for trace in traces), strict=True)]
    host = CRunner(program).run(inputs)
    found = int(np.count_nonzero((host if isinstance(host, np.ndarray) else host[0]) != outputs[0]))
    rows = [{"target": "this computer, cc", "steps": steps, "differ": found}]
    few = TflmRunner(tflite).run([array[:ON_TFLM] for array in inputs])
    found = int(np.count_nonzero(few != outputs[0][:ON_TFLM]))
    rows.append({"target": "this computer, TFLM", "steps": ON_TFLM * inputs[0].shape[1], "differ": found})
    progress.advance(task, 2)
    for name, compiler in COMPILERS.items():
        cost = measure_cost(program, inputs, name, compiler)
        result = run(build(program, CORES[name], compiler), inputs, count=False)
        row = {"target": f"{CORES[name].cpu}, Unicorn", "steps": steps, "differ": differences(outputs, states, result)}
        rows.append(row | cost)
        progress.advance(task)
    starts = tuple(np.zeros_like(state[:ON_QEMU]) for state in states)
    cut = [tuple(array[:ON_QEMU] for array in arrays) for arrays in (inputs, outputs, states)]
    vectors = Vectors(cut[0], cut[1], starts, cut[2])
    for core in CORES.values():
        # The images of small machines have room for some windows.
        few = vectors if core.flash.size > 2**18 else _first(vectors, 2)
        image = build(program, core, "gcc", few)
        report = boot(image)
        rows.append(
            {
                "target": f"{core.cpu}, QEMU's {core.machine}",
                "steps": report.steps,
                "differ": report.wrong + (report.status != 0),
                "compiler": image.compiler,
                "code_bytes": image.code_bytes,
                "constant_bytes": image.constant_bytes,
                "ram_bytes": image.state_bytes,
                "stack_bytes": report.stack_bytes,
                "instructions_a_step": report.instructions_per_step,
            }
        )
        progress.advance(task)
    return rows


def _first(vectors, streams: int):
    from keras_s4.testing.targets import Vectors

    parts = (vectors.inputs, vectors.outputs, vectors.starts, vectors.ends)
    return Vectors(*(tuple(array[:streams] for array in arrays) for arrays in parts))


def least_instructions(operation) -> float:
    """What a Cortex-M4 cannot avoid for an operation: its loads, stores and multiply-accumulates.

    Two words are one load, and four bytes are; two 16-bit products are one instruction, and a word times a half is one.
    """
    from keras_s4.tflite.program.operations import DiagonalStep, FullyConnected

    size = math.prod(operation.result.shape)
    match operation:
        case DiagonalStep():
            # Loads of state and constants, a store; products with the input, the pole and the readout.
            return 9 * operation.decay.data.size + 5 * size
        case FullyConnected():
            weights = operation.weights.data.size
            products = weights / 2
            loads = weights / 4 + weights / 16 * (1 if operation.input.type == "int8" else 2)
            return products + loads + 4 * size  # bias, multiplier, saturation, store
    return 4 * size  # two loads or a table, a product or a sum, a store


def name_in_counts(operation) -> str:
    """What instructions are counted under: class and result of an operation."""
    from keras_s4.tflite.c99.names import printable

    return f"{type(operation).__name__}: {printable(operation.result.name)}"


def layer_rows(program, cost: dict[str, Any]) -> list[dict]:
    """Each operation with its instructions and the least; constant work, such as a reshape, has none.

    Raises:
        RuntimeError: most instructions are counted under names that no operation has.
    """
    least = {name_in_counts(operation): least_instructions(operation) for operation in program.operations}
    rows = [
        {"operation": name, "instructions": instructions, "least": least[name]}
        for name, instructions in cost["operations"].items()
        if name in least
    ]
    if 2 * sum(row["instructions"] for row in rows) < sum(cost["operations"].values()):
        raise RuntimeError(f"Instructions are counted under {', '.join(cost['operations'])}, not {', '.join(least)}.")
    return rows


def measure_dss(folder: Path, sizes: list[tuple[int, int]]) -> list[dict]:
    """Instructions for each multiply-accumulate of DSS layers alone, the whole step counted.

    Layers of random weights that give int16 feed many rounding errors back, which usual ones do not: both are told.
    """
    from keras_s4.testing.targets import CORES, Vectors, build, measure_cost
    from keras_s4.testing.targets.qemu import boot
    from keras_s4.tflite.emulator import Emulator

    rows = []
    for channels, modes in sizes:
        fed, inputs, _ = load(folder, f"dss_{channels}_{modes}")
        program = without_feedback(fed)
        work = 8 * channels * modes + channels
        cost = measure_cost(program, inputs, "m4")
        kernel = next(v for name, v in cost["operations"].items() if name.startswith("DiagonalStep"))
        few = [array[:1, :50] for array in inputs]
        trace = Emulator(program).trace(few)
        starts = tuple(np.zeros_like(state) for state in trace.final_states)
        vectors = Vectors(tuple(few), trace.outputs, starts, trace.final_states)
        row = {"channels": channels, "modes": modes, "m4": kernel / work}
        row |= feedback_of(fed, inputs, work)
        for name in ("m4", "m55"):
            report = boot(build(program, CORES[name], "gcc", vectors))
            row |= {f"{name}_step": report.instructions_per_step / work, f"{name}_differ": report.wrong}
        rows.append(row)
    return rows


def without_feedback(program):
    """The same program, whose modes may ring on."""
    from keras_s4.tflite.program.operations import DiagonalStep

    operations = tuple(
        dataclasses.replace(operation, feedback=None) if isinstance(operation, DiagonalStep) else operation
        for operation in program.operations
    )
    return dataclasses.replace(program, operations=operations)


def feedback_of(program, inputs: list[np.ndarray], work: int) -> dict[str, float]:
    """How many modes of a DSS layer are fed back, and instructions for each multiply-accumulate then."""
    from keras_s4.testing.targets import measure_cost
    from keras_s4.tflite.program.operations import DiagonalStep

    (step,) = (operation for operation in program.operations if isinstance(operation, DiagonalStep))
    operations = measure_cost(program, inputs, "m4")["operations"]
    count = next(value for name, value in operations.items() if name.startswith("DiagonalStep"))
    return {"fed_back": 0 if step.feedback is None else int(step.feedback.sum()), "m4_fed_back": count / work}


def measure_fuzz(folder: Path, seeds: range, progress: Progress) -> dict[str, int]:
    """Random models that differ from the emulator on the host or on a Cortex-M4."""
    from keras_s4.testing.targets import CORES, build, run
    from keras_s4.tflite.c99 import CRunner
    from keras_s4.tflite.emulator import Emulator

    task = progress.add_task("random models", total=len(seeds))
    found = {"host": 0, "core": 0}
    for seed in seeds:
        program, inputs, _ = load(folder, f"fuzz_{seed}")
        names = [state.after.name for state in program.states]
        trace = Emulator(program).trace(inputs, record=names)
        outputs, states = CRunner(program, ["-O1"]).run(inputs, keep_states=True)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [*zip(outputs, trace.outputs, strict=True)]
        pairs += [(ours, trace.tensors[name]) for ours, name in zip(states, names, strict=True)]
        found["host"] += not all(np.array_equal(a, b) for a, b in pairs)
        result = run(build(program, CORES["m4"]), inputs, count=False)
        found["core"] += bool(differences(trace.outputs, trace.final_states, result))
        progress.advance(task)
    return found


def measure_hostile(program, steps: int) -> dict[str, int]:
    """Random steps under the sanitizers, the states corrupted now and then."""
    from keras_s4.testing.targets import from_reset
    from keras_s4.testing.targets.sanitizers import build_hostile, run_hostile

    with tempfile.TemporaryDirectory() as folder:
        return run_hostile(build_hostile(program, from_reset(program), Path(folder)), steps)


def outputs_cost(program, cost: dict[str, Any]) -> float:
    """Instructions a step of what only outputs need, which is left out when nobody asks for them."""
    from keras_s4.tflite.c99.schedule import schedule

    plan = schedule(program)
    last = {name_in_counts(operation) for operation in plan.program.operations[plan.outputs_from :]}
    return sum(instructions for name, instructions in cost["operations"].items() if name in last)
