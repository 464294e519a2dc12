"""Streams that nobody resets: do the poolings of live streams stay exact for a million steps?

One stream of noise with level changes goes through a recent average of one time constant, one of a time constant a
channel, a sliding average, and the average of a window, whose sum nobody resets. For a million steps emulator,
TensorFlow Lite Micro and compiled C must agree in every output of every step, states fed back, and in the states after
every chunk. Over as many C is compared with whole numbers and float64 that know nothing of the device:

- the sliding average is, bit for bit, that of a freshly added sum at every hop;
- the recent averages stay within a unit of the exact ones with the device's rates, from the first step to the last;
- a constant behind all of it becomes its own recent average, exactly.

Instructions a step of the same classifier with each pooling, on a Cortex-M4 in Unicorn, say what they cost. A run over
takes some half an hour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts, measure_parts

FEATURES, CHANNELS, CHUNK = 4, 6, 5_000
WINDOW, HOP = 100, 25
# Time constants in steps: of all channels, and of each.
TIME, TIMES = 100.0, np.geomspace(1.5, 600.0, CHANNELS)
# Steps of a constant at the end, in which the slowest average has gone all the way.
CONSTANT = 10_000
# Of the classifier whose instructions are counted: that of the demo.
LENGTH, WIDTH, STATES, BLOCKS, CLASSES = 500, 32, 8, 2, 7
POOLINGS = {
    "average": {},
    "recent": {"seconds": 2.0, "rate": 50.0},
    "sliding": {"window": WINDOW, "hop": HOP},
}


def pooled_stream(show_inputs: bool = False):
    """A model of all poolings over the same sequence, which may give that as well."""
    import keras

    from keras_s4.layers import RecentAverage, SlidingAverage

    keras.utils.set_random_seed(0)
    inputs = keras.Input((WINDOW, FEATURES))
    hidden = keras.layers.Dense(CHANNELS, activation="relu")(inputs)
    poolings = [
        RecentAverage(TIME, name="recent"),
        RecentAverage(TIMES.tolist(), per_channel=True, name="recents"),
        SlidingAverage(WINDOW, HOP, name="sliding"),
        keras.layers.GlobalAveragePooling1D(name="window"),
    ]
    outputs = [pooling(hidden) for pooling in poolings]
    return keras.Model(inputs, [*outputs, hidden] if show_inputs else outputs)


def noise(random: np.random.Generator, steps: int) -> np.ndarray:
    """One stream of noise around levels that change, with a constant at its end."""
    levels = np.repeat(random.normal(size=(1, -(-steps // CHUNK), FEATURES)), CHUNK, axis=1)[:, :steps]
    samples = levels + random.normal(size=(1, steps, FEATURES))
    samples[:, -CONSTANT:] = 0.0
    return samples


def compare(steps: int, progress: Progress) -> list[Figure]:
    """How many integers differ between emulator, TensorFlow Lite Micro and C over so many steps."""
    from keras_s4.tflite import convert
    from keras_s4.tflite.c99 import CRunner
    from keras_s4.tflite.emulator import Emulator
    from keras_s4.tflite.runtimes import TflmRunner

    random = np.random.default_rng(0)
    converted = convert(pooled_stream(), random.normal(size=(20, WINDOW, FEATURES)))
    inputs = converted.quantize(noise(random, steps), whole=False)
    engines = {"TFLM": TflmRunner(converted.tflite), "C": CRunner(converted.program)}
    emulator, differ = Emulator(converted.program), dict.fromkeys(engines, 0)
    states = emulator.initial_states(1)
    task = progress.add_task(f"all readers, {steps:,} steps", total=steps)
    for start in range(0, steps, CHUNK):
        chunk = inputs[:, start : start + CHUNK]
        trace = emulator.trace(chunk, states=states)
        for name, engine in engines.items():
            outputs, after = engine.run(chunk, states=states, keep_states=True)
            differ[name] += sum(int(np.count_nonzero(a != b)) for a, b in zip(outputs, trace.outputs, strict=True))
            ends = zip(after, trace.final_states, strict=True)
            differ[name] += sum(int(np.count_nonzero(a[:, -1].ravel() != b.ravel())) for a, b in ends)
        states = trace.final_states
        progress.advance(task, len(chunk[0]))
    title = f"{steps:,} steps without a reset: integers that differ from the emulator's"
    return [Figure(f"{title} on {name}", count, at_most=0) for name, count in differ.items()]


def soak(steps: int) -> list[Figure]:
    """What C gives over so many steps, against exact averages."""
    from keras_s4.tflite import convert
    from keras_s4.tflite.c99 import CRunner
    from keras_s4.tflite.program import fixed_point
    from keras_s4.tflite.program.operations import RecentMean, Requantize, SlidingSum

    random = np.random.default_rng(0)
    converted = convert(pooled_stream(show_inputs=True), random.normal(size=(20, WINDOW, FEATURES)))
    program = converted.program
    inputs = converted.quantize(noise(random, steps), whole=False)
    outputs = dict(
        zip([t.name for t in program.outputs], (each[0] for each in CRunner(program).run(inputs)), strict=True)
    )
    (sliding,) = (operation for operation in program.operations if isinstance(operation, SlidingSum))
    (rounded,) = (op for op in program.operations if isinstance(op, Requantize) and op.input is sliding.output)
    values = outputs[sliding.input.name].astype(np.int64) - sliding.input.zero_point
    multiplier = fixed_point.rescale_multiplier(sliding.output.scale, rounded.output.scale)
    fresh = fixed_point.requantize(fresh_sums(values), multiplier, "int16")
    stale = int(np.count_nonzero(fresh != outputs[rounded.output.name][HOP - 1 :: HOP]))
    furthest, off, other = 0.0, 0, 0.0
    means = [operation for operation in program.operations if isinstance(operation, RecentMean)]
    for mean, asked in zip(means, (TIME, TIMES), strict=True):
        other = max(other, float(np.abs(-1 / np.log1p(-mean.rate.data / 2**15) / asked - 1).max()))
        finer, found = values * float(mean.finer), outputs[mean.output.name]
        furthest = max(furthest, float(np.abs(found - recent_averages(finer, mean.rate.data / 2**15)).max()))
        off += int(np.count_nonzero(found[-1] != finer[-1]))
    title = f"{steps:,} steps without a reset, C"
    return [
        Figure(f"{title}: sliding averages that are not those of a fresh sum, of {fresh.size:,}", stale, at_most=0),
        Figure(f"{title}: recent averages, furthest from the exact ones", furthest, at_most=1.01, unit=" units"),
        Figure("time constant on the device, furthest from that asked for", 100 * other, at_most=5.0, unit="%"),
        Figure(f"{title}: recent averages of a constant that are not the constant at the end", off, at_most=0),
    ]


def fresh_sums(values: np.ndarray) -> np.ndarray:
    """Sums of the last hops at each hop of `[L, H]`, each added anew; hops before the first one are like it."""
    sums, hops = values.reshape(-1, HOP, values.shape[-1]).sum(axis=1), WINDOW // HOP
    rows = np.concatenate([np.repeat(sums[:1], hops - 1, axis=0), sums])
    return sum(rows[place : place + len(sums)] for place in range(hops))


def recent_averages(values: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Exponentially weighted averages of `[L, H]`, which the first step starts."""
    import scipy.signal

    columns = [
        scipy.signal.lfilter([part], [1.0, part - 1.0], values[:, channel], zi=[(1.0 - part) * values[0, channel]])[0]
        for channel, part in enumerate(parts)
    ]
    return np.stack(columns, axis=1)


