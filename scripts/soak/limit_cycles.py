"""What rounding keeps alive in DSS layers when their input has ended, and what slow modes lose.

Layers of modes that turn fast and decay slowly, and usual ones, take random steps at both ends of their range, and then
silence for twelve of their longest time constants. The largest output of the last steps is what rings on: with states
rounded to the nearest and nothing else, rounded towards zero, and as lowerings make them, which feed the rounding
errors of the loudest modes back. Instructions a step of both, and operators of the `.tflite`, say what that costs.

Slow modes: the channel of a layer of time steps from 1e-4 to 1e-2 that is farthest from Keras, with poles on the
nearest points of the grid and gains that may cancel, and as lowerings choose both. A run over takes some minutes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, finished_parts, measure_parts

LOUD, WATCHED, TIMES = 1000, 500, 12
MOST = 2.0  # units of the output
SLOW = 1e-4, 1e-2
# Name: distance of the poles from the unit circle (None for usual ones), channels, modes, activations.
LAYERS = {
    "fast turns, 1e-3 from the circle, int8": (1e-3, 6, 3, "int8"),
    "fast turns, 1e-3 from the circle, int16": (1e-3, 6, 3, "int16"),
    "fast turns, 1e-4 from the circle, int16": (1e-4, 6, 3, "int16"),
    "usual poles, 64 x 8, int16": (None, 64, 8, "int16"),
    "usual poles, 64 x 32, int16": (None, 64, 32, "int16"),
    "two S4 blocks, 32 x 8, int8": (None, 32, 8, "blocks"),
}


def layer_of(distance: float | None, channels: int, modes: int, activations: str):
    """A model of a DSS layer, or of two S4 blocks, converted."""
    import keras

    from keras_s4 import layers
    from keras_s4.tflite import convert

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    if activations == "blocks":
        layer = [layers.S4Block(modes) for _ in range(2)]
    else:
        layer = [layers.DSS(modes, per_channel_poles=True)]
    model = keras.Sequential([keras.Input((400, channels)), *layer])
    if distance is not None:
        (dss,) = layer
        angles = random.uniform(0.6, 3.1, (channels, modes))
        angles[0] = np.pi / 2, 2 * np.pi / 3, 3.0
        dss.log_decay.assign(np.full(angles.shape, np.log(distance)))
        dss.frequency.assign(angles)
        dss.log_time_step.assign(np.zeros(channels))
    x = random.normal(size=(4, 400, channels))
    return convert(model, x, activations="int8" if activations == "blocks" else activations)


def ringing(step, rounds: str, random: np.random.Generator) -> float:
    """Units of a DSS step's output that are left of its states after silence; what is behind the readout is exact."""
    poles = 1.0 + (step.decay.data + 1j * step.rotation.data) / 2**15
    silent = int(TIMES / (1.0 - np.abs(poles)).min())
    decay, rotation, gains = (t.data.astype(np.int64) for t in (step.decay, step.rotation, step.input_gain))
    halves = [half.astype(np.int64) for half in step.halves()]
    weights = step.readout.data[0] * step.readout.scale * step.hidden.scale / step.output.scale
    state, largest = np.zeros((2, *decay.shape), np.int64), 0.0
    for t in range(LOUD + silent):
        u = random.choice([-4096, 4095], decay.shape[1]) if t < LOUD else 0
        h = _towards_zero(state) if rounds == "towards zero" else _to_nearest(state)
        if t >= LOUD + silent - WATCHED:
            largest = max(largest, float(np.abs((h[0] * weights).sum(axis=0)).max()))
        after = state + gains * u + _turn(decay, rotation, h)
        if rounds == "fed back":
            after += 2 * _to_nearest(_turn(*halves, state - (h << 15)))
        state = np.clip(after, -(2**30), 2**30 - 1) if step.limit else after
    return largest


