"""The programs that `costs.py` and `costs_model.py` measure, made in processes of their own; and what they cost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_s4.files import write_bytes
from keras_s4.tflite.program.program import Program

CORES = ("m0", "m0+", "m3", "m4", "m7", "m33", "m55", "avr", "rv32")
FIGURES = ("instructions", "low", "high", "likely")


def costs_of(program: Program) -> dict[str, dict[str, Any]]:
    """What a step costs on every core that can be had, by core."""
    from keras_s4.costs import counted
    from keras_s4.costs.avr import measure_on_avr
    from keras_s4.costs.riscv import measure_on_riscv

    others = {"avr": measure_on_avr, "rv32": measure_on_riscv}
    found = {}
    for core in CORES:
        measure = others.get(core, lambda program, core=core: counted.measure_on_cortex_m(program, core))
        try:
            cost = measure(program)
        except (RuntimeError, NotImplementedError) as error:
            print(f"{core}: {str(error).splitlines()[0]}", flush=True)
            continue
        found[core] = {
            "compiler": cost.compiler,
            "method": cost.method,
            "instructions": cost.instructions,
            "low": cost.cycles.low,
            "high": cost.cycles.high,
            "likely": cost.likely_cycles,
            "code_bytes": cost.code_bytes,
            "constant_bytes": cost.constant_bytes,
            "ram_bytes": cost.ram_bytes,
            "stack_bytes": cost.stack_bytes,
        }
    return found


def export_sizes(known: Mapping[str, Mapping[str, Any]], count: int, folder: Path) -> None:
    """Keeps programs of models of known and of random sizes, `NAME.pickle` and `size_INDEX.pickle`."""
    import keras

    from keras_s4.costs.untrained import Sizes, untrained_program

    for name, sizes in known.items():
        _keep(folder / f"{name}.pickle", lambda sizes=sizes: untrained_program(Sizes(**sizes)))
    random = np.random.default_rng(0)
    for index in range(count):
        keras.backend.clear_session()
        sizes = draw_sizes(random)
        _keep(folder / f"size_{index}.pickle", lambda sizes=sizes: untrained_program(sizes))


def draw_sizes(random: np.random.Generator):
    """Sizes as somebody might choose them."""
    from keras_s4.costs.untrained import Sizes

    pooling = str(random.choice(["average", "max", "last", "recent", "sliding", "none"]))
    arguments = {"recent": {"seconds": 2.0, "rate": 50.0}, "sliding": {"window": 8, "hop": 4}}
    stride = int(random.choice([1, 1, 1, 2, 4]))
    return Sizes(
        features=int(random.integers(1, 13)),
        outputs=int(random.integers(1, 13)),
        channels=int(random.integers(2, 17)) * 4,
        states=int(random.choice([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])),
        blocks=int(random.integers(1, 5)),
        pooling=pooling,
        pooling_arguments=arguments.get(pooling),
        activation=str(random.choice(["gelu", "gelu", "relu", "tanh"])),
        front=None if stride == 1 else (2 * stride, stride),
        activations=str(random.choice(["int8", "int8", "int16"])),
        steps=16,
    )


def export_architectures(count: int, folder: Path) -> None:
    """Keeps programs of random architectures, `architecture_SEED.pickle`, but for those that the C does not know."""
    import keras

    from keras_s4.testing.architectures import random_model
    from keras_s4.tflite import convert

    for seed in range(count):
        keras.backend.clear_session()

        def export(seed: int = seed) -> Program:
            drawn = random_model(seed)
            data = drawn.data if len(drawn.data) > 1 else drawn.data[0]
            return convert(drawn.model, data, **drawn.format).program

        _keep(folder / f"architecture_{seed}.pickle", export)


def _keep(path: Path, make: Callable[[], Program]) -> None:
    """Writes a program that is not there yet."""
    if not path.exists():
        write_bytes(path, pickle.dumps(make()))
