"""What modes that all channels share (`DiagonalSSM`) cost a device beside those of each channel, and what they lose.

Instructions of C99 are counted on a Cortex-M4, those of TensorFlow Lite Micro with CMSIS-NN are its operators' by the
table of `keras_s4.tflite.flatbuffer.operators.costs`. `DSS` does not mix its channels, so that the `Dense` behind it
belongs to the comparison. Ratios are of random systems, fast and slow ones, on sequences that they were not calibrated
on; beside the lowering as it is without the least squares over the readout, and with all states of one size.

A run over takes some two minutes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from keras_s4.testing.experiment import Experiment, Figure, Measurement, cache_json

CHANNELS, MODES = 32, 8
# Outputs, inputs, modes, radii of the poles, largest angle, steps.
SYSTEMS = {
    "fast": (32, 32, 32, (0.9, 0.999), np.pi, 300),
    "slow": (16, 16, 32, (0.999, 0.99995), np.pi / 10, 3000),
    "slow, few features": (4, 4, 16, (0.999, 0.99995), 0.02, 3000),
}
LAYER, WITHOUT_FIT, ONE_SIZE = "as it is", "without the fit", "states of one size"


def networks() -> dict[str, Any]:
    """Models whose steps are counted, by name."""
    import keras

    from keras_s4.layers import DSS, DiagonalSSM

    def model(*layers: keras.layers.Layer) -> keras.Model:
        return keras.Sequential([keras.Input((None, CHANNELS)), *layers])

    keras.utils.set_random_seed(1)
    found = {
        f"DSS({MODES})": model(DSS(MODES)),
        f"DSS({MODES}), Dense({CHANNELS})": model(DSS(MODES), keras.layers.Dense(CHANNELS)),
    }
    for modes in (32, 64):
        for feedthrough in ("full", "diagonal", None):
            found[f"DiagonalSSM({CHANNELS}, {modes}), feedthrough={feedthrough}"] = model(
                DiagonalSSM(CHANNELS, modes, feedthrough)
            )
    return found


def cost_of(model) -> dict[str, Any]:
    """What a step takes."""
    from keras_s4.costs.counted import measure_on_cortex_m
    from keras_s4.tflite import convert
    from keras_s4.tflite.flatbuffer import read_summary

    converted = convert(model, np.random.default_rng(0).normal(size=(16, 128, CHANNELS)))
    cost = measure_on_cortex_m(converted.program, "m4")
    return {
        "c": cost.instructions,
        "compiler": cost.compiler,
        "tflm": read_summary(converted.tflite).instructions,
        "state_bytes": converted.manifest["state_bytes"],
        "tflite_bytes": len(converted.tflite),
    }


def draw_system(outputs: int, inputs: int, modes: int, radius: tuple[float, float], angle: float):
    """A random system as LRU layers begin."""
    from keras_s4.modal_system import ModalSystem

    random = np.random.default_rng(0)
    size = np.sqrt(random.uniform(radius[0] ** 2, radius[1] ** 2, modes))

    def matrix(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) + 1j * random.normal(size=shape)) / np.sqrt(shape[1])

    drive = matrix(modes, inputs) * np.sqrt(1.0 - size**2)[:, None]
    poles = size * np.exp(1j * random.uniform(0.0, angle, modes))
    return ModalSystem(poles, drive, matrix(outputs, modes), random.normal(size=(outputs, inputs)))


def draw_sequences(streams: int, steps: int, features: int, seed: int) -> np.ndarray:
    """Correlated features that change slowly."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(streams, steps, features))
    for step in range(1, steps):
        x[:, step] = 0.9 * x[:, step - 1] + 0.44 * x[:, step]
    return x @ np.random.default_rng(5).normal(size=(features, features)) / np.sqrt(features)


def ratio_of(name: str, form: str) -> float:
    """Signal-to-noise ratio in dB of a layer's integers, on other sequences than those of the calibration."""
    import keras

    from keras_s4.layers import DiagonalSSM
    from keras_s4.tflite import convert

    outputs, inputs, modes, *poles, steps = SYSTEMS[name]
    system = draw_system(outputs, inputs, modes, *poles)
    layer = DiagonalSSM(outputs, modes)
    model = keras.Sequential([keras.Input((None, inputs)), layer])
    layer.set_system(system)
    with lowered_as(form):
        converted = convert(model, draw_sequences(12, steps, inputs, 1))
    x = draw_sequences(4, steps, inputs, 2)
    wanted = system.simulate(x)[0]
    error = converted.predict(x, engine="emulator") - wanted
    return float(10.0 * np.log10(np.mean(wanted**2) / np.mean(error**2)))