def cost() -> list[Figure]:
    """Instructions a step of the demo's classifier with each pooling, on a Cortex-M4."""
    import keras

    from keras_s4.models import classifier
    from keras_s4.testing.targets import measure_cost
    from keras_s4.tflite import convert

    random, found = np.random.default_rng(0), {}
    x = random.normal(size=(8, LENGTH, 6))
    for pooling, arguments in POOLINGS.items():
        keras.utils.set_random_seed(0)
        model = classifier(
            (LENGTH, 6), CLASSES, WIDTH, STATES, BLOCKS, pooling=pooling, pooling_arguments=arguments or None
        )
        converted = convert(model, x)
        found[pooling] = measure_cost(converted.program, [converted.quantize(x[:1])], "m4")["instructions_a_step"]
    least = found.pop("average")
    return [
        Figure("classifier with GlobalAveragePooling1D: instructions a step, Cortex-M4", least),
        *(
            Figure(
                f"classifier with the {pooling} average: more instructions",
                100 * (count / least - 1),
                at_most=2.0,
                unit="%",
            )
            for pooling, count in found.items()
        ),
    ]


def compute(
    cache: Path,
    steps: Annotated[int, typer.Option(help="Of the stream that C takes.")] = 1_000_000,
    compared: Annotated[int, typer.Option(help="Of the stream that all readers take.")] = 1_000_000,
) -> Measurement:
    """What becomes of averages in a stream that never ends."""
    options = {"steps": steps, "compared": compared}
    with Progress() as progress, finished_parts(cache, **options) as part:
        parts = {
            "cost": lambda: Measurement(cost()),
            "soak": lambda: Measurement(soak(steps)),
            "readers": lambda: Measurement(compare(compared, progress)),
        }
        found = measure_parts(part, parts)
    return Measurement([figure for each in found.values() for figure in each.figures], {"settings": options})


EXPERIMENT = Experiment(
    title="Averages of streams that never end",
    result=Path(__file__).parents[1] / "results" / "soak_streams.json",
    compute=compute,
    packages=("keras-s4", "keras", "numpy", "tflite-micro", "ziglang", "unicorn"),
    cache=Path("runs/soak_streams"),
    needs={"ziglang": "bench", "unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
