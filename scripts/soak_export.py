"""Can anything upset an exported program? A million steps, hundreds of random models, damaged files, hard signals.

- Soak: a two-block classifier takes a million steps of noise, states fed back, on the emulator and on TensorFlow Lite
  Micro, which must agree in every output of every step and in the states after every thousand.
- Fuzzing: random models that mix all layers that can be exported (`random_architectures.py`), the same comparison.
- Damage: random bytes of a file flipped, or its end cut off: refused with a `ValueError`, or computed; nothing else.
- Signals for DSS layers with poles up to a radius of 0.9999: signal to noise over 16,000 steps of noise; what is left
  of the output after noise and then silence; full-scale square waves at the frequency of every mode, on which no 32-bit
  accumulator may wrap.

Without `--rerun` the committed results are shown. A run over takes about half an hour on two cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from measuring import RESULTS, Figure, conclude, read_result, record_of
from rich.progress import Progress

RESULT = RESULTS / "soak_export.json"
PACKAGES = ("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro")
STREAMS, CHUNK = 10, 1_000
CHANNELS, MODES, LENGTH = 8, 6, 16_000
SLOWEST = 1e-4
SILENCE = 100_000


def soak(steps: int, progress: Progress) -> list[Figure]:
    """Differences over many steps of a classifier."""
    import keras

    from keras_s4 import models
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    keras.utils.set_random_seed(0)
    model = models.classifier((500, 6), 7, channels=32, states=4, blocks=2)
    random = np.random.default_rng(0)
    converted = convert(model, random.normal(size=(50, 500, 6)))
    emulator, runner = Emulator(converted.program), TflmRunner(converted.tflite)
    states, differences = emulator.initial_states(STREAMS), 0
    task = progress.add_task(f"soak, {steps:,} steps", total=steps)
    for _ in range(steps // (STREAMS * CHUNK)):
        inputs = converted.quantize(random.normal(size=(STREAMS, CHUNK, 6)))
        trace = emulator.trace(inputs, states=states)
        outputs, after = runner.run(inputs, states=states, keep_states=True)
        differences += int(np.count_nonzero(outputs != trace.outputs[0]))
        differences += sum(int(np.count_nonzero(a[:, -1] != b)) for a, b in zip(after, trace.final_states, strict=True))
        states = trace.final_states
        progress.advance(task, STREAMS * CHUNK)
    return [Figure(f"soak, {steps:,} steps fed back: outputs and states that differ", differences, at_most=0)]


def fuzz(count: int, seed: int, progress: Progress) -> list[Figure]:
    """Random models: how many differ between emulator and TensorFlow Lite Micro, or cannot be converted."""
    import keras
    from random_architectures import random_model

    task = progress.add_task(f"fuzzing, {count} models", total=count)
    failed: dict[str, list[int]] = {"differ": [], "fail": []}
    for index in range(seed, seed + count):
        keras.backend.clear_session()
        try:
            model, data = random_model(index)
            if not agrees(model, data):
                failed["differ"].append(index)
        except Exception as error:  # every failure is a finding
            failed["fail"].append(index)
            progress.console.print(f"seed {index}: {type(error).__name__}: {error}")
        progress.advance(task)
    title = f"fuzzing, {count} models from seed {seed}"
    return [
        Figure(f"{title}: differ on TFLM in any output or state", len(failed["differ"]), at_most=0),
        Figure(f"{title}: fail to convert or run", len(failed["fail"]), at_most=0),
    ]


def agrees(model, data: list[np.ndarray]) -> bool:
    """Whether emulator and TensorFlow Lite Micro compute the same of a model, step by step, overflow checked."""
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    converted = convert(model, data if len(data) > 1 else data[0])
    few = converted.quantize([x[:3] for x in data] if len(data) > 1 else data[0][:3])
    names = [state.after.name for state in converted.program.states]
    trace = Emulator(converted.program, check_overflow=True).trace(few, record=names)
    outputs, states = TflmRunner(converted.tflite).run(few, keep_states=True)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pairs = [*zip(outputs, trace.outputs, strict=True)]
    pairs += [(state, trace.tensors[name]) for state, name in zip(states, names, strict=True)]
    return all(np.array_equal(a, b) for a, b in pairs)


def damage(count: int, progress: Progress) -> list[Figure]:
    """What becomes of damaged files: anything but a refusal or a computation is counted."""
    from keras_s4 import models
    from keras_s4.tflite import convert
    from keras_s4.tflite.runtimes import TflmRunner

    random = np.random.default_rng(0)
    x = random.normal(size=(4, 30, 3))
    converted = convert(models.classifier((30, 3), 4, channels=6, states=3, blocks=1), x)
    inputs = converted.quantize(x[:1, :3])
    task = progress.add_task(f"damage, {count} files", total=count)
    refused = computed = 0
    unexpected: list[str] = []
    for _ in range(count):
        file = bytearray(converted.tflite)
        if random.random() < 0.2:
            del file[int(random.integers(len(file))) :]
        for place in random.integers(0, max(len(file), 1), int(random.integers(1, 4))):
            if len(file):
                file[place] ^= int(random.integers(1, 256))
        try:
            TflmRunner(bytes(file)).run(inputs)
            computed += 1
        except ValueError:
            refused += 1
        except Exception as error:  # every other outcome is a finding
            unexpected.append(f"{type(error).__name__}: {error}")
            progress.console.print(unexpected[-1])
        progress.advance(task)
    return [
        Figure(f"damage, {count} files: neither refused nor computed", len(unexpected), at_most=0),
        Figure(f"damage, {count} files: refused", refused),
    ]


def slow_layer(random: np.random.Generator, fastest: float):
    """A model of one DSS layer with poles from radius 0.9 to 0.9999 that turn by at most `fastest` a step."""
    import keras

    from keras_s4 import layers
    from keras_s4.systems import DiagonalSystem

    radius = 1.0 - 10.0 ** random.uniform(np.log10(SLOWEST), -1.0, (CHANNELS, MODES))
    poles = radius * np.exp(1j * 10.0 ** random.uniform(-3.0, np.log10(fastest), radius.shape))
    residues = random.normal(size=radius.shape) + 1j * random.normal(size=radius.shape)
    layer = layers.DSS(MODES, per_channel_poles=True, name="dss")
    model = keras.Sequential([keras.Input((None, CHANNELS)), layer])
    # Modes of equal energy in noise, so that the slow ones count; no feedthrough, which would drown them.
    layer.set_system(DiagonalSystem(poles, residues * np.sqrt(1.0 - radius**2), np.zeros(CHANNELS)))
    return model


def signals(fastest: float, progress: Progress) -> list[Figure]:
    """Signal to noise, silence and square waves, for modes that turn by at most `fastest` radians a step."""
    from keras_s4.tflite import convert
    from keras_s4.tflite.emulator import Emulator

    random = np.random.default_rng(0)
    model = slow_layer(random, fastest)
    system = model.layers[-1].system()
    x = random.uniform(-1.0, 1.0, (2, LENGTH, CHANNELS))
    converted = convert(model, x)
    task = progress.add_task(f"signals, up to {fastest:g} rad a step", total=3)
    integers = converted.quantize(x)
    trace = Emulator(converted.program).trace(integers)
    exact = system.simulate(integers * converted.program.inputs[0].scale)[0]
    scale = converted.program.outputs[0].scale
    noise = trace.outputs[0] * scale - exact
    powers = np.sum(exact**2, axis=(0, 1)), np.sum(noise**2, axis=(0, 1))
    ratios = 10.0 * np.log10(powers[0] / powers[1])
    whole = 10.0 * np.log10(powers[0].sum() / powers[1].sum())
    progress.advance(task)
    silent = np.zeros((2, SILENCE, CHANNELS), integers.dtype)
    rest = Emulator(converted.program).trace(silent, states=trace.final_states).outputs[0][:, -1_000:]
    progress.advance(task)
    limit = np.iinfo(integers.dtype).max
    times = np.arange(LENGTH)[:, None]
    squares = np.stack(
        [np.where(np.cos(times * np.angle(system.poles[:, n])) >= 0.0, limit, -limit) for n in range(MODES)]
    )
    scaled = (np.abs(x).max() / converted.program.inputs[0].scale / limit * squares).astype(integers.dtype)
    wraps = 0
    for wave in (scaled, squares.astype(integers.dtype)):
        try:
            Emulator(converted.program, check_overflow=True).trace(wave)
        except OverflowError as error:
            wraps += 1
            progress.console.print(str(error))
    progress.advance(task)
    title = f"DSS, radius to 0.9999, turning to {fastest:g} rad a step"
    left = int(np.abs(rest).max())
    return [
        Figure(f"{title}: signal to noise, 16,000 steps", float(whole), at_least=35.0, unit=" dB"),
        Figure(f"{title}: the same, of the worst channel", float(ratios.min()), at_least=35.0, unit=" dB"),
        Figure(f"{title}: output after {SILENCE:,} silent steps", left, at_most=2, unit=" units"),
        Figure(f"{title}: square waves that wrap", wraps, at_most=0),
    ]


def main(
    rerun: Annotated[bool, typer.Option("--rerun", help="Compute the results anew instead of reading them.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a figure falls short.")] = False,
    steps: Annotated[int, typer.Option(help="Of the soak, in all streams together.")] = 1_000_000,
    random_models: Annotated[int, typer.Option(help="Of the fuzzing.")] = 300,
    seed: Annotated[int, typer.Option(help="The first of the fuzzing.")] = 0,
    files: Annotated[int, typer.Option(help="Damaged ones.")] = 2_000,
):
    """What could upset an exported program."""
    if rerun:
        with Progress() as progress:
            figures = [
                *signals(0.05, progress),
                *signals(1.0, progress),
                *damage(files, progress),
                *fuzz(random_models, seed, progress),
                *soak(steps, progress),
            ]
        record = record_of(figures, PACKAGES, settings={"steps": steps, "models": random_models, "seed": seed})
        json_file = json_file or RESULT
    else:
        record = read_result(RESULT)
    conclude("Exported programs under stress", record, json_file, check)


if __name__ == "__main__":
    typer.run(main)