@contextlib.contextmanager
def lowered_as(form: str):
    """The lowering with a part taken out."""
    from keras_s4.tflite.lowering import diagonal_ssm

    fit, least = diagonal_ssm.fit_outputs, diagonal_ssm.LEAST_PART

    def keep(wanted, given, *arguments):
        """The readout of the layer in the units of the device's states."""
        _, power = fit(wanted, given, *arguments)
        units = (wanted[1].conj() * given[1]).sum(axis=0).real / (np.abs(given[1]) ** 2).sum(axis=0)
        return wanted[2] * np.tile(units, 2)[:, None], power

    if form == WITHOUT_FIT:
        diagonal_ssm.fit_outputs = keep
    elif form == ONE_SIZE:
        diagonal_ssm.LEAST_PART = 1.0
    try:
        yield
    finally:
        diagonal_ssm.fit_outputs, diagonal_ssm.LEAST_PART = fit, least


def compute(cache: Path) -> Measurement:
    """Instructions of steps, and ratios of systems."""
    costs = {
        name: cache_json(cache / f"cost_{index}.json", lambda model=model: cost_of(model))
        for index, (name, model) in enumerate(networks().items())
    }
    ratios = {
        name: {
            form: cache_json(cache / f"ratio_{name}_{form}.json", lambda name=name, form=form: ratio_of(name, form))
            for form in (LAYER, WITHOUT_FIT, ONE_SIZE)
        }
        for name in SYSTEMS
    }
    own, mixed, *_ = costs.values()
    shared = costs[f"DiagonalSSM({CHANNELS}, 32), feedthrough=None"]
    figures = [
        Figure("TFLM instructions of shared modes, of those of DSS", shared["tflm"] / own["tflm"], at_most=0.34),
        Figure("state bytes of shared modes, of those of DSS", shared["state_bytes"] / own["state_bytes"], at_most=0.3),
        Figure("C99 instructions of shared modes, of those of DSS and Dense", shared["c"] / mixed["c"], at_most=1.3),
        Figure("least ratio", min(found[LAYER] for found in ratios.values()), at_least=38.0, unit=" dB"),
        Figure("most that the fit gains", _most_gained(ratios, WITHOUT_FIT), unit=" dB"),
        Figure("most that sizes of states gain", _most_gained(ratios, ONE_SIZE), unit=" dB"),
    ]
    return Measurement(figures, {"costs": costs, "ratios": ratios})


def _most_gained(ratios: dict[str, dict[str, float]], form: str) -> float:
    return max(found[LAYER] - found[form] for found in ratios.values())


def tables(record: dict[str, Any]) -> list[Table]:
    """A row a network, and one a system."""
    compiler = next(iter(record["costs"].values()))["compiler"]
    costs = Table(
        "layers", f"C99, {compiler}", "TFLM", "state bytes", "bytes of .tflite", title="A step on a Cortex-M4"
    )
    for name, found in record["costs"].items():
        keys = ("c", "tflm", "state_bytes", "tflite_bytes")
        costs.add_row(name, *(f"{found[key]:,.0f}" for key in keys))
    ratios = Table("system", LAYER, WITHOUT_FIT, ONE_SIZE, title="Signal-to-noise ratio in dB")
    for name, found in record["ratios"].items():
        ratios.add_row(name, *(f"{found[form]:.1f}" for form in (LAYER, WITHOUT_FIT, ONE_SIZE)))
    return [costs, ratios]


EXPERIMENT = Experiment(
    title="Modes that channels share, on a device",
    result=Path(__file__).parents[1] / "results" / "shared_modes.json",
    compute=compute,
    packages=("keras-s4", "keras", "tensorflow", "numpy", "unicorn"),
    cache=Path("runs/shared_modes"),
    tables=tables,
    needs={"unicorn": "bench"},
)

if __name__ == "__main__":
    EXPERIMENT.run()