def _turn(decay: np.ndarray, rotation: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.stack([decay * h[0] - rotation * h[1], decay * h[1] + rotation * h[0]])


def _to_nearest(x: np.ndarray) -> np.ndarray:
    """`x / 2**15`, rounded to 2**-1 with ties upwards, then with ties away from zero; saturated."""
    high = (x >> 1) + (x & 1)
    return np.clip((high + (1 << 13) - (high < 0)) >> 14, -(2**15), 2**15 - 1)


def _towards_zero(x: np.ndarray) -> np.ndarray:
    return np.clip(np.sign(x) * (np.abs(x) >> 15), -(2**15), 2**15 - 1)


def measure_layer(name: str) -> Measurement:
    """Rings and costs of one layer."""
    from keras_s4.testing.targets import measure_cost
    from keras_s4.tflite.flatbuffer import read_summary, to_tflite
    from keras_s4.tflite.program.operations import DiagonalStep

    converted = layer_of(*LAYERS[name])
    program = converted.program
    steps = [operation for operation in program.operations if isinstance(operation, DiagonalStep)]
    without = dataclasses.replace(
        program,
        operations=tuple(
            dataclasses.replace(operation, feedback=None) if operation in steps else operation
            for operation in program.operations
        ),
    )
    found = {
        rounds: max(ringing(step, rounds, np.random.default_rng(1)) for step in steps)
        for rounds in ("to nearest", "towards zero", "fed back")
    }
    x = [np.zeros((1, 100, *program.inputs[0].shape), program.inputs[0].type)]
    row: dict[str, Any] = {
        "layer": name,
        "modes": sum(step.decay.data.size for step in steps),
        "fed back": sum(int(step.feedback.sum()) for step in steps if step.feedback is not None),
        "ringing": found,
        "instructions": [measure_cost(each, x, "m4")["instructions_a_step"] for each in (without, program)],
        "operators": [len(read_summary(to_tflite(each)).operators) for each in (without, program)],
    }
    figure = Figure(f"{name}: rings on by", found["fed back"], at_most=MOST, unit=" units of the output")
    return Measurement([figure], row)


def slow_modes() -> Measurement:
    """The worst channel of slow modes, in dB."""
    import keras

    from keras_s4 import initializers, layers
    from keras_s4.tflite import convert
    from keras_s4.tflite.lowering import delta_form

    def worst(seed: int) -> float:
        keras.utils.set_random_seed(seed)
        layer = layers.DSS(8, per_channel_poles=True, time_step_initializer=initializers.LogUniform(*SLOW))
        model = keras.Sequential([keras.Input((2000, 32)), layer])
        x = np.random.default_rng(seed).normal(size=(2, 2000, 32))
        y = model.predict(x, verbose=0)
        error = convert(model, x).predict(x) - y
        return float((10 * np.log10(np.mean(y**2, axis=(0, 1)) / np.mean(error**2, axis=(0, 1)))).min())

    seeds = range(3)
    chosen = [worst(seed) for seed in seeds]
    good, delta_form.GOOD_FIT = delta_form.GOOD_FIT, np.inf
    try:
        nearest = [worst(seed) for seed in seeds]
    finally:
        delta_form.GOOD_FIT = good
    figures = [
        Figure("slow modes, the worst channel of three layers", min(chosen), at_least=35.0, unit=" dB"),
        Figure("slow modes, on the nearest poles", min(nearest), unit=" dB"),
    ]
    return Measurement(figures, {"chosen": chosen, "nearest": nearest})


def compute(cache: Path) -> Measurement:
    """What rounding leaves of DSS layers."""
    with finished_parts(cache) as part:
        parts = {name: lambda name=name: measure_layer(name) for name in LAYERS}
        found = measure_parts(part, parts | {"slow modes": slow_modes})
    figures = [figure for each in found.values() for figure in each.figures]
    rows = [each.details for name, each in found.items() if name in LAYERS]
    return Measurement(figures, {"layers": rows, "slow_modes": found["slow modes"].details})


def tables(record: dict[str, Any]) -> list[Table]:
    """What rings, and what silence costs."""
    table = Table(
        "layer",
        "modes",
        "of them fed back",
        "rings, to nearest",
        "towards zero",
        "fed back",
        "instructions, Cortex-M4",
        "operators",
        title="Units of the output that ring on; without and with feedback",
    )
    for row in record["layers"]:
        rings = [f"{row['ringing'][rounds]:.2f}" for rounds in ("to nearest", "towards zero", "fed back")]
        costs = (" -> ".join(f"{value:,.0f}" for value in row[key]) for key in ("instructions", "operators"))
        table.add_row(row["layer"], str(row["modes"]), str(row["fed back"]), *rings, *costs)
    return [table]


EXPERIMENT = Experiment(
    title="Silence after sound",
    result=Path(__file__).parents[1] / "results" / "limit_cycles.json",
    compute=compute,
    tables=tables,
    packages=("keras-s4", "keras", "numpy", "ziglang", "unicorn"),
    cache=Path("runs/limit_cycles"),
    needs={"ziglang": "bench", "unicorn": "bench", "elftools": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
