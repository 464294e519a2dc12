"""Can anything upset an exported program? A million steps, hundreds of random models, damaged files, hard signals.

- Soak: a two-block classifier takes a million steps of noise, states fed back, on the emulator and on TensorFlow Lite
  Micro, which must agree in every output of every step and in the states after every thousand.
- Fuzzing: random models that mix all layers, rates, ranks and formats that can be exported
  (`keras_s4.testing.architectures`), the same comparison, and the signal to noise ratio of their outputs against Keras.
- Damage: random bytes of a file flipped, or its end cut off: refused with a `ValueError`, or computed; nothing else.
- Signals for DSS layers with poles up to a radius of 0.9999: signal to noise over 16,000 steps of noise; what is left
  of the output after noise and then silence; full-scale square waves at the frequency of every mode, on which no 32-bit
  accumulator may wrap.

A run over takes about half an hour on two cores.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts, measure_parts

STREAMS, CHUNK = 10, 1_000
LENGTH = 16_000
# Steps, of which the last are looked at.
SILENCE, STILL = 100_000, 1_000


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
        inputs = converted.quantize(random.normal(size=(STREAMS, CHUNK, 6)), whole=False)
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

    from keras_s4.testing.architectures import random_model
    from keras_s4.testing.comparison import UNLIKE, compare_readers, kinds_of
    from keras_s4.tflite.lowering import supported_layers

    task = progress.add_task(f"fuzzing, {count} models", total=count)
    failed: dict[str, list[int]] = {"differ": [], "fail": []}
    supported, seen, formats, ratios = set(supported_layers()), set(), Counter(), []
    for index in range(seed, seed + count):
        keras.backend.clear_session()
        try:
            model, data, format = random_model(index)
            compared = compare_readers(model, data, format)
        except Exception as error:  # every failure is a finding
            failed["fail"].append(index)
            progress.console.print(f"seed {index}: {type(error).__name__}: {error}")
        else:
            seen |= kinds_of(model.layers, supported)
            formats.update(words_for(format))
            ratios += compared.ratios
            if not compared.agree:
                failed["differ"].append(index)
                progress.console.print(f"seed {index}: emulator and TensorFlow Lite Micro differ")
            if min(compared.ratios) < UNLIKE:
                progress.console.print(f"seed {index}: {min(compared.ratios):.1f} dB to Keras, {format}")
        progress.advance(task)
    if unseen := supported - seen:
        progress.console.print(f"no model has had {', '.join(sorted(unseen))}")
    title = f"fuzzing, {count} models from seed {seed}"
    return [
        Figure(f"{title}: differ on TFLM in any output or state", len(failed["differ"]), at_most=0),
        Figure(f"{title}: fail to convert or run", len(failed["fail"]), at_most=0),
        Figure(f"{title}: kinds of layers that can be exported and are in no model", len(unseen), at_most=0),
        *(Figure(f"{title}: with {word}", formats[word]) for word in sorted(formats)),
        Figure(f"{title}: signal to noise against Keras, median of all outputs", float(np.median(ratios)), unit=" dB"),
        Figure(f"{title}: outputs below {UNLIKE} dB", int(np.sum(np.array(ratios) < UNLIKE))),
    ]


def words_for(format: dict) -> list[str]:
    """What is told of a format."""
    activations, steps = format["activations"], format["steps"]
    return [
        f"activations {activations if isinstance(activations, str) else 'by layer'}",
        f"states as {format['states']}",
        "blocks of the least steps" if steps is None else "blocks of drawn steps",
    ]


def damage(count: int, progress: Progress) -> list[Figure]:
    """What becomes of damaged files: anything but a refusal or a computation is counted."""
    from keras_s4 import models
    from keras_s4.tflite import convert
    from keras_s4.tflite.runtimes import TflmRunner

    random = np.random.default_rng(0)
    x = random.normal(size=(4, 30, 3))
    converted = convert(models.classifier((30, 3), 4, channels=6, states=3, blocks=1), x)
    inputs = converted.quantize(x[:1, :3], whole=False)
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


def signals(fastest: float, progress: Progress) -> list[Figure]:
    """Signal to noise, silence and square waves, for modes that turn by at most `fastest` radians a step.

    Of the silence the output of a DSS layer alone is told, which is int16, and what it is in models: within an S4 block
    the output of the layer is int8, and that of the block int16. A fresh block gives nothing for nothing.
    """
    from keras_s4.testing.slow_layers import CHANNELS, slow_layer
    from keras_s4.tflite import convert

    random = np.random.default_rng(0)
    model = slow_layer(random, fastest)
    system = model.layers[-1].system()
    x = random.uniform(-1.0, 1.0, (2, LENGTH, CHANNELS))
    converted = convert(model, x)
    task = progress.add_task(f"signals, up to {fastest:g} rad a step", total=4)
    whole, worst = ratios_of(converted, system, x)
    progress.advance(task)
    (left,) = left_of(converted, x)
    progress.advance(task)
    block = convert(slow_layer(np.random.default_rng(0), fastest, in_block=True), x)
    inside, behind = left_of(block, x, "block/dss/output")
    progress.advance(task)
    wraps = wraps_of(converted, system, np.abs(x).max())
    progress.console.print(*wraps, sep="\n", end="")
    progress.advance(task)
    title = f"DSS, radius to 0.9999, turning to {fastest:g} rad a step"
    return [
        Figure(f"{title}: signal to noise, 16,000 steps", whole, at_least=35.0, unit=" dB"),
        Figure(f"{title}: the same, of the worst channel", worst, at_least=35.0, unit=" dB"),
        Figure(f"{title}: int16 output after {SILENCE:,} silent steps", left, at_most=2, unit=" units"),
        Figure(f"{title}: int8 output within an S4 block after that", inside, at_most=2, unit=" units"),
        Figure(f"{title}: int16 output of that S4 block", behind, at_most=2, unit=" units"),
        Figure(f"{title}: square waves that wrap", len(wraps), at_most=0),
    ]


def ratios_of(converted, system, x: np.ndarray) -> tuple[float, float]:
    """Signal to noise of a DSS layer against float64 in dB: of all channels together, and of the worst."""
    from keras_s4.tflite.emulator import Emulator

    program, integers = converted.program, converted.quantize(x)
    exact = system.simulate(integers * program.inputs[0].scale)[0]
    noise = Emulator(program).run(integers) * program.outputs[0].scale - exact
    powers = np.sum(exact**2, axis=(0, 1)), np.sum(noise**2, axis=(0, 1))
    whole = 10.0 * np.log10(powers[0].sum() / powers[1].sum())
    return float(whole), float(10.0 * np.log10(powers[0] / powers[1]).min())


def wraps_of(converted, system, largest: float) -> list[str]:
    """Where 32 bits wrap on square waves at the frequency of each mode, of calibrated size and of full scale."""
    from keras_s4.tflite.emulator import Emulator

    (x,), times, found = converted.program.inputs, np.arange(LENGTH)[:, None], []
    full_scale = np.iinfo(x.type).max
    angles = np.angle(system.poles).T
    signs = np.stack([np.where(np.cos(times * angle) >= 0.0, 1, -1) for angle in angles])
    for peak in (int(largest / x.scale), full_scale):
        try:
            Emulator(converted.program, check_overflow=True).trace((peak * signs).astype(x.type))
        except OverflowError as error:
            found.append(str(error))
    return found


def left_of(converted, x: np.ndarray, *names: str) -> list[int]:
    """The largest magnitudes of named tensors and of the output at the end of a long silence behind a signal."""
    from keras_s4.tflite.emulator import Emulator

    emulator, integers = Emulator(converted.program), converted.quantize(x)
    silent = np.zeros((len(x), SILENCE, x.shape[-1]), integers.dtype)
    states = emulator.trace(integers).final_states
    states = emulator.trace(silent[:, :-STILL], states=states).final_states
    trace = emulator.trace(silent[:, -STILL:], names, states)
    tensors = {tensor.name: tensor for tensor in converted.program.tensors()}
    pairs = [(tensors[name], trace.tensors[name]) for name in names]
    pairs.append((converted.program.outputs[0], trace.outputs[0]))
    return [int(np.abs(values.astype(int) - tensor.zero_point).max()) for tensor, values in pairs]


def compute(
    cache: Path,
    steps: Annotated[int, typer.Option(help="Of the soak, in all streams together.")] = 1_000_000,
    random_models: Annotated[int, typer.Option(help="Of the fuzzing.")] = 300,
    seed: Annotated[int, typer.Option(help="The first of the fuzzing.")] = 0,
    damaged: Annotated[int, typer.Option(help="Damaged files.")] = 2_000,
) -> Measurement:
    """What could upset an exported program."""
    options = {"steps": steps, "models": random_models, "seed": seed}
    with Progress() as progress, finished_parts(cache, damaged=damaged, **options) as part:
        parts = {
            "slow signals": lambda: Measurement(signals(0.05, progress)),
            "fast signals": lambda: Measurement(signals(1.0, progress)),
            "damage": lambda: Measurement(damage(damaged, progress)),
            "fuzzing": lambda: Measurement(fuzz(random_models, seed, progress)),
            "soak": lambda: Measurement(soak(steps, progress)),
        }
        found = measure_parts(part, parts)
    return Measurement([figure for each in found.values() for figure in each.figures], {"settings": options})


EXPERIMENT = Experiment(
    title="Exported programs under stress",
    result=Path(__file__).parents[1] / "results" / "soak_export.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "tflite-micro"),
    cache=Path("runs/soak_export"),
)

if __name__ == "__main__":
    EXPERIMENT.run()
